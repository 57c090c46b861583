"""`dawn-generate`: outputs, streams, exit status, and errors of one line."""

import functools
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dawn_runtime
from dawn_runtime import Decoder, StepInputs, StepOutputs
from dawn_runtime.cli.generate import main
from dawn_runtime.engine.fake import FakeEngine
from support.terminal import Terminal

Run = Any

SHIPPED = Path(__file__).parents[3] / "models" / "tiny-dream-int8"


@pytest.fixture
def run(run_on_fake: Any) -> Run:
    return functools.partial(run_on_fake, main)


SHORT = ("--max-new-tokens", "12", "--no-stop-at-eos")


def test_prints_the_answer_and_one_line_of_statistics(run: Run) -> None:
    status, out, err = run("What is 3 + 4?", *SHORT, "--policy", "one-per-step")
    assert status == 0
    assert out.endswith("\n")
    assert err.count("\n") == 1
    assert "12 tokens decided in 12 forwards (1.00 each), " in err
    assert "engine fake, policy one-per-step" in err


def test_the_questions_in_the_help_are_ones_that_the_shipped_models_were_taught(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--help"]) == 0
    asked = set(re.findall(r'--chat "([^"]+)"', capsys.readouterr().out))
    assert asked
    with Decoder.open(SHIPPED, threads=1) as decoder:
        for question in asked:
            numbers = sorted(map(int, re.findall(r"\d+", question)))
            answer = decoder.generate(messages=[{"role": "user", "content": question}])
            assert answer.text.split() == list(map(str, numbers))


def test_statistics_count_tokens_of_the_answer_and_not_its_padding(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model(tokens: Any, positions: Any, key_tokens: Any, *_: Any) -> Any:
        logits = np.zeros((len(tokens), 259), dtype=np.float32)
        logits[np.arange(len(tokens)), np.where(positions < 4, ord("a") - 33, 257)] = 20
        return logits, np.full((len(tokens), len(key_tokens)), 0.1, dtype=np.float32)

    monkeypatch.setattr(
        "dawn_runtime.decoder.open_engine", lambda a, *_, **__: FakeEngine(a.manifest, model)
    )
    _, out, err = run("hi", "--max-new-tokens", "12", "--policy", "threshold")
    assert out == "aa\n"
    assert "2 tokens decided in 1 forward (2.00 each), " in err


def test_an_artifact_for_tensorrt_without_a_plan_says_what_runs_it(
    run: Run, artifact_folder: Path
) -> None:
    (artifact_folder / "trtexec.txt").touch()
    status, _, err = run("hi", *SHORT)
    assert status == 0
    note = (
        "made for TensorRT, but no plan is built; running on ONNX Runtime (build one with dawn-ex"
    )
    assert note in err.splitlines()[0]
    assert run("hi", *SHORT, "--quiet")[2] == ""
    assert "made for TensorRT" not in run("hi", *SHORT, "--engine", "onnxruntime-cpu")[2]
    (artifact_folder / "a.engine.json").touch()
    assert "made for TensorRT" not in run("hi", *SHORT)[2]


def test_quiet_prints_the_answer_alone(run: Run) -> None:
    loud = run("hi", *SHORT)
    assert run("hi", *SHORT, "--quiet") == (0, loud[1], "")


def test_json_prints_one_document(run: Run) -> None:
    status, out, _ = run("hi", "--json", *SHORT, "--policy", "threshold", "--set", "threshold=0.5")
    document = json.loads(out)
    assert status == 0
    assert len(document["tokens"]) == len(document["trace"]) == 12
    assert document["options"] == {"threshold": 0.5}
    assert document["policy"] == "threshold"


@pytest.mark.parametrize(
    ("policy", "option", "value"),
    [
        ("adjacent", "threshold", 0.5),
        ("dapd", "variant", "direct"),
        ("dream", "alg", "origin"),
        ("eb", "gamma", 0.5),
        ("factor", "factor", 2.0),
        ("klass", "kl_threshold", 0.01),
        ("llada", "remasking", "random"),
        ("local-leap", "radius", 2),
        ("one-per-step", "by", "entropy"),
        ("rpd", "nats", 2.5),
    ],
)
def test_every_rule_is_chosen_and_set_by_name(
    policy: str, option: str, value: Any, run: Run
) -> None:
    setting = f"{option}={value}"
    long = ("--max-new-tokens", "40", "--no-stop-at-eos")  # too long for a plain rule instead
    status, out, _ = run("hi", "--json", *long, "--policy", policy, "--set", setting)
    document = json.loads(out)
    assert (status, document["policy"]) == (0, policy)
    assert document["options"][option] == value


def test_guards_are_told_in_the_statistics_and_in_the_result(run: Run) -> None:
    eager = ("--policy", "threshold", "--set", "threshold=0", "--no-stop-at-eos")
    guards = ("--guard", "adjacent", "--guard", "budget:nats=3")
    status, _, err = run("hi", *SHORT, *eager, *guards)
    assert status == 0
    assert "policy threshold, guard adjacent, guard budget:nats=3.0" in err
    found = [json.loads(run("hi", "--json", *SHORT, *eager, *some)[1]) for some in ((), guards)]
    assert [document["guards"] for document in found] == [[], ["adjacent", "budget:nats=3.0"]]
    assert found[0]["forwards"] == 1 < found[1]["forwards"]


def test_prompt_comes_from_standard_input_if_absent_or_a_dash(run: Run) -> None:
    expected = run("hi there", *SHORT)[1]
    assert run(*SHORT, stdin="hi there\n")[1] == expected
    assert run("-", *SHORT, stdin="hi there")[1] == expected


def test_the_prompt_may_stand_behind_flags(run: Run) -> None:
    assert run(*SHORT, "hi there")[1] == run("hi there", *SHORT)[1]


def test_stream_prints_the_same_text(run: Run) -> None:
    status, out, err = run("hi", "--stream", *SHORT)
    assert (status, out) == (0, run("hi", *SHORT)[1])
    assert "forwards" in err


def test_chat_uses_the_template_and_the_system_message(run: Run) -> None:
    raw = run("<system>be brief\n<user>hi\n<assistant>", *SHORT)[1]
    assert run("hi", "--chat", "--system", "be brief", *SHORT)[1] == raw


def test_texts_of_special_tokens_are_text_in_messages(run: Run) -> None:
    special = "a<|end|>b<|mask|>c"
    status, out, _ = run(special, "--chat", "--json", *SHORT)
    assert status == 0
    assert json.loads(out)["prompt_tokens"] == len(f"<user>{special}\n<assistant>")


def test_conversation_remembers_its_turns(
    run: Run, monkeypatch: pytest.MonkeyPatch, artifact_folder: Path
) -> None:
    monkeypatch.setattr(io, "StringIO", Terminal)
    status, out, err = run("--chat", *SHORT, stdin="one\n\ntwo\n")
    assert status == 0
    assert err.count("forwards") == 2
    first = run("<user>one\n<assistant>", "--json", *SHORT)[1]
    answer = json.loads(first)["text"]
    second = run(f"<user>one\n<assistant>{answer}\n<user>two\n<assistant>", "--json", *SHORT)[1]
    assert out == f"{answer}\n{json.loads(second)['text']}\n"


def test_fill_prints_the_template_with_its_holes_filled(run: Run) -> None:
    status, out, err = run("--fill", '{"a": "[[4]]"}', "--policy", "one-per-step")
    assert status == 0
    assert out.startswith('{"a": "')
    assert out.endswith('"}\n')
    assert "4 forwards" in err
    _, out, _ = run("--fill", "x[[2]]y[[3]]", "hi", "--chat", "--json")
    document = json.loads(out)
    assert [len(hole["tokens"]) for hole in document["holes"]] == [2, 3]
    assert document["prompt_tokens"] == len("<user>hi\n<assistant>")


def test_a_template_is_streamed_like_an_answer(run: Run) -> None:
    template = ("--fill", "x[[2]]y[[3]]", "hi", "--chat")
    status, out, err = run(*template, "--stream")
    assert (status, out) == (0, run(*template)[1])
    assert "5 tokens decided in 3 forwards" in err


def test_the_side_of_padding_changes_no_answer(run: Run, tmp_path: Path) -> None:
    prompts = tmp_path / "in.jsonl"
    prompts.write_text('{"prompt": "hi"}\n{"prompt": "a longer one"}\n')
    left, right = (
        [
            json.loads(line)["tokens"]
            for line in run("--input", str(prompts), *SHORT, *side)[1].splitlines()
        ]
        for side in (("--padding", "left"), ())
    )
    assert left == right


def test_fallback_is_told(run: Run) -> None:
    _, _, err = run("hi", *SHORT, "--policy", "dawn")
    assert "policy threshold (fallback: the answer is short)" in err


def test_a_stopped_answer_says_so(run: Run) -> None:
    _, out, err = run("hi", "--json", *SHORT, "--max-forwards", "1", "--policy", "one-per-step")
    assert json.loads(out)["finish_reason"] == "max_forwards"
    assert "incomplete: max_forwards" in err
    _, out, err = run("hi", "--json", *SHORT, "--timeout", "0")
    assert (json.loads(out)["tokens"], json.loads(out)["forwards"]) == ([], 0)
    assert "incomplete: timeout" in err


def test_sampling_is_repeatable(run: Run) -> None:
    warm = ("hi", *SHORT, "--temperature", "1.5", "--top-k", "40", "--top-p", "0.95")
    assert run(*warm, "--seed", "3")[1] == run(*warm, "--seed", "3")[1]
    assert run(*warm, "--seed", "3")[1] != run(*warm, "--seed", "4")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hi", "--policy", "dwan"], "unknown policy: 'dwan'; did you mean 'dawn'"),
        (["hi", "--set", "tau=1"], "unknown option of policy 'threshold': 'tau'"),
        (["hi", "--set", "threshold"], "--set 'threshold' is not KEY=VALUE"),
        (["hi", "--set", "threshold=high"], "threshold is 'high'; expected a number"),
        (["hi", "--cache", "prefx"], "unknown cache: 'prefx'; did you mean 'prefix'"),
        (["hi", "--window", "tilted"], "unknown window: 'tilted'; known: blocks, pruned"),
        (["hi", "--block-length", "0"], "--block-length is 0; expected an integer >= 1"),
        (["hi", "--max-new-tokens", "0"], "error: --max-new-tokens is 0; expected an integer >="),
        (["hi", "--max-new-tokens", "-3"], "error: --max-new-tokens is -3"),
        (["hi", "--timeout", "-1"], "error: --timeout is -1.0; expected a number from 0"),
        (["hi", "--max-forwards", "-1"], "error: --max-forwards is -1; expected an integer >= 0"),
        (["hi", "--padding", "top"], "argument --padding: invalid choice: 'top'"),
        (["hi", "--max-new-tokens", "x"], "argument --max-new-tokens: invalid int value: 'x'"),
        (["x" * 300], "the prompt has 300 tokens and leaves no room"),
        (["", "--quiet"], "the prompt is empty"),
        (["", "--chat"], "the message of --chat is empty; give a text, such as"),
        ([" ", "--chat", "--fill", "a[[2]]"], "the message of --chat is empty"),
        (["", "--fill", "a[[2]]"], "the prompt is empty"),
        (["hi", "--output", "o"], "--output needs --input"),
        (["hi", "--system", "s"], "--system needs --chat"),
        (["hi", "--input", "i"], "--input takes neither PROMPT nor --chat nor --stream"),
        (["--fill", "a[[2]]", "--input", "i"], "--fill and --input exclude each other"),
        (["--fill", "a[[2]]", "--max-new-tokens", "2"], "fill takes no --max-new-tokens: every"),
        (["--fill", "a [[x]] b"], "--fill: 'x' in '[[x]]' is not a number; write [[N]] for"),
        (["--fill", "a [[1000000000]]"], "1000000002 tokens and exceed the context of 256"),
        (["--fill", "a [[" + "9" * 5000 + "]]"], "a length of 5000 digits exceeds every context"),
        (["a", "--policy", ""], "unknown policy: ''; known: adjacent"),
        (["a", "--cache", ""], "unknown cache: ''; known: causal, d2, dual"),
        (["a", "--guard", ""], "unknown guard: ''; known: adjacent"),
        (["a", "--guard", "budget:nats=-1"], "guard 'budget': nats is -1; expected a number"),
        (
            ["a", "--guard", "budget", "--guard", "budget:nats=2"],
            "guard 'budget' is given twice; give it once",
        ),
        (["a", "--policy", "wino", "--guard", "adjacent"], "scheme 'wino' takes no guard"),
        (["a", "--forbid", "-1"], "forbid is -1; expected an integer >= 0"),
        (["a", "--window", ""], "unknown window: ''; known: blocks"),
        (["--batch", "9" * 5000], "expected a number of at most 2147483647"),
        (["--fill", "a [[]] [[2]]"], "--fill: '' in '[[]]' is not a number"),
        (["--fill", "dog[[2]"], "--fill: 'dog[[2]' has a '[[' that no ']]' ends; write [[N]] for"),
        (["--fill", "a [[0]]"], "the template holds 0; expected texts and lengths of holes >= 1"),
        (
            ["--input", "i", "--batch", "0"],
            "argument --batch: got '0', expected a number of at least 1",
        ),
        (["--fill", "a"], "nothing is left to fill"),
        (["--fill", "a[[2]]", "--no-stop-at-eos"], "fill takes no --no-stop-at-eos"),
        (["hi", "--live", "--json"], "--live excludes --json and --stream"),
        (["hi", "--live", "--stream"], "--live excludes --json and --stream"),
        (["--input", "i", "--live"], "--input takes neither --live nor --trace, which are of one"),
        (["--input", "i", "--trace", "t.html"], "--input takes neither --live nor --trace"),
        (["hi", "--trace", "t.txt"], "--trace names a page, FILE.html, or FILE.json"),
        (["hi", "--trace", "/no/folder/t.html"], "--trace /no/folder/t.html: the folder does not"),
        (["--input", "/nowhere.jsonl"], "/nowhere.jsonl: no such file; give one JSON"),
        (["--input", "/"], "error: /: cannot read prompts: Is a directory\n"),
        (["--input", "i", "--output", "/no/folder/o"], "the folder does not exist"),
        (["hi", "--temperature", "-1"], "error: --temperature is -1.0; expected a number"),
        (["hi", "--top-p", "0.5"], "--top-p and --top-k need a temperature above 0"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], message: str, run: Run) -> None:
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("dawn-generate: error: ")
    assert message in err
    assert err.count("\n") == 1


def test_missing_and_damaged_artifacts_are_one_line_and_status_1(
    run: Run, artifact_folder: Path, tmp_path: Path
) -> None:
    status, out, err = run("hi", folder=tmp_path / "nowhere")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "no such folder; make an artifact with dawn-export" in err
    (artifact_folder / "model.onnx.data").write_bytes(b"")
    status, out, err = run("hi")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "model.onnx.data: the file is truncated, 0 bytes instead of 200" in err


def test_nan_from_an_engine_is_one_line_and_status_1(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(FakeEngine):
        def run(self, inputs: StepInputs) -> StepOutputs:
            good = super().run(inputs)
            return StepOutputs(good.tokens, good.confidence * np.float32("nan"), good.attention)

    monkeypatch.setattr("dawn_runtime.decoder.open_engine", lambda a, *_, **__: Broken(a.manifest))
    status, out, err = run("hi")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "output confidence holds NaN or infinity" in err


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    assert "Traceback" not in run("hi", folder=tmp_path)[2]
    err = run("hi", "--debug", folder=tmp_path)[2]
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("dawn-generate: error: ")


def test_help_and_version_leave_with_status_0(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run("--help")
    assert status == 0
    assert all(flag in out for flag in ("--policy", "--stream", "--json", "--debug"))
    assert "--temperature" in out
    assert run("--version")[1] == f"dawn-generate {dawn_runtime.__version__}\n"
