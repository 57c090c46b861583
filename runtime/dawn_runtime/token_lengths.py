"""How many characters of a text one token can stand for, from the content of `tokenizer.json`.

With it a text that is far too long for a context is told without tokenizing it. There is a bound
only where no part of a text can vanish on its way to tokens: byte-level BPE whose vocabulary has
every byte, nothing that removes text, and at most a Unicode normal form before it. All else has
none: white space may be stripped, and an unknown token may swallow any number of characters.
"""

from collections.abc import Mapping
from typing import Any, Final

_SHRINKS: Final = {"NFC": 4, "NFD": 1, "NFKC": 18, "NFKD": 1}
"""Normal form -> characters that can become one: a decomposition is never shorter than the text,
and this is the longest one of a single character."""

_BYTE_LEVEL = "ByteLevel"
_BYTES: Final = frozenset(
    chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 324))
)
"""Characters that the 256 bytes are written as in a byte-level vocabulary."""
_CUTS = ("Split", "Digits", _BYTE_LEVEL)


def characters_per_token(document: Mapping[str, Any]) -> int | None:
    """Returns the most characters that one token stands for, None if there is no such number.

    Args:
        document: Content of a `tokenizer.json`.
    """
    steps = _steps(document.get("pre_tokenizer"), "pretokenizers")
    forms = _steps(document.get("normalizer"), "normalizers")
    added = document.get("added_tokens") or []
    model = document["model"]
    if not (
        model.get("type") == "BPE"
        and document.get("truncation") is None
        and _keeps_bytes(steps, model["vocab"])
        and all(form.get("type") in _SHRINKS for form in forms)
        and not any(token["lstrip"] or token["rstrip"] for token in added)
    ):
        return None
    texts = [*model["vocab"], *(token["content"] for token in added)]
    longest = max(map(len, texts), default=0)
    for form in forms:
        longest *= _SHRINKS[form["type"]]
    return longest


def _steps(entry: Any, listed: str) -> list[Mapping[str, Any]]:
    """Returns the steps of a component, in whatever way sequences of them are nested."""
    if entry is None:
        return []
    if entry.get("type") != "Sequence":
        return [entry]
    return [step for inner in entry[listed] for step in _steps(inner, listed)]


def _keeps_bytes(steps: list[Mapping[str, Any]], vocabulary: Mapping[str, int]) -> bool:
    """Tells whether every byte of a text is cut into pieces of tokens, and none is removed."""
    kinds = [step.get("type") for step in steps]
    return (
        _BYTE_LEVEL in kinds
        and all(kind in _CUTS for kind in kinds)
        and all(step.get("behavior") != "Removed" for step in steps)
        and vocabulary.keys() >= _BYTES
    )
