"""Self-verify: a block model drafts its open positions at once and checks them one by one (S2D2).

A block-causal model that decides blocks of one is an autoregressive one, so the same weights can
check what they drafted (phymhan/S2D2, 2026). A draft is an ordinary run of the block. Where its
first open positions look sure enough, nothing is committed; a second run feeds the block with the
drafts filled in, token by token, and a mask again for each of them:

    text a b | block c _ _ _      drafts d e x for positions 3 4 5

                         kept   c 2  d 3  e 4 | _ 3  _ 4  _ 5
    c 2, d 3, e 4 see     x     what is before, and themselves
    _ 3, _ 4, _ 5 see     x     what is before position 3, 4, 5, and themselves

The masks predict d e f: the run accepts d and e, and commits f where it would not say x. A run of
the block decides the more, the longer drafts are accepted, and two runs decide one token at least.

Whether to check is decided by the drafts' confidences c1, c2, ... from the left: a check is
expected to accept c1 + c1 c2 + ... of them. It is made where that exceeds `cost` by more than
`least`; otherwise `sdar` commits from the first run. (The published code estimates acceptance
from entropies at a temperature of its own, and can count what the threshold would have committed as
the cost.)
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.caches import Cache, Causal
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import SCHEMES, Scheme
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from dawn_runtime.decoding.schemes.block_plan import BlockGrid
from dawn_runtime.decoding.schemes.predictions import first_without_mask
from dawn_runtime.decoding.schemes.unmask import Past
from dawn_runtime.decoding.windows import Single
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option
from dawn_runtime.policies import Sdar

_LARGEST = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class _Drafts:
    """What is to be checked.

    Attributes:
        tokens: int64 [L] the row with all open positions of the block filled in.
        span: The positions that are checked, from the first open one to before the next known one.
        past: What the rule remembers.
    """

    tokens: IntArray
    span: tuple[int, int]
    past: Past | None


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class SelfVerify(Scheme):
    """Checks drafts of a block by the model's own prediction of one token after the other.

    Attributes:
        threshold: Of the rule `sdar` that commits where no check is made.
        cost: What a check costs, in tokens that it must be expected to accept.
        least: By how much they must exceed that; -1e6 checks always.
        cache: `causal`, or `none`, which comes to the same.
        block_length: Positions of a block; the artifact says it.
        origin: Where blocks begin, as in `BlockCausal`; the artifact says it.

    Raises:
        OptionError: An option is out of range, or the cache is another.
    """

    name: ClassVar[str] = "self-verify"
    attends: ClassVar[tuple[str, ...]] = ("block-causal",)

    threshold: float = option(0.85, 0, 1, "confidence of what needs no check")
    cost: float = option(1.0, 0, _LARGEST, "tokens that a check must be expected to accept")
    least: float = option(0.0, -_LARGEST, _LARGEST, "by how much they must exceed that")
    cache: Cache = field(default_factory=Causal)
    block_length: int = 32
    origin: str = "start"

    def check_together(self) -> None:
        """Refuses caches of other models."""
        if self.cache.name not in ("causal", "none"):
            raise OptionError(
                f"scheme {self.name!r}: use cache 'causal' or 'none', got {self.cache.name!r}"
            )

    def suits(self, shift: int) -> None:
        """Refuses models that predict the next token.

        Raises:
            OptionError: It is one.
        """
        if shift:
            raise OptionError(
                f"scheme {self.name!r} checks a position where it stands; this model predicts the "
                "next token"
            )

    def length(self, start: int, wanted: int) -> int:
        """Returns those of the rule, whose last block may be whole."""
        return self._rule.length(start, wanted)

    def bound(self, row: RowState) -> int:
        """Returns the most steps: two decide one token at least."""
        return 2 * int(row.masked.sum())

    def text_kind(self, row: RowState) -> Hashable | None:
        """Returns where blocks begin, if keys are kept."""
        return self._rule.text_kind(row)

    def text_keys(self, row: RowState) -> int:
        """Returns how many positions finished blocks have that keep their keys."""
        return 0 if row.kept is None else len(row.kept.positions)

    def reusable(self, row: RowState, count: int) -> int:
        """Returns whole blocks before the one under way."""
        return self._rule.reusable(row, count)

    def prefilled(self, row: RowState) -> int:
        """Returns what goes before the block under way."""
        return self._rule.prefilled(row)

    @property
    def _rule(self) -> BlockCausal:
        """What drafts, and commits where no check is made."""
        return BlockCausal(
            Sdar(self.threshold),
            Single(),
            self.cache,
            block_length=self.block_length,
            origin=self.origin,
        )

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for a run of the block, or for a look at its drafts."""
        if isinstance(row.memory, _Drafts):
            return (self._checking(row, row.memory),)
        return self._rule.ask(row)

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether the mask itself is predicted where it would be committed."""
        if isinstance(row.memory, _Drafts):
            return bool(answers[0].tokens[0] == row.mask_id)
        return self._rule.stuck(row, answers)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Commits what is accepted, or what the rule says; or only remembers drafts."""
        if isinstance(row.memory, _Drafts):
            return self._accepted(row, row.memory, answers[0])
        decision = self._rule.decide(row, answers)
        view = self._rule.view(row, answers[0])
        span = (row.settled, _next_known(row, view.window[1]))
        here = slice(*span)
        expected = np.cumprod(view.confidence[here], dtype=np.float64).sum()
        if expected - self.cost <= self.least or (view.tokens[here] == row.mask_id).any():
            return decision
        tokens = row.ids.copy()
        tokens[view.candidates] = view.tokens[view.candidates]
        drafts = _Drafts(tokens, span, decision.memory)
        return Decision(nothing(), nothing(), decision.confidence[:0], keep=(0,), memory=drafts)

    def _checking(self, row: RowState, drafts: _Drafts) -> Ask:
        """Text without keys, the block with its drafts, and a mask for each position checked."""
        grid = self._rule.grid(row.start)
        (begin, _), (first, end) = grid.span(row.settled), drafts.span
        kept = nothing() if row.kept is None else row.kept.positions
        text = np.setdiff1d(np.arange(begin), kept)
        block, checked = np.arange(begin, end - 1), np.arange(first, end)
        fed = np.concatenate([text, block, checked])
        masks = np.full(len(checked), row.mask_id)
        tokens = np.concatenate([drafts.tokens[text], drafts.tokens[block], masks])
        return Ask(
            tokens=tokens,
            positions=fed,
            sees=_sees(grid, kept, text, block, checked),
            kept=nothing() if row.kept is None else row.kept.slots(kept),
            predict=len(text) + len(block) + np.arange(len(checked)),
        )

    def _accepted(self, row: RowState, drafts: _Drafts, answer: Answer) -> Decision:
        first, end = drafts.span
        tokens, confidence = first_without_mask(answer, row.mask_id)
        agrees = tokens == drafts.tokens[first:end]
        taken = int(np.argmin(np.append(agrees, False))) + 1
        here = np.arange(first, min(first + taken, end))
        count = len(here)
        return Decision(here, tokens[:count], confidence[:count], memory=drafts.past)


