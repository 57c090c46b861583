"""`dawn-generate`: outputs, streams, files, exit status, and errors of one line."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dawn_runtime
from dawn_runtime import StepInputs, StepOutputs, generation
from dawn_runtime.artifact import Artifact
from dawn_runtime.cli.common import Parser, atomic_text, run_command
from dawn_runtime.cli.generate import main
from dawn_runtime.engine.fake import FakeEngine

Run = Any


@pytest.fixture
def run(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the command on a fake engine; returns status, standard output and standard error."""

    def open_fake(artifact: Artifact, _: str = "", *, threads: int | None = None) -> FakeEngine:
        return FakeEngine(artifact.manifest)

    monkeypatch.setattr("dawn_runtime.decoder.open_engine", open_fake)

    def call(*arguments: str, stdin: str = "", folder: Path = artifact_folder) -> Any:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        status = main([str(folder), *arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


SHORT = ("--max-new-tokens", "12", "--no-stop-at-eos")


def test_prints_the_answer_and_one_line_of_statistics(run: Run) -> None:
    status, out, err = run("What is 3 + 4?", *SHORT, "--policy", "one-per-step")
    assert status == 0
    assert out.endswith("\n")
    assert err.count("\n") == 1
    assert "12 tokens, 12 forwards, 1.00 tokens per forward, " in err
    assert "policy one-per-step" in err


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
        ("dapd", "variant", "direct"),
        ("factor", "factor", 2.0),
        ("klass", "kl_threshold", 0.01),
        ("local-leap", "radius", 2),
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


def test_conversation_remembers_its_turns(
    run: Run, monkeypatch: pytest.MonkeyPatch, artifact_folder: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(io, "StringIO", Terminal)
    status, out, err = run("--chat", *SHORT, stdin="one\n\ntwo\n")
    assert status == 0
    assert err.count("forwards") == 2
    first = run("<user>one\n<assistant>", "--json", *SHORT)[1]
    answer = json.loads(first)["text"]
    second = run(f"<user>one\n<assistant>{answer}\n<user>two\n<assistant>", "--json", *SHORT)[1]
    assert out == f"{answer}\n{json.loads(second)['text']}\n"


def test_fallback_is_told(run: Run) -> None:
    _, _, err = run("hi", *SHORT, "--policy", "dawn")
    assert "policy threshold (fallback: the answer is short)" in err


def lines(path: Path, *entries: Any) -> str:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return str(path)


def test_file_of_prompts_becomes_a_file_of_answers(run: Run, tmp_path: Path) -> None:
    prompts = lines(
        tmp_path / "in.jsonl",
        {"prompt": "a\u2028b"},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"input_ids": [1, 2]},
    )
    target = tmp_path / "out.jsonl"
    status, out, err = run("--input", prompts, "--output", str(target), *SHORT)
    answers = [json.loads(line) for line in target.read_text().split("\n")[:-1]]
    assert (status, out) == (0, "")
    assert "3 of 3: " in err
    assert answers[0]["text"] == json.loads(run("a\u2028b", "--json", *SHORT)[1])["text"]
    assert [len(answer["tokens"]) for answer in answers] == [12, 12, 12]
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_answers_to_a_file_go_to_standard_output_without_a_target(run: Run, tmp_path: Path) -> None:
    prompts = lines(tmp_path / "in.jsonl", {"prompt": "a"}, {"prompt": "b"})
    _, out, _ = run("--input", prompts, *SHORT)
    assert len([json.loads(line) for line in out.splitlines()]) == 2
    _, out, _ = run("--input", prompts, "--json", *SHORT)
    document = json.loads(out)
    assert document["answers"] == len(document["results"]) == 2
    _, out, _ = run("--input", prompts, "--output", str(tmp_path / "o"), "--json", *SHORT)
    assert json.loads(out)["output"] == str(tmp_path / "o")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[]", "line 2: expected an object with exactly one of prompt, messages, input_ids"),
        ("{}", "line 2: expected an object with exactly one of"),
        ('{"prompt": "a", "input_ids": [1]}', "line 2: expected an object with exactly one of"),
        ('{"prompt": 3}', "line 2: prompt must be a str"),
        ('{"messages": ["a"]}', "line 2: messages must be objects with role and content"),
        ('{"input_ids": [999]}', "line 2: the prompt holds id 999"),
        ('{"prompt": ""}', "line 2: the prompt is empty"),
    ],
)
def test_bad_line_is_named_and_nothing_is_written(
    line: str, message: str, run: Run, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"prompt": "good"}\n' + line + "\n")
    status, out, err = run("--input", str(source), "--output", str(tmp_path / "out"), "--quiet")
    assert (status, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact", "in.jsonl"]


def test_failing_run_leaves_the_old_output_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("precious")
    prompts = lines(tmp_path / "in.jsonl", {"prompt": "a"})
    monkeypatch.setattr(generation.Result, "to_dict", lambda _: {"text": object()})
    status, _, err = run("--input", prompts, "--output", str(target), *SHORT, "--quiet")
    assert status == 1
    assert "unexpected TypeError" in err
    assert target.read_text() == "precious"
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hi", "--policy", "dwan"], "unknown policy: 'dwan'; did you mean 'dawn'"),
        (["hi", "--set", "tau=1"], "unknown option of policy 'threshold': 'tau'"),
        (["hi", "--set", "threshold"], "--set 'threshold' is not KEY=VALUE"),
        (["hi", "--set", "threshold=high"], "threshold is 'high'; expected a number"),
        (["hi", "--cache", "prefix"], "unknown cache: 'prefix'; known: none"),
        (["hi", "--window", "tilted"], "unknown window: 'tilted'; known: blocks, single"),
        (["hi", "--block-length", "0"], "block_length is 0; expected an integer >= 1"),
        (["hi", "--max-new-tokens", "0"], "max_new_tokens is 0; expected an integer >= 1"),
        (["hi", "--max-new-tokens", "-3"], "max_new_tokens is -3"),
        (["hi", "--max-new-tokens", "x"], "argument --max-new-tokens: invalid int value: 'x'"),
        (["x" * 300], "the prompt has 300 tokens and leaves no room"),
        (["", "--quiet"], "the prompt is empty"),
        (["hi", "--output", "o"], "--output needs --input"),
        (["hi", "--system", "s"], "--system needs --chat"),
        (["hi", "--input", "i"], "--input takes neither PROMPT nor --chat nor --stream"),
        (["hi", "--stream", "--json"], "--stream and --json exclude each other"),
        (["--input", "/nowhere.jsonl"], "/nowhere.jsonl: cannot read prompts"),
        (["--input", "i", "--output", "/no/folder/o"], "the folder does not exist"),
        (["hi", "--temperature", "1"], "unrecognized arguments: --temperature 1"),
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
    assert "--temperature" not in out
    assert run("--version")[1] == f"dawn-generate {dawn_runtime.__version__}\n"


def test_artifact_without_tokenizer_prints_ids(
    run: Run, artifact_folder: Path, tmp_path: Path
) -> None:
    manifest = json.loads((artifact_folder / "dawn.json").read_text())
    del manifest["files"]["tokenizer.json"]
    (artifact_folder / "dawn.json").write_text(json.dumps(manifest))
    status, _, err = run("hi")
    assert status == 2
    assert "this artifact has no tokenizer" in err
    prompts = lines(tmp_path / "in.jsonl", {"input_ids": [1, 2]})
    assert json.loads(run("--input", prompts, *SHORT)[1])["text"] is None


def command(work: Any) -> int:
    return run_command(Parser("dawn-test", "A test."), work, [])


def test_interruption_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Any) -> None:
        raise KeyboardInterrupt

    assert command(work) == 130
    assert capsys.readouterr().err == "dawn-test: interrupted\n"


def test_further_error_classes_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Any) -> None:
        raise KeyError("two\nlines")

    parser = Parser("dawn-test", "A test.")
    assert run_command(parser, work, [], errors=(KeyError,)) == 1
    assert capsys.readouterr().err == "dawn-test: error: 'two\\nlines'\n"
    assert command(work) == 1
    assert "error: unexpected KeyError: " in capsys.readouterr().err


def test_reader_that_goes_away_is_no_traceback() -> None:
    code = (
        "import sys\n"
        "from dawn_runtime.cli.common import Parser, run_command\n"
        "work = lambda _: [print('x' * 1000) for _ in range(1000)]\n"
        "sys.exit(run_command(Parser('dawn-test', ''), work, []))\n"
    )
    path = Path(dawn_runtime.__file__).parent.parent
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writer,
        stderr=subprocess.PIPE,
        env={"PYTHONPATH": str(path)},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_atomic_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_text(path) as file:
        file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole"

    def fail() -> None:
        with atomic_text(path) as file:
            file.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "whole"
