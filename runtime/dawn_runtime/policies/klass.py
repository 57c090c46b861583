"""KLASS: commit what is confident and has stopped changing (arXiv 2511.05664, NeurIPS 2025).

With p_t the distribution predicted at a position in step t, its change is

    KL_t = sum over v of p_t(v) (log(p_t(v) + 1e-12) - log(p_{t-1}(v) + 1e-12))

A candidate is ready when its last `history` changes are all below `kl_threshold` and its confidence
reaches `threshold`. A position that was not predicted in the step before has changed infinitely.

The rule needs the full logits of all undecided positions, those after the window too, so that a new
block does not start without a history. Between steps a row keeps the logarithms of one step's
distributions: 4 bytes for each token id and undecided position.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import FloatArray, IntArray, inverse, read_only
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView

_OWNER = "policy 'klass'"
_LARGEST_DIVERGENCE = 100.0
_LONGEST_HISTORY = 1024
"""A row keeps as many numbers for each of its positions."""
_EPSILON = np.float32(1e-12)
_AT_ONCE = 1 << 18
"""Numbers that are worked on together."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """What KLASS remembers of a row of length L.

    Attributes:
        positions: int64 [N] positions predicted in the last step.
        log_probabilities: float32 [N, V] log(p + 1e-12) there.
        divergences: float32 [L, H] the last changes, the latest last; infinite where unknown.
        window: The window of the last step.
        window_steps: Steps taken in it and in windows that overlap, this one included.
    """

    positions: IntArray
    log_probabilities: FloatArray
    divergences: FloatArray
    window: tuple[int, int]
    window_steps: int


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Klass(Policy):
    """Commits candidates with a confident and stable prediction, at least the best one.

    The defaults are those of the published functions. Published for LLaDA-8B-Instruct in blocks of
    64, threshold and kl_threshold: GSM8K 0.6 and 0.015, MATH 0.6 and 0.010, HumanEval 0.9 and
    0.010, MBPP 0.7 and 0.010; for Dream in a single block: 0.9 and 0.001, 0.9 and 0.005, 0.8 and
    0.001, 0.9 and 0.001.

    Attributes:
        threshold: Least confidence.
        kl_threshold: A change below this counts as none, > 0 to have an effect.
        history: Number of changes in a row that must be small, from 1 to 1024.
        warm_up: `none`, or `window` to commit only the best candidate in the first `history - 1`
            steps of a window that does not overlap the one before. The published code for Dream
            has the former, that for LLaDA the latter.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "klass"
    needs: ClassVar[Needs] = Needs(later_predictions=True, logits=True, history=True)

    threshold: float = option(0.6, 0, 1, "least confidence")
    kl_threshold: float = option(
        0.015, 0, _LARGEST_DIVERGENCE, "a change below this counts as none"
    )
    history: int = option(
        2, 1, None, "changes in a row that must be small", ceiling=_LONGEST_HISTORY
    )
    warm_up: str = option(
        "none",
        help="only the best candidate while a window has no history",
        choices=("none", "window"),
    )

    def remember(self, view: RowView) -> Changes:
        """Adds the changes of this step to those before it."""
        if view.logits is None:
            raise OptionError(f"{_OWNER} reads logits; run it on an engine that returns them")
        before: Changes | None = view.memory
        length, steps = len(view.masked), 1
        divergences = np.full((length, self.history), np.inf, dtype=np.float32)
        old = None
        rows = np.full(len(view.predicted), -1)
        if before is not None:
            divergences[:, :-1] = before.divergences[:, 1:]
            old = before.log_probabilities
            rows = inverse(before.positions, length)[view.predicted]
            if view.window[0] < before.window[1]:
                steps += before.window_steps
        logs, changes = _compared(view.logits, old, rows)
        divergences[view.predicted, -1] = changes
        return Changes(view.predicted, read_only(logs), read_only(divergences), view.window, steps)

    def select(self, view: RowView) -> IntArray:
        """Chooses the ready candidates, or the most confident one."""
        memory: Changes = view.memory
        if self.warm_up == "window" and memory.window_steps < self.history:
            return view.most_confident()
        stable = (memory.divergences[view.candidates] < self.kl_threshold).all(axis=1)
        ready = stable & (view.confidence[view.candidates] >= self.threshold)
        return view.candidates[ready] if ready.any() else view.most_confident()


def _compared(
    logits: FloatArray, old: FloatArray | None, rows: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Returns log(p + 1e-12), float32 [N, V], and how far each p has moved, float32 [N].

    Some rows at a time: what is between logits and logarithms then needs little memory, and none
    that has to be had anew, which takes longer than the arithmetic.

    Args:
        logits: float32 [N, V].
        old: float32 [M, V] log(p + 1e-12) of the step before, if there was one.
        rows: int64 [N] which row of `old` is of the same position, -1 where none is.
    """
    logs, changes = np.empty_like(logits), np.full(len(logits), np.inf, dtype=np.float32)
    count = min(len(logits), max(1, _AT_ONCE // logits.shape[1]))
    work = np.empty((2, count, logits.shape[1]), dtype=np.float32)
    for first in range(0, len(logits), count):
        part = slice(first, first + count)
        log = logs[part]
        p, moved = work[:, : len(log)]
        np.subtract(logits[part], logits[part].max(axis=1, keepdims=True), out=p)
        np.exp(p, out=p)
        p /= p.sum(axis=1, keepdims=True)
        np.log(np.add(p, _EPSILON, out=log), out=log)
        if old is not None and (rows[part] >= 0).any():
            old.take(rows[part], axis=0, out=moved, mode="clip")
            np.subtract(log, moved, out=moved)
            moved *= p
            changes[part] = np.where(rows[part] < 0, np.inf, moved.sum(axis=1))
    return logs, changes
