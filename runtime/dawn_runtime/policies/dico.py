"""DiCo: find islands of fair confidence, decode inside them, clean up (arXiv 2602.23792, 2026).

Each window goes through three phases. M is the tolerance, c the confidence of a candidate.

divide     Confidences are weighted: 1 at the first candidate, falling to min(1, `floor` +
           `guidance` d) at the end of the window, d being the decided part of the answer. Up to
           `seeds` seeds are picked, each the best that reaches `seed_threshold`, and then all
           others lose what is near it: their weight is multiplied by 1 - exp(-(x / s)^2) at
           distance x, s a third of the window. Each seed, or the island it lies in, grows to both
           sides as long as weighted confidences reach `seed_threshold`, over up to M positions that
           do not or are decided; islands that touch become one. The seeds alone are committed. The
           phase ends after `rounds` steps, after two in a row without a new seed or an island that
           grew by a tenth, or when the mean weighted confidence inside is `dense` or more.
conquer    Committed is every c above `certain`, and in each island as many of the best, n, as
           satisfy factor / (1 - c_n) - 1 >= n; if that is none in any island, the best candidate if
           it reaches `dense`. Islands grow over c above `dense`, with the same tolerance, shrink to
           what is undecided, and the phase ends when none is left or their mean c is below `dense`.
finalize   Committed is every candidate with a margin above `margin` or c above `certain`, else the
           best; until the window is full.

After conquer comes divide again, until `share` of the window is decided; then finalize, as when
divide finds no island. A step in which a phase would commit nothing is left out: the next phase
works on the same predictions. One defect of the authors' code is left out too: in conquer the last
position before the next island, or of the window, never joins an island there. Weights fall as a
power, the one of their two forms that is not a straight line.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView

_GROWN = 1.1
_PATIENCE = 2
_WIDEST = 1e6

Island = tuple[int, int]
"""First and last position."""


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """Where a window is on its way; remembered between steps.

    Attributes:
        window: It.
        phase: `divide`, `conquer` or `finalize`.
        islands: As in the module, ascending.
        rounds: Steps of divide in this turn.
        idle: How many of the last found nothing new.
        chosen: int64 [n] what this step commits.
    """

    window: tuple[int, int]
    phase: str
    islands: tuple[Island, ...]
    rounds: int
    idle: int
    chosen: IntArray


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Dico(Policy):
    """Divide and conquer; the defaults are those published for LLaDA-8B and Dream-7B.

    One setting for all tasks, in blocks of 128 or in one of the whole answer of 256.

    Attributes:
        seeds: Most seeds of a step.
        seed_threshold: Least weighted confidence of a seed and of what an island grows over.
        tolerance: Positions in a row that an island may leave below the threshold.
        rounds: Most steps of a divide phase.
        guidance: How fast the end of the window gains weight as the answer is decided.
        floor: Weight of the end of the window at the beginning.
        dense: Confidence at which an island is ready for conquest.
        factor: As in `factor`: greater is bolder.
        certain: A candidate above this is committed wherever it is.
        share: Decided part of a window from which on it is finalized.
        margin: A candidate with a margin above this is committed then.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "dico"
    needs: ClassVar[Needs] = Needs(margin=True, history=True)

    seeds: int = option(4, 1, None, "most seeds of a step")
    seed_threshold: float = option(0.3, 0, 1, "least weighted confidence of seed and island")
    tolerance: int = option(2, 0, None, "positions in a row that an island may leave below it")
    rounds: int = option(10, 1, None, "most steps of a divide phase")
    guidance: float = option(0.5, 0, _WIDEST, "how fast the end of the window gains weight")
    floor: float = option(0.05, 0.001, 1, "weight of the end of the window at the beginning")
    dense: float = option(0.6, 0, 1, "confidence at which an island is ready for conquest")
    factor: float = option(1.0, 0, _WIDEST, "greater commits more of an island at once")
    certain: float = option(0.98, 0, 1, "a candidate above this is committed wherever it is")
    share: float = option(0.8, 0, 1, "decided part of a window from which on it is finalized")
    margin: float = option(3.0, 0, _WIDEST, "margin above which a candidate is committed then")

    def select(self, view: RowView) -> IntArray:
        """Chooses what `remember` found, or the most confident candidate."""
        stage: Stage = view.memory
        return stage.chosen if stage.chosen.size else view.most_confident()

    def remember(self, view: RowView) -> Stage:
        """Takes the phases from where they are until one of them commits something."""
        if view.margin is None:
            raise OptionError("policy 'dico' reads margins; run it on an engine that returns them")
        before: Stage | None = view.memory
        if before is None or view.window[0] >= before.window[1]:
            stage = Stage(view.window, "divide", (), 0, 0, view.candidates[:0])
        else:
            stage = replace(before, window=view.window, chosen=view.candidates[:0])
        steps = {"divide": self._divide, "conquer": self._conquer, "finalize": self._finalize}
        confidence = np.where(view.masked, view.confidence, np.float32(-np.inf))
        while True:
            stage = steps[stage.phase](view, stage, confidence)
            if stage.chosen.size:
                return stage

    def _weighted(self, view: RowView) -> FloatArray:
        """Confidences of the window by position, weighted; minus infinity elsewhere; [L]."""
        found = np.full(len(view.masked), -np.inf, dtype=np.float32)
        first, end = int(view.candidates[0]), view.window[1]
        ratio = view.decided / (view.decided + int(np.count_nonzero(view.masked)))
        last = min(1.0, self.floor + self.guidance * ratio)
        weights = last ** (np.arange(end - first) / max(end - first - 1, 1))
        found[view.candidates] = view.confidence[view.candidates] * weights[view.candidates - first]
        return found

    def _divide(self, view: RowView, stage: Stage, _: FloatArray) -> Stage:
        """A step of divide: seeds, islands, and whether the phase goes on."""
        weighted = self._weighted(view)
        seeds = self._seeds(view, weighted)
        if not seeds:
            return self._after_divide(view, stage, view.candidates[:0])
        good = weighted >= self.seed_threshold
        grown, used, new = [], set(), False
        for seed in seeds:
            inside = next((it for it in stage.islands if it[0] <= seed <= it[1]), None)
            new = new or inside is None
            used.add(inside)
            begin, end = inside or (seed, seed)
            grown.append(
                (
                    _reach(good, begin, view.window[0] - 1, -1, self.tolerance),
                    _reach(good, end, view.window[1], 1, self.tolerance),
                )
            )
        islands = _merged([*grown, *(it for it in stage.islands if it not in used)])
        advanced = new or stage.rounds == 0 or _advanced(islands, stage.islands)
        chosen = np.array(sorted(seeds), dtype=np.int64)
        stage = replace(
            stage,
            islands=islands,
            rounds=stage.rounds + 1,
            idle=0 if advanced else stage.idle + 1,
            chosen=chosen,
        )
        ended = stage.idle >= _PATIENCE or stage.rounds >= self.rounds
        if ended or _density(weighted, islands, chosen) >= self.dense:
            return self._after_divide(view, stage, chosen)
        return stage

    def _seeds(self, view: RowView, weighted: FloatArray) -> list[int]:
        """Positions of the seeds in the order they are picked."""
        width = (view.window[1] - view.window[0]) / 3
        left = weighted[view.candidates].copy()
        found: list[int] = []
        for _ in range(min(self.seeds, int(np.count_nonzero(left > 0)))):
            best = int(left.argmax())
            position = int(view.candidates[best])
            if left[best] <= 0 or weighted[position] < self.seed_threshold:
                break
            found.append(position)
            distance = (view.candidates - position) / width
            left = left * (1 - np.exp(-(distance**2)))
        return found

    def _after_divide(self, view: RowView, stage: Stage, chosen: IntArray) -> Stage:
        """On to conquer, or to finalize if nothing undecided is left in the islands."""
        islands = _shrunk(stage.islands, _without(view.masked, chosen))
        phase = "conquer" if islands else "finalize"
        return replace(stage, phase=phase, islands=islands, chosen=chosen)

    def _conquer(self, view: RowView, stage: Stage, confidence: FloatArray) -> Stage:
        """A step of conquer; the most of each island that the factor allows."""
        islands = _shrunk(stage.islands, view.masked)
        taken = np.zeros(len(view.masked), dtype=bool)
        for begin, end in islands:
            inside = begin + np.flatnonzero(confidence[begin : end + 1] > 0)
            taken[inside[_feasible(confidence[inside], self.factor)]] = True
        best = int(view.most_confident()[0])
        if not taken.any() and confidence[best] >= self.dense:
            taken[best] = True
        taken[view.candidates[confidence[view.candidates] > self.certain]] = True
        chosen = np.flatnonzero(taken)
        left = _without(view.masked, chosen)
        islands = _shrunk(self._enlarged(view, islands, confidence), left)
        inside_left = [confidence[begin : end + 1][left[begin : end + 1]] for begin, end in islands]
        if inside_left and float(np.concatenate(inside_left).mean()) >= self.dense:
            return replace(stage, islands=islands, chosen=chosen)
        begin, end = view.window
        undecided = int(np.count_nonzero(left[begin:end])) / (end - begin)
        phase = "finalize" if undecided < 1 - self.share else "divide"
        return Stage(view.window, phase, (), 0, 0, chosen)

    def _enlarged(
        self, view: RowView, islands: tuple[Island, ...], confidence: FloatArray
    ) -> list[Island]:
        """Islands grown over what is above `dense`, not into their neighbours."""
        good = confidence > self.dense
        ends = [view.window[0] - 1, *(end for _, end in islands)]
        begins = [*(begin for begin, _ in islands), view.window[1]]
        return [
            (
                _reach(good, begin, ends[number], -1, self.tolerance),
                _reach(good, end, begins[number + 1], 1, self.tolerance),
            )
            for number, (begin, end) in enumerate(islands)
        ]

    def _finalize(self, view: RowView, stage: Stage, confidence: FloatArray) -> Stage:
        """A step of finalize; never nothing."""
        margins = np.zeros(0) if view.margin is None else view.margin[view.candidates]
        sure = (margins > self.margin) | (confidence[view.candidates] > self.certain)
        chosen = view.candidates[sure] if sure.any() else view.most_confident()
        return replace(stage, chosen=chosen)


