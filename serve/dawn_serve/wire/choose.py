"""Requests of our own: one of several given answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime.checks import shown
from dawn_serve.wire.fill import Before
from dawn_serve.wire.kinds import Integer, Kind, ListOf, Object, RequestError, Schema, Text
from dawn_serve.wire.records import wire

MOST_CHOICES: Final = 256
MOST_FIELDS: Final = 64
MOST_PASSES: Final = 64

BY: Final = ("mean", "sum")
_CHOICES: Final = ListOf(Text(1), 2, MOST_CHOICES)


class Scalar(Kind):
    """A value of JSON that holds no others."""

    expected = "a text, a number, true, false or null"

    def accepts(self, value: object) -> bool:
        """As in `Kind`."""
        return value is None or isinstance(value, (str, int, float))

    def schema(self) -> Schema:
        """As in `Kind`."""
        return {"type": ["string", "number", "boolean", "null"]}


def _frame(where: str, value: Mapping[str, Any]) -> Mapping[str, list[Any]]:
    if not 1 <= len(value) <= MOST_FIELDS:
        raise RequestError(f"{where} has {len(value)} fields; expected 1 to {MOST_FIELDS}", where)
    kind = ListOf(Scalar(), 1, MOST_CHOICES)
    return {name: kind.read(f"{where}.{name}", values) for name, values in value.items()}


@dataclass(frozen=True)
class ChooseRequest(Before):
    """The most probable of given answers, or an object of JSON of such."""

    choices: list[str] | None = wire(_CHOICES, "the answers", default=None)
    frame: Mapping[str, list[Any]] | None = wire(
        Object(_frame),
        "instead of them, an object: its fields, each with the values that it may have",
        default=None,
    )
    prefix: str = wire(Text(), "text between what precedes and the choice", default="")
    suffix: str | None = wire(
        Text(), "text behind the choice; by default the token that ends an answer", default=None
    )
    by: str = wire(Text(choices=BY), "what is compared of their tokens' logprobs", default="mean")
    passes: int = wire(
        Integer(1, MOST_PASSES), "runs in which the tokens of a choice are revealed", default=1
    )

    def check_together(self) -> None:
        """Checks what spans several fields.

        Raises:
            RequestError: They do not go together.
        """
        if (self.choices is None) == (self.frame is None):
            raise RequestError("give exactly one of choices and frame", "choices")
        if self.frame is not None and self.suffix is not None:
            raise RequestError("suffix goes with choices; a frame has its own", "suffix")
        if self.before is None and not self.prefix:
            raise RequestError("give what precedes: prompt, messages or prefix", "prompt")
        texts = [repr(one) for one in self.choices or ()]
        if len(set(texts)) < len(texts):
            twice = next(one for one in texts if texts.count(one) > 1)
            raise RequestError(f"choices hold {shown(twice)} twice; give each once", "choices")
