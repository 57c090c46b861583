r"""Calls of tools in a text that grows, written as chat templates have models write them.

    tagged    I will look.\n<tool_call>\n{"name": "add", "arguments": {"a": 3}}\n</tool_call>
    bare      {"name": "add", "parameters": {"a": 3}}

A tagged call may stand anywhere and any number of times; white space around it is not text. Bare
calls are the whole answer, perhaps behind `<|python_tag|>`, with white space or `;` between them.
What is no call of an offered tool, in strict JSON, stays text to the last character. What is given
out does not depend on the pieces in which the text comes.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from dawn_runtime._json import is_unicode, parse_json
from dawn_serve.talk.parts import Call, Part, Said

_MARK: Final = re.compile(r'["\\{}]')
_SPACE: Final = re.compile(r"\s*")
_BETWEEN: Final = re.compile(r"[\s;]*")
PYTHON_TAG: Final = "<|python_tag|>"


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a template has calls written.

    Attributes:
        key: Field of the arguments beside `name`.
        begin: Text in front of the object; empty of bare calls.
        end: Text behind it.
    """

    key: str
    begin: str = ""
    end: str = ""

    def read(self, text: str, names: Collection[str]) -> Call | None:
        """Returns the call that an object of JSON is; None if it is none.

        Args:
            text: The object.
            names: Of the tools that are offered.
        """
        try:
            found = parse_json(text)
        except ValueError:
            return None
        if not isinstance(found, dict) or not {"name"} <= set(found) <= {"type", "name", self.key}:
            return None
        name, arguments = found["name"], found.get(self.key, {})
        is_call = isinstance(name, str) and name in names and isinstance(arguments, dict)
        if not is_call or found.get("type", "function") != "function" or not is_unicode(found):
            return None
        return Call(name, arguments)


FORMS: Final = (
    CallForm("arguments", "<tool_call>", "</tool_call>"),
    CallForm("parameters", "<tool_call>", "</tool_call>"),
    CallForm("parameters"),
    CallForm("arguments"),
)
"""All that are read."""


class ObjectEnd:
    """Looks for the end of an object of JSON in a text that grows; no character is seen twice.

    Args:
        begin: Place of its brace.
    """

    def __init__(self, begin: int) -> None:
        self._place, self._depth, self._inside = begin, 0, False

    def find(self, text: str) -> int | None:
        """Returns the place behind the object; None if it goes on.

        Args:
            text: What there is, that of earlier calls included.
        """
        while match := _MARK.search(text, self._place):
            mark, self._place = match[0], match.end()
            if mark == "\\" and self._inside:
                if self._place == len(text):  # what it escapes is still to come
                    self._place -= 1
                    return None
                self._place += 1
            elif mark == '"':
                self._inside = not self._inside
            elif not self._inside and mark != "\\":
                self._depth += 1 if mark == "{" else -1
                if not self._depth:
                    return self._place
        self._place = len(text)
        return None


class CallReader(ABC):
    """Takes calls out of a text that comes in pieces.

    Args:
        form: How they are written.
        names: Of the tools that are offered.
    """

    def __init__(self, form: CallForm, names: Collection[str]) -> None:
        self._form, self._names = form, frozenset(names)
        self._held = ""
        self._object: ObjectEnd | None = None

    @abstractmethod
    def push(self, piece: str, *, final: bool = False) -> list[Part]:
        """Returns what is certain now.

        Args:
            piece: What follows.
            final: Whether nothing follows it.
        """

    def _object_end(self, begin: int) -> int | None:
        """Place behind the object that begins at a place of what is held; None if it goes on."""
        self._object = self._object or ObjectEnd(begin)
        return self._object.find(self._held)


