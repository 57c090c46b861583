"""`optimum-cli export dawn` is dawn-export, and its folder is optimum's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dawn_runtime import Artifact
from support.checkpoints import write_checkpoint
from support.families import tame

ROOT = Path(__file__).parents[2]
NAMESPACE = ROOT / "export" / "optimum"


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optimum.commands.optimum_cli", *map(str, arguments)]
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return subprocess.run(command, capture_output=True, text=True, env=usual)


def test_nothing_in_the_namespace_hides_another_distributions_part_of_it() -> None:
    assert not list(NAMESPACE.rglob("__init__.py"))
    modules = [path.relative_to(NAMESPACE).as_posix() for path in NAMESPACE.rglob("*.py")]
    assert modules == ["commands/register/register_dawn.py"]


@pytest.mark.optimum
def test_it_exports_what_dawn_export_does(tmp_path: Path) -> None:
    from dawn_export.cli import main

    source = write_checkpoint(tmp_path / "source", "dream", tame)
    arguments = ["--model", str(source), "--evidence-layers", "2", "--quiet"]
    done = cli("export", "dawn", *arguments, "--output", tmp_path / "theirs", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["output"] == str(tmp_path / "theirs")
    assert main([*arguments, "--output", str(tmp_path / "ours")]) == 0
    for name in ("model.onnx", "model.onnx.data"):
        ours, theirs = ((tmp_path / folder / name).read_bytes() for folder in ("ours", "theirs"))
        assert ours == theirs
    Artifact.open(tmp_path / "theirs", verify="full")


@pytest.mark.optimum
def test_errors_and_help_are_those_of_dawn_export(tmp_path: Path) -> None:
    done = cli("export", "dawn", "--model", tmp_path / "nothing", "--output", tmp_path / "out")
    assert done.returncode == 1
    (line,) = [text for text in done.stderr.splitlines() if "error:" in text]
    assert line.startswith("optimum-cli export dawn: error: ")
    usage = cli("export", "dawn", "--model", tmp_path, "--output", tmp_path, "--precision", "int3")
    assert usage.returncode == 2
    shown = cli("export", "dawn", "--help")
    assert shown.returncode == 0
    assert "--evidence-layers" in shown.stdout
