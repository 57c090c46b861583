"""`dawn-generate --input`: files of prompts become files of answers, in batches."""

import functools
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import EngineError, Manifest, Result, StepInputs, StepOutputs
from dawn_runtime.cli.generate import main
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.interruption import Terminated

Run = Any


@pytest.fixture
def run(run_on_fake: Any) -> Run:
    return functools.partial(run_on_fake, main)


SHORT = ("--max-new-tokens", "12", "--no-stop-at-eos")


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


@pytest.mark.parametrize("size", ["1", "8"])
def test_templates_are_filled_beside_prompts(size: str, run: Run, tmp_path: Path) -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}]}
    prompts = lines(
        tmp_path / "in.jsonl",
        {"prompt": "a"},
        {"template": ["[[", 3, "]]"]},
        {"template": ["x", 2], **chat},
    )
    status, out, _ = run("--input", prompts, "--batch", size)
    plain, filled, answered = map(json.loads, out.splitlines())
    assert status == 0
    assert plain["holes"] == []
    assert filled["text"].startswith("[[")
    assert filled["text"].endswith("]]")
    assert [len(hole["tokens"]) for hole in filled["holes"]] == [3]
    assert (
        answered["trace"]
        == json.loads(run("hi", "--chat", "--fill", "x[[2]]", "--json")[1])["trace"]
    )


@pytest.mark.parametrize("size", ["1", "2", "8"])
def test_answers_to_a_file_do_not_depend_on_the_batch(size: str, run: Run, tmp_path: Path) -> None:
    texts = ["a", "a longer one", "b"]
    prompts = lines(tmp_path / "in.jsonl", *({"prompt": text} for text in texts))
    status, out, err = run("--input", prompts, "--batch", size, "--cache", "dual", *SHORT)
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0
    assert "3 of 3: " in err
    for text, answer in zip(texts, answers, strict=True):
        alone = json.loads(run(text, "--json", "--cache", "dual", *SHORT)[1])
        assert answer["trace"] == alone["trace"]


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
        ('{"template": "a[[2]]"}', "line 2: template must be a list of texts and lengths of holes"),
        ('{"template": ["a"]}', "line 2: nothing is left to fill"),
        ('{"template": ["a", "b", 0]}', "line 2: the template holds 0; expected texts and lengths"),
        ('{"template": [1], "prompt": "a", "messages": []}', "or a template behind at most one of"),
    ],
)
def test_bad_line_has_an_error_and_the_others_are_answered(
    line: str, message: str, run: Run, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out"
    source.write_text('{"prompt": "good"}\n' + line + '\n{"prompt": "good"}\n')
    status, out, err = run("--input", str(source), "--output", str(target), "--quiet")
    assert (status, out) == (1, "")
    assert err.startswith("dawn-generate: error: 1 line of 3 has an error in place of an answer")
    assert message in err
    assert err.count("\n") == 1
    first, second, third = map(json.loads, target.read_text().splitlines())
    assert message in second["error"]
    assert "text" not in second
    assert first["tokens"] == third["tokens"]


def test_fields_of_a_line_are_carried_through(run: Run, tmp_path: Path) -> None:
    mine = {"id": "a-7", "tags": ["x", {"y": None}], "text": "mine", "line": 12}
    prompts = lines(
        tmp_path / "in.jsonl", {"prompt": "a", **mine}, {"prompt": 3, "id": "bad"}, {"prompt": "b"}
    )
    status, out, _ = run("--input", prompts, *SHORT)
    first, second, third = map(json.loads, out.splitlines())
    assert status == 1
    assert (first["id"], first["tags"]) == ("a-7", mine["tags"])
    assert first["input"] == {"text": "mine", "line": 12}, "where the names are the answer's"
    assert (second["id"], "error" in second) == ("bad", True)
    assert "input" not in third
    assert [first["line"], second["line"], third["line"]] == [1, 2, 3]


def test_a_flag_that_does_not_go_with_the_lines_is_wrong_usage(run: Run, tmp_path: Path) -> None:
    prompts = lines(tmp_path / "in.jsonl", {"prompt": "a"}, {"template": ["a", 2]})
    target = tmp_path / "out"
    status, _, err = run("--input", prompts, "--output", str(target), *SHORT, "--quiet")
    assert status == 2
    assert "fill takes no --max-new-tokens" in err
    assert not target.exists()


def test_a_second_run_goes_on_and_a_third_has_nothing_to_do(run: Run, tmp_path: Path) -> None:
    prompts = lines(tmp_path / "in.jsonl", *({"prompt": text} for text in "abcd"))
    target = tmp_path / "out.jsonl"
    command = ("--input", prompts, "--output", str(target), *SHORT)
    run(*command)
    whole = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(whole[2] + whole[0] + whole[3][:40])
    status, out, err = run(*command, "--json")
    summary = json.loads(out)
    assert status == 0
    assert (summary["answers"], summary["earlier"]) == (4, 2)
    assert "4 of 4, 2 of them by an earlier run: 24 tokens" in err
    assert untimed(target) == [untimed_line(line) for line in whole]
    status, _, err = run(*command)
    assert (status, "all were answered by an earlier run" in err) == (0, True)


def untimed(path: Path) -> list[dict[str, Any]]:
    return [untimed_line(line) for line in path.read_bytes().splitlines()]


def untimed_line(line: bytes) -> dict[str, Any]:
    document = json.loads(line)
    return {key: value for key, value in document.items() if not key.endswith("seconds")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("input", "line 1 is an answer from before line 1 of the input changed; give another"),
        ("settings", "line 1 is an answer from before model or settings changed; give another"),
        ("fewer", "line 2 answers line 2, which the input does not have; give another place"),
        ("foreign", "line 1 is no line of a job of dawn-generate; give another place, or --overw"),
        ("torn", "line 1 is no line of a job of dawn-generate; give another place, or --overwri"),
        ("twice", "line 2 answers line 1 a second time"),
    ],
)
def test_answers_of_another_job_are_left_alone(
    change: str, message: str, run: Run, tmp_path: Path
) -> None:
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines(source, {"prompt": "a"}, {"prompt": "b"})
    command = ["--input", str(source), "--output", str(target), *SHORT, "--quiet"]
    assert run(*command)[0] == 0
    if change == "input":
        lines(source, {"prompt": "changed"}, {"prompt": "b"})
    elif change == "settings":
        command += ["--policy", "one-per-step"]
    elif change == "fewer":
        lines(source, {"prompt": "a"})
    elif change == "foreign":
        target.write_text('{"text": "precious"}\n')
    elif change == "torn":
        target.write_text("precious")
    else:
        target.write_bytes(target.read_bytes().splitlines(keepends=True)[0] * 2)
    before = target.read_bytes()
    status, out, err = run(*command)
    assert (status, out) == (2, "")
    assert message in err
    assert target.read_bytes() == before
    assert run(*command, "--overwrite")[0] == 0
    assert [line["line"] for line in untimed(target)] == list(range(1, len(untimed(target)) + 1))


