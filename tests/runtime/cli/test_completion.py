"""What helps to type: completion made from the parser, examples, the commands as a module."""

import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from dawn_runtime.__main__ import COMMANDS, main
from dawn_runtime.cli import bench, doctor, generate
from dawn_runtime.cli.completion import script
from dawn_runtime.cli.generate_flags import parser
from dawn_runtime.rules import known_rules

BASH = shutil.which("bash")


def completed(line: str) -> list[str]:
    """What bash offers behind a line, whose last word is being typed."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    tail = (
        f"\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _dawn_generate; "
        "printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    command = [BASH or "", "-c", script(parser(), "bash") + tail]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
def test_bash_completes_flags_and_names() -> None:
    assert completed("dawn-generate a --po") == ["--policy"]
    assert set(completed("dawn-generate a --policy ")) == set(known_rules())
    assert completed("dawn-generate a --policy thr") == ["threshold"]
    assert completed("dawn-generate a --cache du") == ["dual"]
    assert completed("dawn-generate a --set tau_e") == ["tau_edge="]
    assert completed("dawn-generate a --padding l") == ["left"]
    assert completed("dawn-generate a --output -x") == [], "a name of the user's"


@pytest.mark.parametrize("command", [generate.main, bench.main, doctor.main])
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_every_command_prints_its_completion(
    command: Callable[[list[str]], int], shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["--completion", shell]) == 0
    out = capsys.readouterr().out
    assert "complete -o default -F _dawn_" in out
    assert ("bashcompinit" in out) == (shell == "zsh")
    assert command(["--completion", "fish"]) == 2


def test_help_has_examples_that_parse_and_the_options_of_every_rule() -> None:
    text = parser().format_help()
    assert "examples:" in text
    assert "--policy threshold\n      threshold  least confidence (0 to 1; default 0.9)" in text
    assert "--guard budget" in text


def test_the_commands_are_a_module_too(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert main([name, "--version"]) == 0
        assert capsys.readouterr().out.startswith(f"dawn-{name} ")
    assert main(["--help"]) == 0
    assert "python -m dawn_runtime COMMAND" in capsys.readouterr().out
    assert main([]) == 2
    assert "got no command; expected one of generate, bench, doctor" in capsys.readouterr().err
    assert main(["genrate"]) == 2
    assert "got 'genrate'" in capsys.readouterr().err


def test_python_runs_it() -> None:
    command = [sys.executable, "-m", "dawn_runtime", "generate", "--version"]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stdout.startswith("dawn-generate ")
