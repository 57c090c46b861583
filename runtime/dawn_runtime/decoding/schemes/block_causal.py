"""Block-causal models: a block looks at itself and at the blocks before it, never ahead.

What is finished is therefore final, keys and all: its keys are computed once, kept, and are those
of a prefill of the finished text. A step feeds the block that is being decided, and no mask behind
it. The step that begins a block feeds the finished block before it, too, whose keys are kept: one
pass for what the authors of these models do in two.

Blocks of 4 from position 0 (`origin` is `start`), a prompt of 6, "_" undecided, "." not fed:

    position        0  1  2  3 | 4  5  6  7 | 8  9 10 11
    first step      a  b  c  d   e  f  _  _   .  .  .  .    0-3 see 0-3 and are kept, 4-7 see 0-7
    a later one     kept . . .   e  f  g  _   .  .  .  .    4-7 see the kept ones and 4-7
    next block      kept . . .   e  f  g  h   _  _  _  _    4-7 are kept now, 8-11 see all

With `origin` `prompt` a block begins where the answer does, and the first block of the prompt is
the short one (A2D, bd3lm).

Where row i - 1 predicts token i (`shift` 1) the first position of a block is predicted by the last
row of the block before. That row sees nothing of the new block, so its prediction never changes.
It is fed again until the position is decided. With `carry` (Fast-dLLM v2) the position is decided
before the block begins, whatever its confidence: a step of its own feeds the finished block.

In some models finished text is causal (Nemotron-Labs-Diffusion, `causal`): a row of it looks at
what stands before it and predicts the next token, as in an ordinary language model, while a block
under way looks at all of itself. The run that finishes a block is such a row of text after text.

Policies choose inside a block, or inside its sub-blocks, as they do in any window.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.ask import Answer, Ask
from dawn_runtime.decoding.caches import FullPass
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import CAUSAL_TEXT
from dawn_runtime.decoding.schemes.block_plan import BlockGrid, BlockStep
from dawn_runtime.decoding.schemes.plan import RowPlan
from dawn_runtime.decoding.schemes.unmask import Past, Unmask
from dawn_runtime.decoding.windows import Blocks, Single
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import Explanation, KernelView, RowView

_KEEPS: Final = {"none": "nothing", "causal": "final", "dual": "block"}
"""What is kept with each cache."""


@dataclass(frozen=True, slots=True)
class BlockCausal(Unmask):
    """Commits what a policy chooses in the block under way; keys of finished blocks are final.

    Attributes:
        policy: Chooses.
        window: `Blocks` shorter than a block divide it into sub-blocks, decided one after the
            other; `Blocks` of its length or more, and `Single`, are the whole block.
        cache: `causal` keeps the keys of what is finished, exactly. `none` computes all that is
            before the end of the block in every step, which comes to the same. `dual` keeps those
            of the block as well while a sub-block is decided that has begun (the block cache of
            Fast-dLLM v2), an approximation inside the block.
        sampling: How tokens are drawn.
        guards: What they do not let through waits.
        block_length: Positions of a block, >= 1.
        origin: Where blocks begin: `start`, position 0, or `prompt`.
        carry: Whether the first token of a block is decided by a run of the finished text before
            it, whatever its confidence. For models whose rows of text predict the next token.
        causal: Whether finished text is causal; it is then carried.

    Raises:
        OptionError: Window or cache cannot be followed.
    """

    name: ClassVar[str] = "block-causal"
    attends: ClassVar[tuple[str, ...]] = ("block-causal", "causal")

    block_length: int = 32
    origin: str = "start"
    carry: bool = False
    causal: bool = False

    def check_together(self) -> None:
        """Refuses windows that do not divide a block, and caches of other models."""
        if type(self.window) not in (Blocks, Single):
            raise OptionError(
                f"the model decides in blocks of {self.block_length}; use window 'blocks' or "
                f"'single', got {self.window.name!r}"
            )
        if self.cache.name not in _KEEPS:
            raise OptionError(
                f"the model decides block by block; use cache {', '.join(map(repr, _KEEPS))}, "
                f"got {self.cache.name!r}"
            )
        if self.cache != type(self.cache)():
            raise OptionError(
                f"the model decides block by block, and so are its keys kept; leave the options of "
                f"cache {self.cache.name!r} out, got {self.cache}"
            )
        self.check_guidance()
        if self.causal and not self.carry:
            raise OptionError(
                "text that is causal predicts the next token, which begins a block; carry it"
            )

    def suits(self, shift: int) -> None:
        """Refuses to carry a token in a model that predicts its own position.

        Raises:
            OptionError: It is one.
        """
        if self.carry and not shift and not self.causal:
            raise OptionError(
                "a token is carried into the next block by models that predict the next token; "
                "this one predicts its own position"
            )

    def grid(self, start: int) -> BlockGrid:
        """Returns where the blocks of a row begin whose answer begins at `start`."""
        return BlockGrid.of(self.block_length, self.origin, start)

    def length(self, start: int, wanted: int) -> int:
        """Returns the positions of a row whose last block is whole, where blocks begin at 0.

        Where they begin with the answer the last may be shorter, as it is with the authors of such
        models.
        """
        if self.origin == "prompt":
            return wanted
        return self.grid(start).rounded(wanted)

    def text_kind(self, row: RowState) -> Hashable | None:
        """Returns where blocks begin, or that text is causal; None if no keys are kept."""
        if _KEEPS[self.cache.name] == "nothing":
            return None
        grid = self.grid(row.start)
        return CAUSAL_TEXT if self.causal else (grid.length, grid.offset)

    def text_keys(self, row: RowState) -> int:
        """Returns how many positions finished blocks have that keep their keys."""
        kept = 0 if row.kept is None else len(row.kept.positions)
        last = None if row.memory is None else row.memory.full
        return kept if last is None else min(kept, last.window[0])

    def reusable(self, row: RowState, count: int) -> int:
        """Returns what goes before the block under way, whole blocks unless text is causal.

        The row that says a token that is carried is fed.
        """
        grid = self.grid(row.start)
        begin, _ = grid.span(row.settled)
        carried = self.carry and begin == row.settled
        most = min(count, begin - 1 if carried else begin)
        return max(most if self.causal else grid.span(most)[0], 0)

    def evidence_rows(self, row: RowState) -> int:
        """Returns 0: they are those of the block."""
        return 0

    def prefilled(self, row: RowState) -> int:
        """Returns what goes before the block under way."""
        return self.grid(row.start).span(row.settled)[0]

    def plan(self, row: RowState) -> RowPlan:
        """Plans the next step of an unfinished row."""
        past: Past | None = row.memory
        sub = self.window.block_length if isinstance(self.window, Blocks) else self.block_length
        step = BlockStep(
            grid=self.grid(row.start),
            sub_length=min(sub, self.block_length),
            carry=self.carry,
            causal=self.causal,
            keeps=_KEEPS[self.cache.name],
            needs=self.needs,
            last=None if past is None else past.full,
        )
        return step.plan(row)

    def choice(self, view: RowView, mask_id: int) -> tuple[IntArray, bool]:
        """Returns what the policy chooses, or the token that is carried into the next block."""
        if view.candidates[0] not in view.attention_keys:  # nothing was fed there
            return view.candidates, False
        return Unmask.choice(self, view, mask_id)

    def explain(self, row: RowState, answers: Sequence[Answer]) -> Explanation:
        """Tells what the policy tells; a token that is carried no rule has chosen."""
        plan: RowPlan = answers[0].ask.note
        if plan.candidates[0] > plan.fed[-1]:
            return Explanation(window=plan.window)
        return Unmask.explain(self, row, answers)

    def kernel_view(self, row: RowState, ask: Ask) -> KernelView | None:
        """Returns what the kernel reads; None where a token is carried, which no rule chooses."""
        plan: RowPlan = ask.note
        return Unmask.kernel_view(self, row, ask) if plan.candidates[0] <= plan.fed[-1] else None

    def past(self, row: RowState, answer: Answer, view: RowView) -> Past:
        """Returns what the next step has to know of this one."""
        needs, plan = self.needs, answer.ask.note
        last = None if row.memory is None else row.memory.full
        if _KEEPS[self.cache.name] == "block" and plan.stored.size:
            block = self.grid(row.start).span(plan.window[0])
            carried = plan.stored[-1] < block[0]  # nothing of the block has a key yet
            last = None if carried else FullPass(block, row.decided)
        return Past(
            policy=view.memory if needs.history else None,
            full=last,
            confidence=view.confidence if needs.known_predictions else None,
        )
