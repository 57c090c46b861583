"""A program of the user's that judges answers: what it reads, and all the ways it can fail."""

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from dawn_calibration.cli import main
from dawn_calibration.errors import CheckerError
from dawn_calibration.judges import Program, check_fields, judge_tasks
from dawn_calibration.prompts import Question, questions_of_file, questions_of_tasks
from dawn_runtime import Decoder, OptionError, PromptError, Result
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import FileEntry

QUESTIONS = [
    Question("2 + 3", "data.jsonl line 1", index=0, fields={"prompt": "2 + 3", "sum": 5}),
    Question("4 + 4", "data.jsonl line 3", index=1, fields={"prompt": "4 + 4", "sum": 8}),
]
COMPARING = """
import json, sys
for line in sys.stdin:
    entry = json.loads(line)
    print(str(entry["text"] == str(entry["sum"])).lower())
"""
"""Says whether the answer is the sum that the line of the prompt holds."""


def python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def answers(*texts: str | None) -> list[Result]:
    manifest = fake_manifest()
    made = Decoder(manifest, FakeEngine(manifest)).generate(input_ids=[1], max_new_tokens=1)
    return [replace(made, written=text) for text in texts]


def judged(code: str, *texts: str | None) -> list[bool]:
    return Program.parse(python(code))(QUESTIONS[: len(texts)], answers(*texts))


def test_a_program_judges_answers_by_the_line_of_the_prompt() -> None:
    assert judged(COMPARING, "5", "5") == [True, False]
    assert judged(COMPARING, "5", "8") == [True, True]


def test_it_reads_one_object_a_line_with_index_text_and_the_fields(tmp_path: Path) -> None:
    seen = tmp_path / "seen.jsonl"
    code = f"import sys; open({str(seen)!r}, 'w').write(sys.stdin.read()); print('true\\nfalse')"
    assert judged(code, "two\nlines", "Größe\u2028\ud83d") == [True, False]
    assert [json.loads(line) for line in seen.read_text().split("\n")[:-1]] == [
        {"index": 0, "text": "two\nlines", "prompt": "2 + 3", "sum": 5},
        {"index": 1, "text": "Größe\u2028\ud83d", "prompt": "4 + 4", "sum": 8},
    ]


def test_arguments_are_split_as_a_shell_does_but_no_shell_runs(tmp_path: Path) -> None:
    script = tmp_path / "with a space.py"
    script.write_text("import sys\nfor _ in sys.stdin: print(str(sys.argv[1] == '$HOME').lower())")
    program = Program.parse(f"{shlex.quote(sys.executable)} '{script}' $HOME")
    assert program(QUESTIONS[:1], answers("5")) == [True]


def test_a_program_that_prints_much_before_it_has_read_all_does_not_hang() -> None:
    many = [replace(QUESTIONS[0], index=number) for number in range(3000)]
    code = "import sys\nfor line in sys.stdin: print('true' + ' ' * 200)"
    assert all(Program.parse(python(code))(many, answers("x" * 200) * 3000))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('the table is missing')", "ended with status 1: the table is miss"),
        ("raise SystemExit(3)", "ended with status 3: it gave no reason"),
        ("1 / 0", "ended with status 1: ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9: it gave no reason"),
        ("print('true')", "printed 1 line for 2 answers; it must print true or false for each"),
        ("print('true\\n' * 3, end='')", "printed 3 lines for 2 answers"),
        ("print('true\\nTrue')", "printed 'True' for data.jsonl line 3; expected true or false"),
        ("print('\\ntrue')", "printed '' for data.jsonl line 1; expected true or false"),
    ],
)
def test_a_program_that_fails_is_one_line_that_says_how(code: str, message: str) -> None:
    with pytest.raises(CheckerError, match=r"^checker ") as failure:
        judged(code, "5", "8")
    assert message in str(failure.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "--checker is empty; give a command such as 'python3 check.py', or tasks"),
        ("python 'check.py", "No closing quotation; quote as in a shell"),
        ("no-such-program --now", "found no program 'no-such-program'; give its path"),
    ],
)
def test_a_command_line_that_cannot_work_is_refused_before_anything_runs(
    line: str, message: str
) -> None:
    with pytest.raises(OptionError) as failure:
        Program.parse(line)
    assert message in str(failure.value)


