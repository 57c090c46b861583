"""`dawn-generate` and `dawn-bench` at their edges: places, texts, mix-ups, idle flags."""

import functools
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import Artifact, EngineError, OptionError
from dawn_runtime.cli import bench
from dawn_runtime.cli.generate import main

Run = Any
SHORT = ("--max-new-tokens", "12", "--no-stop-at-eos", "--quiet")


@pytest.fixture
def run(run_on_fake: Any) -> Run:
    return functools.partial(run_on_fake, main)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    return path


@pytest.fixture
def no_engine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails as soon as an engine is opened."""

    def refuse(*_: object, **__: object) -> None:
        raise EngineError("an engine was opened")

    monkeypatch.setattr("dawn_runtime.decoder.open_engine", refuse)


def test_answers_go_through_a_link_and_into_a_pipe(run: Run, prompts: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    assert run("--input", str(prompts), "--output", str(tmp_path / "link"), *SHORT)[0] == 0
    assert (tmp_path / "link").is_symlink()
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert run("--input", str(prompts), "--output", str(pipe), *SHORT)[0] == 0
    reader.join(timeout=30)
    assert pipe.is_fifo()
    tokens = [
        [json.loads(line)["tokens"] for line in content.splitlines()]
        for content in (found[0], (tmp_path / "real").read_bytes())
    ]
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 2


@pytest.mark.parametrize("flag", ["--input", "--output"])
def test_an_empty_text_is_no_path(flag: str, run: Run, prompts: Path, tmp_path: Path) -> None:
    given = {"--input": str(prompts), "--output": str(tmp_path / "o"), flag: ""}
    status, out, err = run(*(word for pair in given.items() for word in pair))
    assert (status, out) == (2, "")
    assert f"argument {flag}: got '', expected a path" in err
    with pytest.raises(OptionError, match="artifact: folder is ''; expected a path"):
        Artifact.open("")


def test_a_file_of_a_checkpoint_is_not_written_over(
    run: Run, prompts: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("kept")
    for name in ("config.json", "model.safetensors"):
        status, out, err = run("--input", str(prompts), "--output", str(folder / name))
        assert (status, out) == (2, "")
        assert f"{name}: is a file of a checkpoint; give another place" in err
        assert (folder / name).read_text() == "kept"


def test_prompts_may_come_through_a_pipe(run: Run, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = '{"prompt": "a"}\n'
    writer = threading.Thread(target=lambda: pipe.write_text(content), daemon=True)
    writer.start()
    status, out, _ = run("--input", str(pipe), *SHORT)
    writer.join(timeout=30)
    assert (status, len(out.splitlines())) == (0, 1)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("in.jsonl", "is the same file as --input"),
        ("same.jsonl", "is the same file as --input"),
        ("artifact/dawn.json", "is a file of an artifact; give another place"),
        ("artifact", "is a folder; give the name of a file"),
        ("no/where", "the folder does not exist; create it first"),
        ("n" * 300, "File name too long"),
    ],
)
@pytest.mark.usefixtures("no_engine")
def test_a_place_for_answers_is_refused_before_the_engine_is_opened(
    output: str, message: str, run: Run, prompts: Path, tmp_path: Path
) -> None:
    (tmp_path / "same.jsonl").symlink_to(prompts)
    before = prompts.read_text()
    status, out, err = run("--input", str(prompts), "--output", str(tmp_path / output))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("dawn-generate: error: --output ")
    assert message in err
    assert prompts.read_text() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hi", "--seed", "1"], "--seed, --top-p and --top-k need a temperature above 0"),
        (["hi", "--temperature", "0", "--top-k", "2"], "need a temperature above 0"),
        (["hi", "--batch", "2"], "--batch needs --input"),
        (["hi", "--padding", "left"], "--padding needs --input"),
        (
            ["hi", "--set", "threshold=1", "--set", "threshold=0.5"],
            "--set threshold is given twice",
        ),
        (
            ["hi", "--threads", "1000000"],
            "argument --threads: got '1000000', expected a number of a",
        ),
        (["hi", "--threads", "9" * 5000], "expected a number of at most 1024"),
        (["hi", "--policy", "treshold"], "unknown policy: 'treshold'"),
        (["hi", "--timeout", "-1"], "--timeout is -1.0"),
        (["a\udcffb"], r"PROMPT 'a\udcffb': holds bytes that are not UTF-8"),
        (
            ["--chat", "hi", "--system", "\udcff"],
            r"--system '\udcff': holds bytes that are not UTF",
        ),
        (["--fill", "\udcff[[2]]"], r"--fill '\udcff[[2]]': holds bytes"),
        (["\N{EN DASH}chat"], "seems to be a flag; flags begin with plain hyphens"),
        (
            ["./in.jsonl"],
            "is the name of a file; give prompts of a file with --input; pipe it into",
        ),
        (["./artifact"], "is the name of a folder, and the artifact goes first"),
        (["--input", "artifact"], "artifact: cannot read prompts: Is a directory"),
    ],
)
@pytest.mark.usefixtures("no_engine", "prompts")
def test_a_mix_up_is_one_line_before_the_engine_is_opened(
    arguments: list[str], message: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = run(*arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert len(err) < 400


@pytest.mark.parametrize("text", ["e.g. this", "a/b", "3.14", "in", "\N{EM DASH} she said"])
def test_a_prompt_that_only_looks_like_something_else_is_decoded(
    text: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").touch()  # a word may be the name of a file
    monkeypatch.chdir(tmp_path)
    assert run(text, *SHORT)[0] == 0


def test_the_name_of_a_file_can_be_the_prompt_through_standard_input(
    run: Run, prompts: Path
) -> None:
    assert run("-", *SHORT, stdin=f"{prompts}\n")[0] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"prompt": "a\\ud800b"}', "line 2: prompt holds half a character (a lone surrogate)"),
        (
            b'{"messages": [{"role": "user", "content": "\\udfff"}]}',
            "line 2: messages holds half a",
        ),
        (b'{"template": ["\\ud800", 2]}', "line 2: template holds half a character"),
        (b'{"prompt": "\xff"}', "line 2: not valid JSON (it is not UTF-8: byte 0xff at offset 12)"),
        (
            b'{"prompt": "a", "prompt": "b"}',
            "line 2: not valid JSON (field 'prompt' appears twice)",
        ),
        (b'{"prompt": "a", "x": ' + b"[" * 200_000, "line 2: not valid JSON (it is nested more"),
        (b'{"prompt": "a", "x": ' + b"1" * 5000 + b"}", "line 2: not valid JSON (an integer of 5"),
        (
            b'{"prompt": "a", "x": NaN}',
            "line 2: not valid JSON (got NaN, expected a finite number)",
        ),
    ],
)
def test_a_line_that_is_no_text_or_no_json_is_named(
    line: bytes, message: str, run: Run, tmp_path: Path
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"prompt": "good"}\n' + line + b"\n")
    status, out, err = run("--input", str(path), *SHORT)
    good, bad = map(json.loads, out.splitlines())
    assert (status, err.count("\n")) == (1, 1)
    assert message in err
    assert message in bad["error"]
    assert len(good["tokens"]) == 12


@pytest.mark.usefixtures("no_engine")
def test_a_file_of_something_else_is_no_job(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("What is 3 + 4?\nWhat is 4 + 4?\n")
    status, out, err = run("--input", str(path), "--output", str(tmp_path / "out"))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "line 1: not valid JSON" in err
    assert not (tmp_path / "out").exists()


def test_a_file_of_a_windows_editor_is_read(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "a"}\r\n{"prompt": "b"}\r\n')
    status, out, _ = run("--input", str(path), *SHORT)
    assert (status, len(out.splitlines())) == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cache", "none", "--cache", "prefx"], "unknown cache: 'prefx'"),
        (["--policy", "dawn", "--policy", "threshold", "--set", "x=1"], "--set goes with a single"),
        (
            ["--random", "--prompt-tokens", "999999999"],
            "a prompt of 999999999 tokens and 128 new ones exceed",
        ),
        (
            ["--random", "--batch", "99999999", "--new-tokens", "8", "--prompt-tokens", "8"],
            "--batch is 99999999",
        ),
    ],
)
@pytest.mark.usefixtures("no_engine")
def test_what_cannot_be_timed_is_known_before_anything_is(
    arguments: list[str], message: str, run_on_fake: Any
) -> None:
    status, out, err = run_on_fake(bench.main, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
