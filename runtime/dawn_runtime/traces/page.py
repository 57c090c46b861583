"""A trace as one page: the JSON inside of `page.html`, which loads nothing from anywhere."""

import json
from importlib import resources
from typing import Any, Final

_PLACE: Final = "@TRACE@"


def as_json(document: dict[str, Any]) -> str:
    """Returns a trace as a text of one line."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False) + "\n"


def as_page(document: dict[str, Any]) -> str:
    """Returns a page that shows a trace; the element `trace` of it holds the JSON.

    Args:
        document: As from `trace_document`.
    """
    page = resources.files("dawn_runtime.traces").joinpath("page.html").read_text(encoding="utf-8")
    # No text of a model ends the element that it stands in, and the JSON stays the same.
    safe = as_json(document).replace("<", "\\u003c")
    before, after = page.split(_PLACE)
    return f"{before}{safe.strip()}{after}"
