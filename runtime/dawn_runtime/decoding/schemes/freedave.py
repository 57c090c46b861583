"""FreeDave: drafts are checked as rows of the same run (arXiv 2510.00294).

With predictions of the present state in hand, open positions of the block ranked by confidence,
draft j is the state with the j best of them filled in. All drafts run side by side. Each is what
decoding one token at a time would have come to, if every guess before it was right: draft 1 is
always right, and draft j + 1 is if the token it adds is the one that the best rule would add to
draft j, as j's own run tells. The longest right draft is committed, and its run has the predictions
of the new state, so no run is wasted. A block opens with one run that commits nothing; its last
open position is filled from the predictions in hand without one.

At temperature 0 the tokens are those of one token per step, with the same cache, in fewer runs; a
batch of other size may flip a tie in the last bit of a confidence.

    draft 1   the _  _  at        run 1 would add "sat" at position 2
    draft 2   the _ sat at        which is what draft 2 has: right; run 2 would add "cat"
    draft 3   the dog sat at      which is not what draft 3 has: two tokens are committed

With a `threshold` (FreeDave++) the base rule fills every position that reaches it: draft 0 is that
state, the others add the next best one by one, and a draft is right if all it adds is among what
the rule would add to an earlier right one. That is as good as the threshold rule, not equal to it.

With a cache a block opens with a full pass whose keys are kept, and drafts feed what the cache
recomputes: exactly those rows. A model that predicts the next token then has no row for the first
position of a block, so that position is committed by the opening run, whatever its confidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.caches import Cache, NoCache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES
from dawn_runtime.decoding.schemes.drafting import Drafting, Hand
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.option_fields import option

_MOST_DRAFTS = 64


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class FreeDave(Drafting):
    """Drafts and verification in one run.

    Attributes:
        drafts: Drafts that run side by side, >= 1; published: 4 for LLaDA, 8 for Dream.
        threshold: The base rule fills every position of at least this confidence; 0, the default,
            is one token at a time.
        window: Blocks, or the whole answer as one.
        cache: Refreshed at each block, if there is one.

    Raises:
        OptionError: An option is out of range, or window or cache are others.
    """

    name: ClassVar[str] = "freedave"
    leads: ClassVar[bool] = False

    drafts: int = option(4, 1, _MOST_DRAFTS, "drafts that run side by side")
    threshold: float = option(
        0.0, 0, 1, "the base rule fills all of this confidence; 0 is one token at a time"
    )
    window: Window = field(default_factory=Blocks)
    cache: Cache = field(default_factory=NoCache)

    def bound(self, row: RowState) -> int:
        """Each block opens with a step that may commit nothing; every other commits a token."""
        return 2 * int(row.masked.sum())

    def most_asks(self) -> int:
        """Returns the number of drafts."""
        return self.drafts

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the opening of a block, or for its drafts."""
        hand: Hand | None = row.memory
        if hand is None:
            return (self.opening(row),)
        return tuple(self.draft(row, hand.some(slice(count))) for count in self._counts(hand))

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Takes the opening's predictions in hand, or commits the longest right draft."""
        hand: Hand | None = row.memory
        if hand is None:
            return self._opened(row, answers[0])
        counts = self._counts(hand)
        hands = [self.ranked(row, answer) for answer in answers]
        right = self._right(hand, counts, hands)
        return self._committed(hand, counts[right], hands[right])

    def _opened(self, row: RowState, answer: Answer) -> Decision:
        """What follows from a full pass at the beginning of a block."""
        begin, _ = self.window.span(row)
        hand = self.ranked(row, answer)
        layout = answer.ask.store if self.caching else None
        if self.caching and row.shift == 1 and row.masked[begin]:
            first = hand.positions == begin
            left = replace(hand.some(~first), stale=True)
            return hand.some(first).committed(keep=(0,), layout=layout, memory=left)
        if len(hand) == 1:
            return hand.committed(keep=(0,), layout=layout)
        return hand.some(slice(0)).committed(keep=(0,), layout=layout, memory=hand)

    def _counts(self, hand: Hand) -> list[int]:
        """How many of the positions in hand each draft fills in."""
        if hand.stale:
            return list(range(min(self.drafts, len(hand) + 1)))
        least = max(int((hand.confidence >= self.threshold).sum()), 1) if self.threshold else 1
        return list(range(least, min(least + self.drafts, len(hand) + 1)))

    def _right(self, hand: Hand, counts: list[int], hands: list[Hand]) -> int:
        """Number of the longest draft that the base rule confirms."""
        right = 0
        while True:
            added = self._base(hands[right])
            confirmed = [
                number
                for number in range(right + 1, len(counts))
                if all(
                    added.get(int(hand.positions[i])) == int(hand.tokens[i])
                    for i in range(counts[right], counts[number])
                )
            ]
            if not confirmed:
                return right
            right = confirmed[-1]

    def _base(self, hand: Hand) -> dict[int, int]:
        """What the base rule would add: position -> token."""
        count = 1
        if self.threshold:
            count = max(int((hand.confidence >= self.threshold).sum()), 1)
        best = hand.some(slice(count))
        return dict(zip(best.positions.tolist(), best.tokens.tolist(), strict=True))

    def _committed(self, hand: Hand, count: int, after: Hand) -> Decision:
        """Commits a draft, and the last position behind it if one is left."""
        draft = hand.some(slice(count))
        return (
            draft.and_then(after).committed() if len(after) == 1 else draft.committed(memory=after)
        )
