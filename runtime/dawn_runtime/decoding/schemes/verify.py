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
    copies    one row. Tried tokens are fed a second time, at the positions they are tried at, with
              a second copy of the row that predicts each; a copy looks at the tried tokens before
              its own in place of the open positions, which see nothing of it (Flash-Verify, see
              docs/decoding.md). Two more tokens fed for each token tried instead of a whole row;
              other positions are predicted without the tried tokens, one step late.

Copies of "Ann met _ _" with "eve" tried at position 2 and "ing" at 3; the state itself checks the
first token tried, copy `q` the second. Model with shift 0:

    rows        0   1   2   3  | 4: eve at 2   5: _ at 3 (q)
    0-3 see     0   1   2   3
    4 sees      0   1       3    4
    5 sees      0   1            4             5
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.caches import Cache, NoCache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES
from dawn_runtime.decoding.schemes.drafting import Drafting, Hand, in_hand
from dawn_runtime.decoding.windows import Blocks, Window
from dawn_runtime.option_fields import option

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
        tries: Tokens tried in a step, >= 1; with `rows` a step has one row more.
        threshold: Committed without a second look from this confidence on.
        floor: Tokens of less confidence are not tried.
        accept: A token tried is confirmed only from this probability on.
        how: `rows` or `copies`; see the module.
        window: Blocks, or the whole answer as one.
        cache: Refreshed at each block, if there is one.

    Raises:
        OptionError: An option is out of range, or window or cache are others.
    """

    name: ClassVar[str] = "verify"

    tries: int = option(1, 1, _MOST_DRAFTS, "tokens tried in a step")
    threshold: float = option(0.98, 0, 1, "committed without a second look from here on")
    floor: float = option(0.0, 0, 1, "tokens of less confidence are not tried")
    accept: float = option(0.0, 0, 1, "least probability that confirms a token")
    how: str = option("rows", help="what a draft is", choices=("rows", "copies"))
    window: Window = field(default_factory=Blocks)
    cache: Cache = field(default_factory=NoCache)

    def most_asks(self) -> int:
        """Returns the number of rows of a step."""
        return 1 if self.how == "copies" else 1 + self.tries

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the row as it is, and for what is tried on it."""
        if self._opens(row):
            return (self.opening(row),)
        hand = self._tried(row)
        if self.how == "copies":
            return (self._with_copies(row, hand),)
        return tuple(self.draft(row, hand.some(slice(n))) for n in range(len(hand) + 1))

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Commits what is confirmed and what is sure, or the best there is."""
        opens, window = self._opens(row), self.window.span(row)
        hand = _NOTHING_IN_HAND if opens else self._tried(row)
        if self.how == "copies":
            confirmed, after = self._checked_by_copies(row, hand, answers[0])
        else:
            confirmed = self._confirmed(row, hand, answers)
            after = self.ranked(row, answers[confirmed])
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

    def _opens(self, row: RowState) -> bool:
        """Whether the next step is a full pass whose keys are kept."""
        past: _Past | None = row.memory
        if past is None or not self.caching:
            return past is None
        return row.kept is None or past.window != self.window.span(row)

    def _tried(self, row: RowState) -> Hand:
        """What is tried in the next step: the best in hand of the window, best first."""
        past: _Past = row.memory
        begin, end = self.window.span(row)
        hand = past.hand
        here = (hand.positions >= begin) & (hand.positions < end)
        return hand.some(here & (hand.confidence >= self.floor)).some(slice(self.tries))

    def _with_copies(self, row: RowState, tried: Hand) -> Ask:
        """The row as it is, tried tokens and the rows that check them behind it."""
        base = self.draft(row, tried.some(slice(0)))
        count = max(len(tried) - 1, 0)
        if not count:
            return base
        checked = tried.positions[1:] - row.shift
        ids, copies = row.ids.copy(), np.empty(count, dtype=np.int64)
        for number, position in enumerate(checked):
            ids[tried.positions[number]] = tried.tokens[number]
            copies[number] = ids[position]
        fed, kept = len(base.tokens), len(base.kept)
        return Ask(
            tokens=np.concatenate([base.tokens, tried.tokens[:-1], copies]),
            positions=np.concatenate([base.positions, tried.positions[:-1], checked]),
            sees=_sees(base.positions, kept, tried.positions, checked),
            kept=base.kept,
            predict=np.concatenate([base.predict, fed + count + np.arange(count)]),
            note=base.note,
        )

    def _confirmed(self, row: RowState, tried: Hand, answers: Sequence[Answer]) -> int:
        """How many of the tokens tried are confirmed, each by the draft before it."""
        for number, answer in enumerate(answers[:-1]):
            where = np.searchsorted(answer.ask.note, tried.positions[number])
            tokens, confidence = self.predicted(row, answer)
            if not self._agrees(tried.tokens[number], tokens[where], confidence[where]):
                return number
        return len(answers) - 1

    def _checked_by_copies(self, row: RowState, tried: Hand, answer: Answer) -> tuple[int, Hand]:
        """How many tokens are confirmed, and what is known of the other open positions."""
        open_: IntArray = answer.ask.note
        tokens, confidence = (array.copy() for array in self.predicted(row, answer))
        confirmed = 0
        for number, position in enumerate(tried.positions):
            where = np.searchsorted(open_, position)
            if number:  # the copy knows of the tokens before it, the row itself does not
                copy = len(open_) + number - 1
                tokens[where], confidence[where] = answer.tokens[copy], answer.confidence[copy]
            if not self._agrees(tried.tokens[number], tokens[where], confidence[where]):
                break
            confirmed += 1
        after = in_hand(open_, tokens, confidence)
        return confirmed, after.some(~np.isin(after.positions, tried.positions[:confirmed]))

    def _agrees(self, tried: int, token: int, confidence: float) -> bool:
        return bool(tried == token and confidence >= self.accept)


def _sees(base: IntArray, kept: int, tried: IntArray, checked: IntArray) -> BoolArray:
    """Who looks at what: bool [S, N+S]; see the module.

    Args:
        base: int64 [F] positions of the row itself, ascending.
        kept: N, kept keys that all look at.
        tried: int64 [n + 1] positions of the tokens tried, in the order they are tried.
        checked: int64 [n] positions whose rows predict the second of them and those after it.
    """
    fed, count = len(base), len(checked)
    sees: BoolArray = np.zeros((fed + 2 * count, kept + fed + 2 * count), dtype=bool)
    sees[:, : kept + fed] = True
    for number in range(count):
        before = tried[: number + 1]
        token, copy = fed + number, fed + count + number
        for row, own in ((token, nothing()), (copy, checked[number : number + 1])):
            sees[row, kept : kept + fed] &= ~np.isin(base, np.concatenate([before, own]))
            sees[row, kept + fed : kept + token + 1] = True
        # A copy stands where a token tried stands too if that is the row that predicts next.
        sees[copy, kept + fed : kept + token + 1] &= before != checked[number]
        sees[copy, kept + copy] = True
    return sees
