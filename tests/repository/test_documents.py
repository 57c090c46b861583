"""README.md and docs/: their blocks run as they stand, top to bottom, in a clean copy."""

import importlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import NoReturn

import pytest

from dawn_runtime.cli.common import DONE, Parser
from support.hub_server import Hub, User, serving
from support.markdown import RUNS, Block, as_script, blocks, commands

ROOT = Path(__file__).parent.parent.parent
README = blocks(ROOT / "README.md")
DOCUMENTS = [block for path in sorted((ROOT / "docs").glob("*.md")) for block in blocks(path)]
EVERY = [block for block in (*README, *DOCUMENTS) if block.language in RUNS]
PACKAGES = ("transformers", "optimum", "onnx-genai")
"""What the development environment leaves out."""
NEEDS = ("an NVIDIA GPU", "a Jetson board", "minutes", "a download", *PACKAGES)
"""What a block may ask for instead of being run; its commands are then parsed alone."""


def test_blocks_are_run_or_say_what_they_need() -> None:
    assert {block.needs for block in EVERY} <= {"", *NEEDS}
    assert sum(not block.needs for block in README if block.language in RUNS) >= 5


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_links_lead_somewhere() -> None:
    pages = [
        ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
    ]
    pages += [ROOT / "models" / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            found = page.parent / path if path else page
            if "://" in target:
                continue
            assert found.exists(), f"{page.name} links to {target}"
            assert not anchor or anchor in anchors(found), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """The names that headings have as places of a page."""
    text = page.read_text(encoding="utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def copy_of_the_repository(folder: Path) -> Path:
    """What a clone of this working tree would hold, with nothing that was built in it."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    for name in map(os.fsdecode, filter(None, names)):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return folder


def bare_environment() -> dict[str, str]:
    """The variables of a user who has a Python and no environment of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("HF_", "PYTEST_", "VIRTUAL_ENV", "PYTHON"))
    }
    ours = str(ROOT / ".venv")
    path = [part for part in kept["PATH"].split(os.pathsep) if not part.startswith(ours)]
    bare = str(Path(sys.base_prefix) / "bin")
    return {**kept, "PATH": os.pathsep.join([bare, *path])}


def test_the_readme_runs_from_top_to_bottom(tmp_path: Path) -> None:
    copy = copy_of_the_repository(tmp_path / "copy")
    finished = subprocess.run(
        ["bash", "-c", as_script(README)],
        cwd=copy,
        env=bare_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, f"{finished.stdout[-3000:]}\n{finished.stderr[-5000:]}"
    assert_every_block_shows_something(finished.stdout)


def assert_every_block_shows_something(output: str) -> None:
    """A command that prints nothing, or an empty answer, tells its reader nothing."""
    for part in output.split("### ")[1:]:
        place, _, shown = part.partition("\n")
        assert shown.strip(), f"{place} prints nothing"
        assert "\n\n\n" not in shown, f"{place} prints an empty answer:\n{shown}"


def test_the_examples_of_how_to_add_run_in_their_order() -> None:
    """They register rules of their own, so they run in a process of their own."""
    page = blocks(ROOT / "docs" / "extending.md")
    examples = [one for one in page if one.language == "python"]
    finished = subprocess.run(
        [sys.executable, "-c", "\n".join(one.text for one in examples)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    lines = finished.stdout.splitlines()
    assert len(lines) == 4, "each example prints a line"
    assert all(line.startswith("dog hat bee boat") for line in lines)


PAGES = ["embedding.md", "export.md", "getting-started.md", "jobs.md", "traces.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_of_commands_run_from_top_to_bottom(page: str, tmp_path: Path) -> None:
    """In an empty folder beside models and scripts, as at the root of a clone.

    `--model dream` is answered by a hub on this machine, with the small model in its place, and so
    is `--push you/...`.
    """
    for name in ("models", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    dream = Hub(
        {"Dream-org/Dream-v0-Instruct-7B": ROOT / "models" / "tiny-dream"},
        users={"token": User("you")},
        store=tmp_path / "hub",
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with serving(dream) as hub:
        home = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
        home |= {"HF_TOKEN": "token", "HF_HUB_DISABLE_XET": "1"}
        finished = subprocess.run(
            ["bash", "-c", as_script(blocks(ROOT / "docs" / page))],
            cwd=tmp_path,
            env={**os.environ, **home, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
    assert finished.returncode == 0, f"{finished.stdout[-3000:]}\n{finished.stderr[-5000:]}"
    assert_every_block_shows_something(finished.stdout)


@pytest.mark.transformers
@pytest.mark.optimum
@pytest.mark.onnx_genai
def test_the_page_of_other_packages_runs_where_they_are(tmp_path: Path) -> None:
    """What installs them is left out: that was done."""
    (tmp_path / "models").symlink_to(ROOT / "models")
    page = blocks(ROOT / "docs" / "transformers.md")
    texts = {block.place: re.sub("^pip .*$", "", block.text, flags=re.MULTILINE) for block in page}
    there = [
        replace(block, needs="", text=texts[block.place])
        for block in page
        if texts[block.place].strip()
    ]
    finished = subprocess.run(
        ["bash", "-c", as_script(there)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, f"{finished.stdout[-3000:]}\n{finished.stderr[-5000:]}"
    assert_every_block_shows_something(finished.stdout)
    ours, theirs = finished.stdout.splitlines()[-2:]
    assert ours == theirs


@pytest.mark.parametrize("block", EVERY, ids=lambda block: block.place)
def test_every_command_of_a_document_parses(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    parse = Parser.parse_intermixed_args

    def parse_and_stop(parser: Parser, *arguments: object) -> NoReturn:
        parse(parser, *arguments)
        raise SystemExit(DONE)

    monkeypatch.setattr(Parser, "parse_intermixed_args", parse_and_stop)
    scripts = {
        point.name: point.value
        for point in metadata.entry_points(group="console_scripts")
        if point.name.startswith("dawn-")
    }
    for name, *arguments in commands(block):
        module, _, function = scripts[name].partition(":")
        assert getattr(importlib.import_module(module), function)(arguments) == DONE, block.text


def test_no_command_of_a_document_names_a_script_that_is_not_there() -> None:
    for block in EVERY:
        for name in re.findall(r"\b(?:scripts|docker|tests)/[\w./-]+\.\w+", block.text):
            assert (ROOT / name).exists(), f"{block.place} names {name}"
