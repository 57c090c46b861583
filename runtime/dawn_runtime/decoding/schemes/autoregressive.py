"""Autoregressive: one token a run, from left to right, in models whose causal rows say the next.

Models that were trained both ways (Nemotron-Labs-Diffusion), or that keep causal attention, are
language models of the usual kind as well. The first run is the prefill; each later one feeds the
last token alone. With a prompt of three:

    first run    a 0  b 1  c 2     keeps all; row 2 predicts position 3
    second run   d 3               keeps it; predicts position 4

It is the reference that speculation has to equal, and what block decoding is measured against.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.caches import Cache, Causal, NoCache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import CAUSAL_TEXT, SCHEMES, Scheme
from dawn_runtime.decoding.schemes.plan import causal
from dawn_runtime.decoding.schemes.predictions import first_without_mask
from dawn_runtime.errors import OptionError


class CausalText(Scheme):
    """A scheme whose text is causal: a row looks at itself and at what stands before it.

    Attributes:
        cache: `causal`, or `none`, which feeds the whole text anew and comes to the same.
    """

    __slots__ = ()

    attends: ClassVar[tuple[str, ...]] = ("causal",)
    cache: Cache

    def check_together(self) -> None:
        """Refuses caches of other models."""
        if not isinstance(self.cache, NoCache):
            raise OptionError(
                f"scheme {self.name!r}: text is causal; use cache 'causal' or 'none', got "
                f"{self.cache.name!r}"
            )

    def exact(self, row: RowState) -> int:
        """Returns how many positions from the left have kept keys of the text that stands there.

        The last of the text never counts: its row says what follows.
        """
        if row.kept is None:
            return 0
        text = row.kept.current(row.ids)[: row.settled - 1]
        return int(np.argmin(np.append(text, False)))

    def text_kind(self, row: RowState) -> Hashable | None:
        """Returns that keys are those of causal text, if they are kept."""
        return CAUSAL_TEXT if isinstance(self.cache, Causal) else None

    def text_keys(self, row: RowState) -> int:
        """Returns how much of the text has a key."""
        return self.exact(row)

    def reusable(self, row: RowState, count: int) -> int:
        """Returns all but the last of the text, whose row says what follows."""
        return min(count, row.settled - 1)

    def prefilled(self, row: RowState) -> int:
        """Returns the text."""
        return row.settled

    def slots(self, row: RowState, count: int) -> IntArray:
        """Returns the slots of the first positions, int64 [count]."""
        return nothing() if row.kept is None else row.kept.slots(np.arange(count))

    def causal(self, row: RowState, tokens: IntArray) -> Ask:
        """Returns an ask of the text and of tokens behind it, for the tokens that follow.

        It feeds the text from the first position without a key on.

        Args:
            row: The row.
            tokens: int64 [n] what is assumed behind the decided prefix; the next token is wanted
                behind that prefix and behind each of them.

        Raises:
            OptionError: There is no text: nothing says what comes first.
        """
        if not row.settled:
            raise OptionError(f"scheme {self.name!r}: got an empty prompt; give a token to follow")
        begin = self.exact(row)
        fed = np.concatenate([row.ids[begin : row.settled], tokens])
        kept, rows = self.slots(row, begin), np.arange(len(fed))
        return Ask(
            tokens=fed,
            positions=begin + rows,
            sees=causal(len(kept), len(fed)),
            kept=kept,
            predict=rows[-len(tokens) - 1 :],
            store=rows if isinstance(self.cache, Causal) else nothing(),
        )

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether the mask itself is predicted to come next."""
        return bool(answers[0].tokens[0] == row.mask_id)


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class Autoregressive(CausalText):
    """Decides the next token in each step.

    Attributes:
        cache: `causal` or `none`.

    Raises:
        OptionError: The cache is another.
    """

    name: ClassVar[str] = "autoregressive"

    cache: Cache = field(default_factory=Causal)

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the next token."""
        return (self.causal(row, nothing()),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Commits it."""
        tokens, confidence = first_without_mask(answers[0], row.mask_id)
        return Decision(np.array([row.settled]), tokens, confidence, keep=(0,))