class TaggedCalls(CallReader):
    """Calls between tags, anywhere in a text."""

    def __init__(self, form: CallForm, names: Collection[str]) -> None:
        super().__init__(form, names)
        self._read: tuple[Call, int] | None = None
        self._after = False  # whether white space that follows belongs to a call

    def push(self, piece: str, *, final: bool = False) -> list[Part]:
        """As in `CallReader`."""
        self._held += piece
        found: list[Part] = []
        while (part := self._next(final)) is not None:
            found.append(part)
        return found

    def _next(self, final: bool) -> Part | None:
        """Takes a part off what is held; None until more is known, or if nothing is left."""
        if self._after:
            self._held = self._held.lstrip()
            self._after = not self._held
        tag = self._held.find(self._form.begin)
        certain = self._certain(final) if tag < 0 else len(self._held[:tag].rstrip())
        if certain:
            return self._take(certain)
        return None if tag < 0 else self._call(tag + len(self._form.begin), final)

    def _certain(self, final: bool) -> int:
        """How many characters are text, whatever follows, where there is no tag."""
        if final:
            return len(self._held)
        return len(self._held[: len(self._held) - beginning(self._held, self._form.begin)].rstrip())

    def _call(self, inside: int, final: bool) -> Part | None:
        """What stands behind the tag that ends at a place; before it is white space alone."""
        if self._read is None:
            begin = _behind(_SPACE, self._held, inside)
            if begin < len(self._held) and self._held[begin] != "{":
                return self._take(inside)
            end = None if begin == len(self._held) else self._object_end(begin)
            if end is None:
                return self._take(len(self._held)) if final else None
            call = self._form.read(self._held[begin:end], self._names)
            if call is None:
                return self._take(end)
            self._read = call, end
        return self._closed(*self._read, final)

    def _closed(self, call: Call, end: int, final: bool) -> Part | None:
        """A call, once its closing tag is there; at the end of a text it may lack."""
        tag, place = self._form.end, _behind(_SPACE, self._held, end)
        rest = self._held[place : place + len(tag)]
        if not tag.startswith(rest):
            return self._take(end)
        if rest != tag and not final:
            return None
        self._take(place + len(rest))
        self._after = True
        return call

    def _take(self, count: int) -> Said:
        """Takes so many characters off as text."""
        text, self._held = self._held[:count], self._held[count:]
        self._object = self._read = None
        return Said(text)


class BareCalls(CallReader):
    """Calls that are all of an answer; held back to its end, which alone tells that they are."""

    def __init__(self, form: CallForm, names: Collection[str]) -> None:
        super().__init__(form, names)
        self._calls: list[Part] = []
        self._place = 0
        self._is_text = False

    def push(self, piece: str, *, final: bool = False) -> list[Part]:
        """As in `CallReader`."""
        self._held += piece
        while not self._is_text and self._goes_on():
            pass
        if final and not self._is_text and self._place == len(self._held) and self._calls:
            return self._calls
        if not self._held or not (final or self._is_text):
            return []
        text, self._held = self._held, ""
        return [Said(text)]

    def _goes_on(self) -> bool:
        """Reads on by a call; returns whether there may be more to read."""
        space = _BETWEEN if self._calls else _SPACE
        self._place = _behind(space, self._held, self._place)
        rest = self._held[self._place : self._place + len(PYTHON_TAG)]
        if not self._calls and rest == PYTHON_TAG:
            self._place = _behind(_SPACE, self._held, self._place + len(rest))
            rest = self._held[self._place : self._place + 1]
        if not rest or (not self._calls and PYTHON_TAG.startswith(rest)):
            return False
        end = self._object_end(self._place) if rest[0] == "{" else self._place
        if end is None:
            return False
        call = self._form.read(self._held[self._place : end], self._names)
        self._object, self._is_text = None, call is None
        if call is not None:
            self._calls.append(call)
            self._place = end
        return call is not None


def reader_of(form: CallForm, names: Collection[str]) -> CallReader:
    """Returns what reads calls of a form.

    Args:
        form: One of `FORMS`.
        names: Of the tools that are offered.
    """
    return TaggedCalls(form, names) if form.begin else BareCalls(form, names)


def beginning(text: str, tag: str) -> int:
    """Length of the longest end of a text with which a tag may begin, the whole tag left out."""
    lengths = range(min(len(text), len(tag) - 1), 0, -1)
    return next((n for n in lengths if tag.startswith(text[-n:])), 0)


def _behind(space: re.Pattern[str], text: str, place: int) -> int:
    match = space.match(text, place)
    assert match is not None
    return match.end()