def _next_known(row: RowState, end: int) -> int:
    """The first position behind the first open one that is decided, `end` at most."""
    open_ = row.masked[row.settled : end]
    return end if open_.all() else row.settled + int(np.argmin(open_))


def _sees(
    grid: BlockGrid, kept: IntArray, text: IntArray, block: IntArray, checked: IntArray
) -> BoolArray:
    """Who looks at what, bool [S, N+S]; see the module.

    Args:
        grid: Where blocks begin.
        kept: int64 [N] positions of kept keys.
        text: Positions of finished blocks that are fed.
        block: Positions of the block under way, as far as anything looks at them.
        checked: Positions of the masks.
    """
    counts = [len(kept), len(text), len(block), len(checked)]
    total = sum(counts[1:])
    sees: BoolArray = np.zeros((total, counts[0] + total), dtype=bool)
    known = np.concatenate([kept, text])
    first, second = len(text), len(text) + len(block)
    sees[:first, : len(known)] = grid.number(known)[None] <= grid.number(text)[:, None]
    sees[first:, : len(known)] = True
    here = slice(len(known), len(known) + len(block))
    sees[first:second, here] = block[None] <= block[:, None]
    sees[second:, here] = block[None] < checked[:, None]
    sees[second:, len(known) + len(block) :] = np.eye(len(checked), dtype=bool)
    return sees