def _reach(good: BoolArray, start: int, wall: int, step: int, tolerance: int) -> int:
    """The last good position from `start` on, with no more than so many others in a row before it.

    Args:
        good: bool [L].
        start: Where to begin, itself inside.
        wall: The first position that is out of reach.
        step: 1 to the right, -1 to the left.
        tolerance: Others in a row that are passed over.
    """
    reached, missed = start, 0
    for position in range(start + step, wall, step):
        if good[position]:
            reached, missed = position, 0
        else:
            missed += 1
            if missed > tolerance:
                break
    return reached


def _merged(islands: list[Island]) -> tuple[Island, ...]:
    """Islands that overlap or touch made one, ascending."""
    found: list[Island] = []
    for begin, end in sorted(islands):
        if found and begin <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((begin, end))
    return tuple(found)


def _shrunk(islands: tuple[Island, ...] | list[Island], masked: BoolArray) -> tuple[Island, ...]:
    """Islands cut down to their first and last undecided position, the empty ones left out."""
    found = []
    for begin, end in islands:
        open_ = np.flatnonzero(masked[begin : end + 1])
        if open_.size:
            found.append((begin + int(open_[0]), begin + int(open_[-1])))
    return _merged(found)


def _advanced(islands: tuple[Island, ...], before: tuple[Island, ...]) -> bool:
    """Whether there are more or fewer, or one grew by a tenth."""
    if len(islands) != len(before):
        return True
    sizes = (
        (end - begin + 1, b - a + 1) for (begin, end), (a, b) in zip(islands, before, strict=True)
    )
    return any(now >= _GROWN * then for now, then in sizes)


def _density(weighted: FloatArray, islands: tuple[Island, ...], chosen: IntArray) -> float:
    """Mean weighted confidence of what is left undecided inside, 0 if nothing is."""
    left = weighted.copy()
    left[chosen] = -np.inf
    inside = np.concatenate([left[begin : end + 1] for begin, end in islands])
    inside = inside[inside > -np.inf]
    return float(inside.mean()) if inside.size else 0.0


def _feasible(confidence: FloatArray, factor: float) -> IntArray:
    """Which of an island are committed together: the best n, n the greatest that is allowed."""
    order = np.argsort(-confidence, kind="stable")
    allowed = factor / (1 - confidence[order] + 1e-6) - 1 >= np.arange(1, len(order) + 1)
    best: IntArray = order[: int(np.flatnonzero(allowed)[-1]) + 1 if allowed.any() else 0]
    return best


def _without(masked: BoolArray, chosen: IntArray) -> BoolArray:
    """What is undecided after a step, [L]."""
    left: BoolArray = masked.copy()
    left[chosen] = False
    return left
