"""What one row feeds in a step and what it wants back, by its window, cache and policy."""

from dataclasses import dataclass, field

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding.caches import Cache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.windows import Window
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import Needs


def _nothing() -> IntArray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class RowPlan:
    """What one row feeds to the engine in a step and what it wants back, as positions.

    Attributes:
        window: First position of the window and the one after its last.
        candidates: int64 [n] undecided positions of the window, ascending.
        fed: int64 [S] distinct positions fed, in any order.
        predicted: int64 [R] positions whose predictions are wanted, candidates included.
        evidence: int64 [Q] positions whose attention rows are wanted; all of them fed.
        attended: int64 [N] positions that are not fed but looked at, through their kept keys.
        slots: int64 [N] where those keys are.
        stored: int64 [n] fed positions whose keys are kept.
        layout: In a full pass the positions that have a slot from now on, in their order; None in a
            cached step, which leaves the slots as they are.
    """

    window: tuple[int, int]
    candidates: IntArray
    fed: IntArray
    predicted: IntArray
    evidence: IntArray
    attended: IntArray = field(default_factory=_nothing)
    slots: IntArray = field(default_factory=_nothing)
    stored: IntArray = field(default_factory=_nothing)
    layout: IntArray | None = None


def make_plan(row: RowState, window: Window, cache: Cache, needs: Needs, shift: int) -> RowPlan:
    """Plans the next step of an unfinished row.

    Args:
        row: The row.
        window: Where it may commit and what it sees.
        cache: What is computed anew.
        needs: What its policy reads.
        shift: 0 if row i of the model predicts token i, 1 if row i-1 does. The row that predicts
            the first position of the window is fed in every step.

    Raises:
        OptionError: The window holds no undecided position.
    """
    begin, end = span = window.span(row)
    candidates = begin + np.flatnonzero(row.masked[begin:end])
    if not candidates.size:
        raise OptionError(
            f"window {window.name!r} spans {span}, where nothing is undecided; "
            "a window must hold an undecided position of every unfinished row"
        )
    visible = window.visible(row)
    if row.kept is None or cache.refreshes(row, span):
        fed, kept, layout = visible, None, cache.keeps(row, span)
        stored = layout[visible[layout]]
    else:
        kept, layout = row.kept, None
        first, last = cache.recomputed(row, span)
        old = ~kept.current(row.ids)
        fed = old.copy()
        fed[max(first - shift, 0) : last] = True
        fed &= visible
        stored = kept.positions[(fed & old)[kept.positions]]
    attended = _nothing() if kept is None else kept.positions[(visible & ~fed)[kept.positions]]
    fed_positions = np.flatnonzero(fed)
    every = fed_positions if layout is not None else candidates
    return RowPlan(
        window=span,
        candidates=candidates,
        fed=fed_positions,
        predicted=np.flatnonzero(_wanted(row, end, needs, visible, candidates) & _seen(fed, shift)),
        evidence={"none": _nothing(), "candidates": candidates, "all": every}[needs.evidence],
        attended=attended,
        slots=attended if kept is None else kept.slots(attended),
        stored=stored,
        layout=layout,
    )


def _wanted(
    row: RowState, end: int, needs: Needs, visible: BoolArray, candidates: IntArray
) -> BoolArray:
    """Tells whose predictions the policy reads, [L]."""
    wanted = np.zeros(row.length, dtype=bool)
    wanted[candidates] = True
    if needs.known_predictions:
        wanted[:end] = True
    if needs.later_predictions:
        wanted[end:] = (row.masked & visible)[end:]
    return wanted


def _seen(fed: BoolArray, shift: int) -> BoolArray:
    """Tells which positions are predicted by a fed row, [L]; position 0 by row 0 at any shift."""
    return np.concatenate([fed[:shift], fed[: len(fed) - shift]])
