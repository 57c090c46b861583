"""Streaming: a threshold that gives way as a block fills up (Streaming-dLLM, arXiv 2601.17917).

The published whole is three parts here, which `--policy streaming` brings together:

    window `pruned`   a block sees the next undecided positions behind it, and the last of all
    cache `prefix`    a full pass where a block begins, then the block and what it sees behind it
    this rule         the threshold of each step

With r the undecided part of what is in sight from the beginning of the block on, before the step,

    tau = threshold                                 in the first step of a block
    tau = threshold * (1 - alpha * (1 - r))         in the others

What is in sight behind the block stays undecided, so r falls to near / (block + near) at least, and
to 0 only in the last block. The published code leaves a block when all of it is decided, and ends
if an end token is in it; here a row ends once all before its end token is decided, as everywhere.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView


@dataclass(frozen=True, slots=True)
class Opened:
    """What is remembered of a step: its window, and whether it was the first in it."""

    window: tuple[int, int]
    first: bool


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Streaming(Policy):
    """Commits every candidate that reaches the threshold of the step, at least the best one.

    Published, `near` of the window and alpha, for answers of 256 and 512 tokens: LLaDA-1.5 GSM8K
    96 and 0.4, 128 and 0.6; MATH 96 and 0.4, 192 and 0.3; HumanEval 96 and 0.3, 96 and 0.4; MBPP 96
    and 0.3 for both. Dream-Base GSM8K 32 and 0.3 for both; MATH 32 and 0.1, 32 and 0.3; MBPP 192
    and 0.3, 192 and 0.6; for Dream `opening` is `first`.

    Attributes:
        threshold: Least confidence in the first step of a block.
        alpha: Part of the threshold that is given up when nothing in sight is undecided.
        opening: What the first step of a block commits: what reaches the `threshold`, as the
            published code for LLaDA, or the `first` candidate alone, as that for Dream, whose later
            steps have no row that predicts it.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "streaming"
    needs: ClassVar[Needs] = Needs(history=True)
    usual_window: ClassVar[str] = "pruned"
    usual_cache: ClassVar[str] = "prefix:lead=needed"

    threshold: float = option(0.9, 0, 1, "least confidence in the first step of a block")
    alpha: float = option(0.3, 0, 1, "part of it that is given up as the block fills up")
    opening: str = option(
        "threshold", help="what a block's first step commits", choices=("threshold", "first")
    )

    def remember(self, view: RowView) -> Opened:
        """Tells whether this is the first step of a window."""
        before: Opened | None = view.memory
        first = before is None or view.window[0] >= before.window[1]
        return Opened(view.window, first)

    def select(self, view: RowView) -> IntArray:
        """Chooses candidates that reach the threshold of this step, or the most confident one."""
        opened: Opened = view.memory
        if opened.first and self.opening == "first":
            return view.candidates[:1]
        tau = self.threshold if opened.first else self.later_threshold(view)
        sure = view.confidence[view.candidates] >= tau
        return view.candidates[sure] if sure.any() else view.most_confident()

    def later_threshold(self, view: RowView) -> float:
        """Returns the threshold of a step that is not the first of its window."""
        seen = view.attention_keys[view.attention_keys >= view.window[0]]
        undecided = int(np.count_nonzero(view.masked[seen])) / len(seen)
        return self.threshold * (1 - self.alpha * (1 - undecided))
