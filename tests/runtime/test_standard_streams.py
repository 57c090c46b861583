"""Standard streams that are closed, full, gone or of a narrow encoding: one line, the right status.

The commands are started as a shell does, by a small program that decodes nothing but is a command.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dawn_runtime

PROGRAM = """
import sys
from dawn_runtime.cli.common import Parser, print_json, run_command
from dawn_runtime.cli.standard import read_input, say

def work(args):
    if args.read:
        read_input()
    say("a note")
    print("caf\\u00e9") if not args.json else print_json({"text": "caf\\u00e9 \\U0001f389"})

parser = Parser("dawn-test", "A test.")
parser.add_argument("--read", action="store_true")
sys.exit(run_command(parser, work, sys.argv[1:]))
"""
CLOSED = "dawn-test: error: standard output is closed; leave it open, or send it to a file"


def shell(
    redirection: str, *arguments: str, stdin: bytes = b"", **variables: str
) -> tuple[int, bytes, str]:
    """Runs the program in a shell that redirects its streams."""
    command = f'"$0" -c "$PROGRAM" {" ".join(arguments)} {redirection}'
    done = subprocess.run(
        ["bash", "-c", command, sys.executable],
        input=stdin,
        capture_output=True,
        env={
            "PATH": os.environ["PATH"],
            "PROGRAM": PROGRAM,
            "PYTHONPATH": str(Path(dawn_runtime.__file__).parent.parent),
            "PYTHONIOENCODING": "utf-8",
            **variables,
        },
        check=False,
    )
    return done.returncode, done.stdout, done.stderr.decode()


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--help",), ("--version",)])
def test_a_closed_standard_output_is_told_before_any_work(arguments: tuple[str, ...]) -> None:
    status, _, err = shell(">&-", *arguments)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith(CLOSED)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("argument", ["", "--json", "--help", "--version"])
def test_a_full_device_is_one_line_and_a_failure(argument: str, unbuffered: str) -> None:
    status, _, err = shell("> /dev/full", argument, PYTHONUNBUFFERED=unbuffered)
    assert status == 1
    lines = [line for line in err.splitlines() if line != "a note"]
    assert len(lines) == 1
    assert lines[0].startswith("dawn-test: error: ")
    assert lines[0].endswith("No space left on device")


@pytest.mark.parametrize("argument", ["", "--help", "--version"])
def test_a_reader_that_is_gone_leaves_no_traceback(argument: str) -> None:
    # The reader ends before the program begins to write.
    status, _, err = shell("| true; exit ${PIPESTATUS[0]}", argument)
    assert status in (0, 1)
    assert err.removeprefix("a note\n") == ""


def test_closed_errors_do_not_end_up_among_the_results() -> None:
    assert shell("2>&-", "--json")[:2] == (0, '{"text": "café 🎉"}\n'.encode())
    assert shell("2>&-", "--no-such-flag")[:2] == (2, b"")


def test_closed_input_is_wrong_usage() -> None:
    status, out, err = shell("<&-", "--read")
    assert (status, out) == (2, b"")
    assert err == (
        "dawn-test: error: standard input is closed; give the prompt on the command line\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8:surrogateescape", "ascii"])
def test_input_that_is_no_text_is_wrong_usage(encoding: str) -> None:
    status, out, err = shell("", "--read", stdin=b"a\xff\n", PYTHONIOENCODING=encoding)
    assert (status, out, err.count("\n")) == (2, b"", 1)
    assert err.startswith("dawn-test: error: standard input: not text")


def test_what_an_encoding_lacks_is_written_as_an_escape() -> None:
    assert shell("", PYTHONIOENCODING="ascii")[:2] == (0, b"caf\\xe9\n")
    assert shell("", "--json", PYTHONIOENCODING="latin-1")[:2] == (
        0,
        b'{"text": "caf\\u00e9 \\ud83c\\udf89"}\n',
    )


def test_a_closed_stream_is_not_taken_by_the_next_file(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "from dawn_runtime.cli.standard import prepare_streams\n"
        "prepare_streams()\n"
        "file = open(sys.argv[1], 'w')\n"
        "os.write(2, b'an error of a native library')\n"
        "file.write(str(file.fileno() > 2))\n"
    )
    path = tmp_path / "answers"
    subprocess.run(
        ["bash", "-c", '"$0" -c "$1" "$2" 2>&- <&-', sys.executable, code, str(path)],
        env={"PYTHONPATH": str(Path(dawn_runtime.__file__).parent.parent)},
        check=True,
    )
    assert path.read_text() == "True"
