"""Verify: tokens that are not sure get a second look before they are committed.

Tokens of at least `threshold` are committed at once, as by the threshold rule. Then, instead of
waiting, the next best tokens are tried: the same run that predicts the new state also runs it with
the best of them filled in, with the best two, and so on. A tried token is confirmed if the state
before it still predicts it, now that the sure ones and those confirmed before it are there. Two
tokens that contradict each other are so told apart by the model itself, and no graph is needed.

A worked example. "Ann" and "Bob" are as likely, twice; the blank must be the same name:

    in hand      _ met _ .   position 0 Ann 0.5, position 2 Ann 0.5, nothing is sure
    committed    Ann met _   the best, or nothing would move; position 2 is tried as "Ann"
    the run      Ann met _   predicts Ann 0.99 at position 2: confirmed, with a run saved
                 had it been tried as "Bob", the run would say Ann, and Bob is never committed

There are two ways to run drafts beside the state they start from:

    rows      each draft is a row of the batch, as in FreeDave: the state, the state and one token,
              the state and two. The run of the last confirmed draft predicts everything after it.
    shared    one row. A draft feeds again only what is open in the window, with the tried tokens
              filled in, and looks at the state for all else, as with keys that a cache kept. What
              is known is not computed again with the tried tokens in view; where a window has few
              open positions left, a draft costs little (`dawn_runtime.decoding.schemes.beside`).

How many tokens are tried depends on what they cost. The first `n` of confidences c1, c2, ... save
about c1 + c1 c2 + ... runs (n terms), and make this one longer by `cost` times the tokens they add
to it; the `n` is taken that decides most in a time, `tries` at most:

    0.9, 0.5, 0.5; each adds 0.2    (1 + 0.9) / 1.2 = 1.58    (1 + 0.9 + 0.45) / 1.4 = 1.68
    of a run; `cost` 1              (1 + 0.9 + 0.45 + 0.225) / 1.6 = 1.61: two are tried
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import FloatArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.caches import Cache, NoCache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme
from dawn_runtime.decoding.schemes.beside import beside, parted
from dawn_runtime.decoding.schemes.drafting import Drafting, Hand
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.option_fields import option
from dawn_runtime.policies import Explanation, reasons_of

_MOST_DRAFTS = 64


@dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """What is remembered between two steps of a row.

    Attributes:
        hand: Predictions of what is still open in the window, not sure, from the last run.
        window: The window of the last run.
    """

    hand: Hand
    window: tuple[int, int]


_NOTHING_IN_HAND = Hand(nothing(), nothing(), np.zeros(0, dtype=np.float32))


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class Verify(Drafting):
    """Drafts beside the state, and a second look at each token of theirs.

    Attributes:
        tries: Most tokens tried in a step, >= 1.
        threshold: Committed without a second look from this confidence on.
        floor: Tokens of less confidence are not tried.
        accept: A token tried is confirmed only from this probability on.
        how: `rows` or `shared`; see the module.
        cost: How much of the time of a run grows with the tokens it feeds, 0 to 1;
            `scripts/bench_rows.py` measures it.
        window: Blocks, or the whole answer as one.
        cache: Refreshed at each block, if there is one.

    Raises:
        OptionError: An option is out of range, or window or cache are others.
    """

    name: ClassVar[str] = "verify"

    tries: int = option(3, 1, _MOST_DRAFTS, "most tokens tried in a step")
    threshold: float = option(0.98, 0, 1, "committed without a second look from here on")
    floor: float = option(0.0, 0, 1, "tokens of less confidence are not tried")
    accept: float = option(0.0, 0, 1, "least probability that confirms a token")
    how: str = option("shared", help="what a draft is", choices=("rows", "shared"))
    cost: float = option(0.8, 0, 1, "share of a run's time that grows with the tokens fed")
    window: Window = field(default_factory=Blocks)
    cache: Cache = field(default_factory=NoCache)

    def most_asks(self) -> int:
        """Returns the number of rows of a step."""
        return 1 + self.tries if self.how == "rows" else 1

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the row as it is, and for what is tried on it."""
        if self._opens(row):
            return (self.opening(row),)
        hand = self._tried(row)
        drafts = tuple(self.draft(row, hand.some(slice(n))) for n in range(len(hand) + 1))
        return drafts if self.how == "rows" else (beside(drafts),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Commits what is confirmed and what is sure, or the best there is."""
        opens, window = self._opens(row), self.window.span(row)
        hand = _NOTHING_IN_HAND if opens else self._tried(row)
        drafts = self._by_draft(row, answers)
        confirmed = self._confirmed(row, hand, drafts)
        after = self.ranked(row, drafts[confirmed])
        # Where the mask itself is predicted the position waits.
        after = after.some(after.tokens != row.mask_id)
        sure = after.confidence >= self.threshold
        if not confirmed and not sure.any():
            sure[:1] = True
        committed = hand.some(slice(confirmed)).and_then(after.some(sure))
        left = after.some(~sure)
        if left.positions.size and left.positions.min() >= window[1]:
            masked = row.masked.copy()
            masked[committed.positions] = False
            window = self.window.span(row.assumed(masked))
        return Decision(
            committed.positions,
            committed.tokens,
            committed.confidence,
            keep=(0,),
            layout=answers[0].ask.store if opens and self.caching else None,
            memory=_Past(left, window),
        )

    def explain(self, row: RowState, answers: Sequence[Answer]) -> Explanation:
        """Tells what was tried and confirmed, what is sure, and what is the best there is."""
        opens, decision = self._opens(row), self.decide(row, answers)
        tried = nothing() if opens else self._tried(row).positions
        confirmed = np.intersect1d(decision.commit, tried)
        sure = decision.commit[decision.confidence >= self.threshold]
        return replace(
            Scheme.explain(self, row, answers),
            reasons=reasons_of(confirmed=confirmed, sure=sure, best=decision.commit),
            window=self.window.span(row),
        )

    def _opens(self, row: RowState) -> bool:
        """Whether the next step is a full pass whose keys are kept."""
        past: _Past | None = row.memory
        if past is None or not self.caching:
            return past is None
        return row.kept is None or past.window != self.window.span(row)

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether a draft has open positions, and all are predicted to be the mask."""
        # A dataclass with slots is another class than the one that `super()` would name.
        return Drafting.stuck(self, row, self._by_draft(row, answers))

    def _by_draft(self, row: RowState, answers: Sequence[Answer]) -> Sequence[Answer]:
        whole = self.how == "rows" or self._opens(row)
        return answers if whole else parted(answers[0])

    def _tried(self, row: RowState) -> Hand:
        """What is tried in the next step: the best in hand of the window, best first."""
        past: _Past = row.memory
        begin, end = self.window.span(row)
        hand = past.hand
        here = (hand.positions >= begin) & (hand.positions < end)
        hand = hand.some(here & (hand.confidence >= self.floor)).some(slice(self.tries))
        more, fed = int(row.masked[begin:end].sum()), int(self.fed(row).sum())
        added = 1.0 if self.how == "rows" else more / fed
        return hand.some(slice(worth_trying(hand.confidence, self.cost * added)))

    def _confirmed(self, row: RowState, tried: Hand, answers: Sequence[Answer]) -> int:
        """How many of the tokens tried are confirmed, each by the draft before it."""
        for number, answer in enumerate(answers[:-1]):
            where = np.searchsorted(answer.ask.note, tried.positions[number])
            tokens, confidence = self.predicted(row, answer)
            if not self._agrees(tried.tokens[number], tokens[where], confidence[where]):
                return number
        return len(answers) - 1

    def _agrees(self, tried: int, token: int, confidence: float) -> bool:
        return bool(tried == token and confidence >= self.accept)


def worth_trying(confidence: FloatArray, added: float) -> int:
    """How many tokens to try; see the module.

    Args:
        confidence: float32 [n] of the tokens in hand, best first.
        added: What each adds to the time of a run, the plain run being 1.
    """
    saved = np.cumsum(np.concatenate([[1.0], np.cumprod(confidence, dtype=np.float64)]))
    return int(np.argmax(saved / (1 + added * np.arange(len(saved)))))
