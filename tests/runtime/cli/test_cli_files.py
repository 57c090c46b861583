"""`dawn-generate --input`: files of prompts become files of answers, in batches."""

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import Result
from dawn_runtime.cli.generate import main

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
    assert [f"{n} of 3: " in err for n in (1, 2, 3)] == [True] * 3
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
    monkeypatch.setattr(Result, "to_dict", lambda _: {"text": object()})
    status, _, err = run("--input", prompts, "--output", str(target), *SHORT, "--quiet")
    assert status == 1
    assert "unexpected TypeError" in err
    assert target.read_text() == "precious"
    assert [path.name for path in tmp_path.glob(".*")] == []


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