def test_failing_run_leaves_what_is_done(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.jsonl"
    prompts = lines(tmp_path / "in.jsonl", {"prompt": "long one"}, {"prompt": "b"})
    to_dict, calls = Result.to_dict, iter([True, False])
    monkeypatch.setattr(
        Result, "to_dict", lambda it: to_dict(it) if next(calls) else {"text": object()}
    )
    command = ("--input", prompts, "--output", str(target), *SHORT, "--quiet", "--batch", "1")
    status, _, err = run(*command)
    assert status == 1
    assert "unexpected TypeError" in err
    assert [line["line"] for line in untimed(target)] == [1]
    monkeypatch.setattr(Result, "to_dict", to_dict)
    assert run(*command)[0] == 0
    assert [line["line"] for line in untimed(target)] == [1, 2]


class Stopped(FakeEngine):
    """Fails from its third run on."""

    def __init__(self, manifest: Manifest, error: Callable[[], BaseException]) -> None:
        super().__init__(manifest)
        self.runs, self.error = 0, error

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.runs += 1
        if self.runs >= 3:
            raise self.error()
        return super().run(inputs)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt, 130, "interrupted at 2 of 4 lines: "),
        (Terminated, 143, "terminated at 2 of 4 lines: "),
        (functools.partial(EngineError, "lost"), 1, "error: lost; at 2 of 4 lines: "),
    ],
)
def test_a_job_that_stops_says_how_far_it_came_and_how_it_goes_on(
    error: Callable[[], BaseException],
    status: int,
    message: str,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def open_it(artifact: Any, *_: Any, **__: Any) -> Stopped:
        return Stopped(artifact.manifest, error)

    prompts = lines(tmp_path / "in.jsonl", *({"prompt": text} for text in "abcd"))
    command = ["--input", prompts, "--batch", "1", "--quiet", *SHORT]
    command += ["--policy", "threshold", "--set", "threshold=0"]
    monkeypatch.setattr("dawn_runtime.decoder.open_engine", open_it)
    target = tmp_path / "out"
    status_, _, err = run(*command, "--output", str(target))
    assert status_ == status
    assert err == f"dawn-generate: {message}run the same command again to go on\n"
    assert [line["line"] for line in untimed(target)] == [1, 2]
    status_, out, err = run(*command)
    assert (status_, out.count("\n")) == (status, 2)
    assert err == f"dawn-generate: {message}none is kept; give --output a file\n"


def test_answers_come_through_a_pipe_before_the_job_is_over(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = lines(tmp_path / "in.jsonl", *({"prompt": text} for text in "abcd"))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read, first = threading.Event(), []

    def reader() -> None:
        with pipe.open("rb") as file:
            first.append(json.loads(file.readline())["line"])
            read.set()
            file.read()

    class Waits(FakeEngine):
        runs = 0

        def run(self, inputs: StepInputs) -> StepOutputs:
            self.runs += 1
            assert self.runs < 3 or read.wait(timeout=60)
            return super().run(inputs)

    monkeypatch.setattr(
        "dawn_runtime.decoder.open_engine", lambda artifact, *_, **__: Waits(artifact.manifest)
    )
    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    command = ["--batch", "1", "--policy", "threshold", "--set", "threshold=0", *SHORT]
    assert run("--input", prompts, "--output", str(pipe), *command)[0] == 0
    thread.join(timeout=60)
    assert first == [1]


def test_artifact_without_tokenizer_prints_ids(
    run: Run, artifact_folder: Path, tmp_path: Path
) -> None:
    manifest = json.loads((artifact_folder / "dawn.json").read_text())
    del manifest["files"]["tokenizer.json"]
    (artifact_folder / "tokenizer.json").unlink()
    (artifact_folder / "dawn.json").write_text(json.dumps(manifest))
    status, _, err = run("hi")
    assert status == 2
    assert "this artifact has no tokenizer" in err
    prompts = lines(tmp_path / "in.jsonl", {"input_ids": [1, 2]})
    assert json.loads(run("--input", prompts, *SHORT)[1])["text"] is None
