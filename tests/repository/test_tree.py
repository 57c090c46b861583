"""The annotated tree of docs/architecture.md and the disk agree, in both directions."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "architecture.md"
_NAME = re.compile(r"[\w.*-]+/?(?:[\w.*-]+/?)*")
_UNNAMED = {"__init__.py", "__main__.py", "py.typed", "_version.py"}
"""Files that say nothing beyond their name."""


@dataclass(frozen=True)
class Line:
    """One line of the tree: the folder that it stands in, and the names that it explains."""

    folder: Path
    names: tuple[str, ...]
    text: str


def tree() -> list[Line]:
    """Reads the tree: two spaces a level; names up to the first gap of two spaces."""
    (block,) = re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    parents: list[Path] = []
    lines = []
    for text in block.splitlines():
        depth, rest = divmod(len(text) - len(text.lstrip()), 2)
        names, _, explanation = text.strip().partition("  ")
        if rest or depth > len(parents) or not _NAME.fullmatch(names.split()[0]):
            raise AssertionError(f"not a line of a tree: {text!r}")
        assert explanation.strip(), f"{names} is not explained"
        parents = parents[:depth]
        folder = parents[-1] if parents else Path()
        found = tuple(names.split())
        lines.append(Line(folder, found, text))
        parents.append(folder / found[-1])
    return lines


LINES = tree()


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.text.strip().partition("  ")[0])
def test_what_the_tree_names_is_there(line: Line) -> None:
    for name in line.names:
        found = list((ROOT / line.folder).glob(name.rstrip("/")))
        assert found, f"{line.folder / name} is not there"
        assert all(path.is_dir() == name.endswith("/") for path in found), name


def test_the_tree_names_every_module_or_the_folder_that_it_is_in() -> None:
    named = {
        path
        for line in LINES
        for n in line.names
        for path in (ROOT / line.folder).glob(n.rstrip("/"))
    }
    # Where the tree lists files it lists them all; elsewhere the folder speaks for its files.
    listed = {ROOT / line.folder for line in LINES for n in line.names if n.endswith(".py")}
    for package in ("runtime", "export", "calibration", "models", "serve", "eval"):
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name in _UNNAMED or path in named:
                continue
            assert path.parent in named - listed, f"{path.relative_to(ROOT)} is not in the tree"