def test_a_script_that_is_not_executable_is_told_from_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "a check.py"
    script.write_text("")
    with pytest.raises(OptionError) as failure:
        Program.parse("'./a check.py' --now")
    assert "./a check.py is not executable; give the interpreter" in str(failure.value)
    assert "python3 './a check.py'" in str(failure.value)
    script.chmod(0o700)
    assert Program.parse("'./a check.py' --now").command == ("./a check.py", "--now")
    with pytest.raises(OptionError, match=r"no program 'a check.py' on the PATH; give its path, "):
        Program.parse("'a check.py'")


def test_a_program_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    script = tmp_path / "check"
    script.write_bytes(b"\x00")
    script.chmod(0o700)
    with pytest.raises(CheckerError, match=rf"checker '{script}' cannot be started: .*format"):
        Program.parse(str(script))(QUESTIONS[:1], answers("5"))


def test_answers_without_a_text_cannot_be_judged() -> None:
    with pytest.raises(CheckerError, match="the artifact has no tokenizer"):
        judged(COMPARING, None)


@pytest.mark.parametrize("name", ["index", "text"])
def test_a_line_with_a_field_of_the_answers_own_is_refused(name: str) -> None:
    check_fields(QUESTIONS)
    with pytest.raises(PromptError, match=f"data.jsonl line 1: has a field '{name}'"):
        check_fields([replace(QUESTIONS[0], fields={"prompt": "x", name: 1})])


def test_prompts_of_a_file_keep_their_number_and_their_line(tmp_path: Path) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text('{"prompt": "a", "sum": 1}\n\n{"input_ids": [1], "tags": ["b"]}\n')
    first, second = questions_of_file(data)
    assert (first.index, first.fields) == (0, {"prompt": "a", "sum": 1})
    assert (second.index, second.where) == (1, f"{data} line 3")
    assert second.fields == {"input_ids": [1], "tags": ["b"]}


def test_tasks_judge_their_own_answers() -> None:
    questions = questions_of_tasks(["sort"], 2, "train", 0)
    items = [question.item for question in questions]
    assert items[0] is not None
    assert judge_tasks(questions, answers(items[0].answer, "no")) == [True, False]


@pytest.fixture
def artifact(exported: Callable[..., Path], tmp_path: Path) -> Path:
    """An artifact that writes words: token 7 is `w7`."""
    folder = tmp_path / "artifact"
    shutil.copytree(exported("dream"), folder)
    manifest = read_manifest(folder)
    words = {f"w{number}": number for number in range(manifest.dims.vocab_size)}
    path = folder / "tokenizer.json"
    Tokenizer(models.WordLevel(words, "w0")).save(str(path))
    entry = FileEntry(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    changed = replace(manifest, files={**manifest.files, path.name: entry})
    (folder / "dawn.json").write_text(changed.to_json())
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(f'{{"input_ids": [{i}, 3], "own": {i}}}\n' for i in range(1, 5)))
    return path


def test_the_command_tunes_by_the_verdicts_of_a_program(
    artifact: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    code = f"""
import json, sys
for line in sys.stdin:
    entry = json.loads(line)
    assert entry["text"].startswith("w") and entry["input_ids"] == [entry["own"], 3]
    open({str(log)!r}, "a").write(f"{{entry['index']}} ")
    print("true" if entry["own"] == entry["index"] + 1 else "false")
"""
    flags = ["--data", str(data), "--policy", "threshold", "--threads", "1", "--quiet", "--json"]
    flags += ["--max-new-tokens", "8", "--agreement", "0.5", "--checker", python(code)]
    assert main(["thresholds", str(artifact), *flags]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["chosen"]["likeness"]["right"] == 1.0
    assert {entry["likeness"]["right"] for entry in document["held_out"]} == {1.0}
    assert set(log.read_text().split()) == {"0", "1", "2", "3"}


def test_the_command_compares_by_the_verdicts_of_a_program(
    artifact: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys\nfor n, line in enumerate(sys.stdin): print('false' if n else 'true')"
    flags = ["--data", str(data), "--max-new-tokens", "8", "--threads", "1", "--quiet", "--json"]
    folder = str(artifact)
    assert main(["compare", folder, folder, *flags, "--checker", python(code)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [side["likeness"]["right"] for side in document["free"]] == [0.25, 0.25]


def test_a_program_that_fails_ends_the_command_with_one_line(
    artifact: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--data", str(data), "--policy", "threshold", "--threads", "1", "--quiet"]
    flags += ["--max-new-tokens", "8", "--checker", python("1 / 0")]
    assert main(["thresholds", str(artifact), *flags]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "ended with status 1: ZeroDivisionError" in line
