"""What all commands share: exit status, errors of one line, files written whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dawn_runtime
from dawn_runtime.cli.common import Parser, atomic_text, run_command


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
