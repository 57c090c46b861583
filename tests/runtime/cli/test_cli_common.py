"""What all commands share: exit status, errors of one line."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import dawn_runtime
from dawn_runtime import OptionError
from dawn_runtime.cli.common import Parser, run_command


def command(work: Any) -> int:
    return run_command(Parser("dawn-test", "A test."), work, [])


def test_interruption_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Any) -> None:
        raise KeyboardInterrupt

    assert command(work) == 130
    assert capsys.readouterr().err == "dawn-test: interrupted\n"


def test_termination_unwinds_and_is_status_143(capsys: pytest.CaptureFixture[str]) -> None:
    unwound = []

    def work(_: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            unwound.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert command(work) == 143
    assert unwound == [True]
    assert capsys.readouterr().err == "dawn-test: terminated\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_runs_outside_the_main_thread_too() -> None:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(command(lambda _: None)))
    thread.start()
    thread.join()
    assert statuses == [0]


def test_further_error_classes_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    def work(_: Any) -> None:
        raise KeyError("two\nlines")

    parser = Parser("dawn-test", "A test.")
    assert run_command(parser, work, [], errors=(KeyError,)) == 1
    assert capsys.readouterr().err == "dawn-test: error: 'two\\nlines'\n"
    assert command(work) == 1
    assert "error: unexpected KeyError: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("generate: max_new_tokens is 0; expected >= 1", "--max-new-tokens is 0; expected >= 1"),
        ("engine: threads is 0; expected", "--threads is 0; expected"),
        ("window 'x': max_new_tokens is 0", "window 'x': --max-new-tokens is 0"),
        ("evidence layers: got 0, expected at least 1", "--evidence-layers: got 0, expected at"),
        ("fill takes no stop_at_eos", "fill takes no --no-stop-at-eos"),
        ("policy 'x': threads is 0", "policy 'x': threads is 0"),
        ("it has two threads and evidence layers", "it has two threads and evidence layers"),
    ],
)
def test_options_are_named_as_the_flags_of_the_command(
    message: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def work(_: Any) -> None:
        raise OptionError(message)

    parser = Parser("dawn-test", "A test.")
    for flag in ("--max-new-tokens", "--threads", "--evidence-layers", "--no-stop-at-eos"):
        parser.add_argument(flag)
    assert run_command(parser, work, []) == 2
    assert capsys.readouterr().err.startswith(f"dawn-test: error: {expected}")


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
