"""Sections of a Markdown page that stored results write.

    <!-- dawn-bench: results/tiny-dream.json -->
    ... is replaced ...
    <!-- end of dawn-bench -->

The name is the path of the result, from the folder of the page.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dawn_runtime.bench.record import Record, read_record
from dawn_runtime.bench.report import markdown
from dawn_runtime.errors import OptionError
from dawn_runtime.files import read_plain, reason_of, text_of

_END: Final = "<!-- end of dawn-bench -->"
_SECTION: Final = re.compile(
    rf"^<!-- dawn-bench: (?P<name>[^\n]+?) -->\n(?P<body>.*?)^{re.escape(_END)}$",
    re.MULTILINE | re.DOTALL,
)
_MOST_BYTES: Final = 16 * 2**20


def read_page(page: Path) -> str:
    """Returns the text of a page.

    Raises:
        OptionError: It cannot be read.
    """
    try:
        return text_of(read_plain(page, _MOST_BYTES))
    except (OSError, ValueError) as error:
        raise OptionError(f"--markdown {page}: {reason_of(error)}") from error


def check_section(text: str, page: Path, result: Path) -> None:
    """Finds out before any work whether a page has a place for a result.

    Raises:
        OptionError: It has none.
    """
    if name_of(page, result) not in [match["name"] for match in _SECTION.finditer(text)]:
        raise OptionError(
            f"--markdown {page}: has no section of {result}; put the lines "
            f"<!-- dawn-bench: {name_of(page, result)} --> and {_END} where it shall be"
        )


def written(text: str, page: Path, result: Path, record: Record) -> str:
    """Returns the text of a page with the section of a result written anew.

    Args:
        text: Of the page as it is.
        page: Its place.
        result: The file that the section is of.
        record: What is in it.

    Raises:
        OptionError: There is no such section.
    """
    check_section(text, page, result)
    name, body = name_of(page, result), markdown(record)

    def section(match: re.Match[str]) -> str:
        if match["name"] != name:
            return match[0]
        return f"<!-- dawn-bench: {name} -->\n\n{body}\n{_END}"

    return _SECTION.sub(section, text)


def results_of(text: str, page: Path) -> Iterator[tuple[Path, Record]]:
    """Gives the results that a page has sections of, and what is in them.

    Raises:
        OptionError: One cannot be read.
    """
    for match in _SECTION.finditer(text):
        path = page.parent / match["name"]
        yield path, read_record(path)


def name_of(page: Path, result: Path) -> str:
    """Returns the path of a result from the folder of a page, with slashes."""
    return Path(os.path.relpath(result, page.parent)).as_posix()
