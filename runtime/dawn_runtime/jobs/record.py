"""One answer as one line of JSON, and the digest that tells what it is the answer to.

A line holds, in this order: `line`, the number of the line of the input; `digest`; the fields of
that line which are the caller's own; and the answer, as `Result.to_dict` has it, or `error`, one
line of text. Fields of the caller that are called as one of the answer's stand in `input`.

A digest has two halves, `LINE:SETTINGS`: SHA-256 of the bytes of the line, and of what else an
answer depends on, each cut to twelve hexadecimal digits. So a line of an output says whether it is
the answer of this job, and if it is not, whether the prompt or the settings have changed.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, Final

from dawn_runtime._json import is_unicode
from dawn_runtime.manifest import Manifest
from dawn_runtime.prompt_files import Entry
from dawn_runtime.results import Result
from dawn_runtime.settings import Plan

Document = dict[str, Any]
"""A line of an output."""

BEGINNING: Final = b'{"line": '
"""How every line of an output begins."""

_DIGITS = 12
_OURS: Final = {
    *("line", "digest", "input", "error", "text", "tokens_per_forward"),
    *(field.name for field in fields(Result) if field.name != "written"),
}
"""Fields of a line that are not the caller's."""


def digests(entries: Iterable[Entry], manifest: Manifest, plan: Plan) -> dict[int, str]:
    """Returns the digest of every line of an input, by its number.

    Args:
        entries: The lines.
        manifest: Of the artifact; it names the hashes of all its files.
        plan: How it decodes; on which side rows are filled up changes no answer.
    """
    shared = _short(
        f"{replace(plan, padding='right', record=False)!r}\n{manifest.to_json()}".encode()
    )
    return {entry.number: f"{_short(entry.content)}:{shared}" for entry in entries}


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def answered(entry: Entry, digest: str, result: Result) -> Document:
    """Returns the line of an answer."""
    return {**_head(entry, digest), **result.to_dict()}


def failed(entry: Entry, digest: str, error: object) -> Document:
    """Returns the line of a prompt that has no answer; the error as one line."""
    return {**_head(entry, digest), "error": " ".join(str(error).split())}


def _head(entry: Entry, digest: str) -> Document:
    own = entry.own_fields()
    taken = {name: own.pop(name) for name in list(own) if name in _OURS}
    return {
        "line": entry.number,
        "digest": digest,
        **own,
        **({"input": taken} if taken else {}),
    }


def line_of(document: Document) -> bytes:
    """Returns a line as it is written; what is no Unicode is spelled in ASCII."""
    text = json.dumps(document, ensure_ascii=not is_unicode(document))
    return text.encode() + b"\n"
