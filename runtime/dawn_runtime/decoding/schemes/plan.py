"""What `Unmask` feeds in a step and what it wants back, by window, cache and the policy's needs."""

from dataclasses import dataclass, field

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray, inverse
from dawn_runtime.decoding.ask import nothing
from dawn_runtime.decoding.caches import Cache, FullPass
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.windows import Window
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import Needs


@dataclass(frozen=True, slots=True, eq=False)
class RowPlan:
    """A step of one row, as positions.

    Attributes:
        window: First position of the window and the one after its last.
        candidates: int64 [n] undecided positions of the window, ascending; those that the step
            feeds and predicts, if its cache selects.
        fed: int64 [S] positions fed, in the order of the rows.
        predicted: int64 [R] positions whose predictions are wanted, candidates included.
        evidence: int64 [Q] positions whose attention rows are wanted; all of them fed.
        attended: int64 [N] positions that are not fed but looked at, through their kept keys.
        slots: int64 [N] where those keys are.
        stored: int64 [n] fed positions whose keys are kept.
        layout: In a full pass the positions that have a slot from now on, in their order; None in a
            step that leaves the slots as they are.
        hidden: int64 [n] as in `FullPass`.
        sees: bool [S, N+S] who looks at whom, as in `Ask`; None if all look at all.
        shift: By how much the row that predicts a position stands before it.
    """

    window: tuple[int, int]
    candidates: IntArray
    fed: IntArray
    predicted: IntArray
    evidence: IntArray
    attended: IntArray
    slots: IntArray
    stored: IntArray
    layout: IntArray | None
    hidden: IntArray = field(default_factory=nothing)
    sees: BoolArray | None = None
    shift: int = 0

    def rows(self, *lists: IntArray) -> list[IntArray]:
        """Returns which rows of the step stand at some positions, for several lists of them.

        Raises:
            OptionError: A position is not fed.
        """
        end, most = int(self.fed.max()) + 1, max(int(one.max(initial=0)) for one in lists)
        if self.sees is None and len(self.fed) == end and most < end:
            return [*lists]  # everything up to there is fed: row and position are the same
        places = inverse(self.fed, 1 + max(end, most))
        return [self._checked(places[one], one) for one in lists]

    @staticmethod
    def _checked(rows: IntArray, positions: IntArray) -> IntArray:
        """Refuses a position that is not fed."""
        if np.count_nonzero(rows < 0):
            missing = positions[rows < 0].tolist()
            raise OptionError(
                f"the cache strategy feeds no row for positions {missing[:4]}; "
                "it must feed what is predicted or wanted as evidence"
            )
        return rows


def make_plan(
    row: RowState, window: Window, cache: Cache, needs: Needs, last: FullPass | None
) -> RowPlan:
    """Plans the next step of an unfinished row.

    Args:
        row: The row.
        window: Where it may commit and what it sees.
        cache: What is computed anew.
        needs: What its policy reads.
        last: The last full pass; None if the next step is one.

    Raises:
        OptionError: The window holds no undecided position.
    """
    begin, end = span = window.span(row)
    candidates = begin + row.masked[begin:end].nonzero()[0]
    if not candidates.size:
        raise OptionError(
            f"window {window.name!r} spans {span}, where nothing is undecided; "
            "a window must hold an undecided position of every unfinished row"
        )
    visible = window.visible(row)
    if row.kept is None or last is None or cache.refreshes(row, span, last):
        fed, kept, wanted = visible, None, cache.keeps(row, span)
        layout = stored = wanted[visible[wanted]]
        hidden = wanted[~visible[wanted]]
    else:
        kept, layout, hidden = row.kept, None, last.hidden
        old = ~kept.current(row.ids)
        anew, due = old.copy(), cache.feeds(row, span)
        anew[cache.renewed(row, span, due, last)] = True
        fed = (anew | due) & visible
        rewritten = fed if cache.rewrites else fed & anew
        stored = kept.positions[rewritten[kept.positions]]
        if hidden.size:
            stored = np.union1d(stored, hidden[rewritten[hidden]])
    attended = nothing() if kept is None else kept.positions[(visible & ~fed)[kept.positions]]
    positions = fed.nonzero()[0]
    if layout is None and cache.selects:
        candidates = candidates[(fed & seen(fed, row.shift))[candidates]]
    asked = {"none": nothing(), "candidates": candidates, "all": candidates, "fed": positions}
    if layout is not None:
        asked["all"] = positions
    predicted = candidates
    more = needs.known_predictions or needs.later_predictions
    if more and (layout is not None or cache.predicts_known()):
        read = _wanted(row, end, needs, visible, candidates)
        predicted = (read & seen(fed, row.shift)).nonzero()[0]
    return RowPlan(
        window=span,
        candidates=candidates,
        fed=positions,
        predicted=predicted,
        evidence=asked[needs.evidence],
        attended=attended,
        slots=attended if kept is None else kept.slots(attended),
        stored=stored,
        layout=layout,
        hidden=hidden,
        shift=row.shift,
    )


def _wanted(
    row: RowState, end: int, needs: Needs, visible: BoolArray, candidates: IntArray
) -> BoolArray:
    """Tells whose predictions the policy reads, [L]."""
    wanted = np.zeros(row.length, dtype=bool)
    wanted[candidates] = True
    if needs.known_predictions:
        wanted[:end] |= ~row.masked[:end]
    if needs.later_predictions:
        wanted[end:] = (row.masked & visible)[end:]
    return wanted


def seen(fed: BoolArray, shift: int) -> BoolArray:
    """Tells which positions are predicted by a fed row, [L]; position 0 by row 0 at any shift.

    Args:
        fed: bool [L].
        shift: 0 if row i of the model predicts token i, 1 if row i-1 does.
    """
    return np.concatenate([fed[:shift], fed[: len(fed) - shift]])


def causal(kept: int, fed: int) -> BoolArray:
    """Returns who looks at whom: all kept keys, the row itself, the rows before; bool [S, N+S].

    Args:
        kept: N.
        fed: S.
    """
    sees: BoolArray = np.tri(fed, kept + fed, kept, dtype=bool)
    return sees
