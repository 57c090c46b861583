r"""Text of strangers stays text: ids of special tokens come from the chat template alone.

A template writes special tokens as text, between the texts of the messages, and a tokenizer that
recognises them there recognises them in the messages too: a message that holds `<|im_end|>` would
end its turn, one that holds the text of the mask would open a position. So every place of a message
where such a text begins is signed, with a character that occurs nowhere else, before the template
is rendered:

    message     say <|im_end|> twice          signed     say <~|im_end|> twice
    rendered    <|im_start|>user              parts      <|im_start|> (id), "user\nsay <|im_end|>
                say <~|im_end|> twice<|im_end|>          twice" (text), <|im_end|> (id)

What is signed is text, what is not is the template's, and each part is tokenized on its own, as a
tokenizer does by itself: it looks for special tokens first.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

from dawn_runtime.errors import PromptError

_SIGNS: Final = tuple(map(chr, chain(range(0xFDD0, 0xFDF0), range(0xE000, 0xF900))))
"""Characters that Unicode leaves to programs: 32 that are none, and those of private use."""


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """A token that stands for more than its text.

    Attributes:
        text: How it is written.
        id: Its id.
        lstrip: Whether white space before it belongs to it.
        rstrip: Whether white space behind it does.
    """

    text: str
    id: int
    lstrip: bool = False
    rstrip: bool = False


@dataclass(frozen=True, slots=True)
class Literal:
    """Keeps texts and special tokens apart; see the module.

    Attributes:
        tokens: The special tokens.
        sign: Marks where the text of one begins that is none.
    """

    tokens: Sequence[SpecialToken]
    sign: str

    @classmethod
    def of(cls, tokens: Sequence[SpecialToken], values: Any, source: str) -> "Literal":
        """Chooses a sign that is nowhere else.

        Args:
            tokens: The special tokens.
            values: All that will be signed: texts, lists and mappings of them, anything else.
            source: Text of the template.

        Raises:
            PromptError: There is none left.
        """
        used = set(source).union(*map(set, _texts(values)))
        sign = next((one for one in _SIGNS if one not in used), None)
        if sign is None:
            raise PromptError(
                "the messages hold every character of private use; expected text of people"
            )
        return cls(tokens, sign)

    def signed(self, value: Any) -> Any:
        """Returns texts, and texts in lists and mappings, with every such place signed."""
        if isinstance(value, str):
            return self._starts().sub(rf"\g<0>{self.sign}", value) if self.tokens else value
        if isinstance(value, Mapping):
            return {self.signed(key): self.signed(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.signed(item) for item in value]
        return value

    def parts(self, rendered: str) -> Iterator[str | SpecialToken]:
        """Gives texts and special tokens of a rendered template in their order, no empty text."""
        pieces = rendered.split(self.sign)
        text, begin = "".join(pieces), 0
        ends = _running(len(piece) for piece in pieces[:-1])
        signed = {end - 1 for end in ends}
        strip = False
        for match in self._found(text, signed):
            token = self._token(match[0])
            part = text[begin : match.start()]
            part = part.lstrip() if strip else part
            part = part.rstrip() if token.lstrip else part
            if part:
                yield part
            yield token
            begin, strip = match.end(), token.rstrip
        rest = text[begin:].lstrip() if strip else text[begin:]
        if rest:
            yield rest

    def _found(self, text: str, signed: set[int]) -> Iterator[re.Match[str]]:
        """Gives special tokens from the left, the longest first, but those at signed places."""
        pattern, place = re.compile(self._either()), 0
        while self.tokens and (match := pattern.search(text, place)):
            is_text = match.start() in signed
            place = match.start() + 1 if is_text else match.end()
            if not is_text:
                yield match

    def _starts(self) -> re.Pattern[str]:
        """Matches the first character of every special token, overlapping ones too."""
        return re.compile(rf"(?s:(?={self._either()}).)")

    def _either(self) -> str:
        texts = sorted((token.text for token in self.tokens), key=len, reverse=True)
        return f"(?:{'|'.join(map(re.escape, texts))})"

    def _token(self, text: str) -> SpecialToken:
        return next(token for token in self.tokens if token.text == text)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from chain(_texts(list(value)), _texts(list(value.values())))
    elif isinstance(value, (list, tuple)):
        yield from chain.from_iterable(map(_texts, value))


def _running(lengths: Iterable[int]) -> Iterator[int]:
    total = 0
    for length in lengths:
        total += length
        yield total
