"""Code blocks of our own Markdown files, and one shell script of those that can run here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NEEDS = re.compile(r"<!-- needs: (.+?) -->\n\n?\Z")

ENDS = ("|", "||", ">", "&&", ";", "&")
"""What ends a command in a line of shell."""

RUNS = ("bash", "python")
"""Languages that a reader would run; `text` and `json` are for looking at."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands behind its fence.
        text: What is inside.
        place: File and line of its fence.
        needs: What it asks for that is not at hand, from the comment before it:
            `<!-- needs: an NVIDIA GPU -->`; empty if nothing.
    """

    language: str
    text: str
    place: str
    needs: str


def blocks(path: Path) -> list[Block]:
    """Returns the fenced blocks of a file in order."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _FENCE.finditer(text):
        needs = _NEEDS.search(text[: match.start()])
        line = text.count("\n", 0, match.start()) + 1
        place = f"{path.name}:{line}"
        found.append(Block(match[1], match[2], place, needs[1] if needs else ""))
    return found


def as_script(found: list[Block]) -> str:
    """Returns the blocks that can run here as one script, as a reader types them in one shell.

    Each announces itself on both streams, so that a failure and a silent command can be placed.
    """
    parts = ["set -euo pipefail"]
    for block in found:
        if block.language not in RUNS or block.needs:
            continue
        parts.append(f"echo '### {block.place}' | tee /dev/stderr")
        is_python = block.language == "python"
        parts.append(f"python - <<'END'\n{block.text}END" if is_python else block.text)
    return "\n".join(parts) + "\n"


def commands(block: Block) -> list[list[str]]:
    """Returns the `dawn-*` commands of a block, each as its words; comments and pipes end one."""
    found = []
    for words in _statements(block.text.replace("\\\n", " ")):
        if words and words[0].startswith("dawn-"):
            end = next((i for i, word in enumerate(words) if word in ENDS), None)
            found.append(words[:end])
    return found


def _statements(text: str) -> Iterator[list[str]]:
    """Gives the words of each line, or of several that a quotation spans."""
    pending = ""
    for line in text.splitlines():
        pending += line
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # a quotation that a later line ends
            pending += "\n"
            continue
        pending = ""
        yield words
    if pending:
        raise AssertionError(f"a quotation without an end: {pending}")
