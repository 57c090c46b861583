"""Coordinate search: one option after another, all its values, until a round changes nothing.

A point is better than another if it reaches the wanted quality with fewer forwards; below the
wanted quality, if its quality is higher. Whatever was tried is kept: it makes the Pareto picture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dawn_calibration.answers import Likeness
from dawn_calibration.thresholds.grids import Grid, Options
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import OptionValue
from dawn_runtime.rules import make_rule

MAX_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Point:
    """One setting that was tried.

    Attributes:
        options: All options of the policy.
        likeness: What came of it.
    """

    options: Options
    likeness: Likeness

    @property
    def quality(self) -> float:
        """What is traded for forwards: right answers if there is a checker, else agreement."""
        return self.likeness.agreement if self.likeness.right is None else self.likeness.right


Evaluate = Callable[[Options], Likeness]
"""Decodes with the options of a policy and compares."""


class Search:
    """A coordinate search over the options of one rule, a policy or a scheme.

    Args:
        policy: Its name.
        evaluate: Tries one setting.
        wanted: Least quality of the point looked for; None takes that of the first point.

    Attributes:
        points: All that was tried, the start first.
        wanted: Least quality of the point looked for.
    """

    def __init__(
        self, policy: str, evaluate: Evaluate, start: Options, wanted: float | None
    ) -> None:
        self._policy = policy
        self._evaluate = evaluate
        self._known: dict[str, Point] = {}
        self.best = self._try(start)
        self.wanted = self.best.quality if wanted is None else wanted

    @property
    def points(self) -> list[Point]:
        """All that was tried, the start first."""
        return list(self._known.values())

    def run(self, grid: Grid, known: Callable[[], object] = lambda: None) -> Point:
        """Searches and returns the best point.

        Args:
            grid: Option -> values.
            known: Called for each setting that need not be tried, again or at all.
        """
        for _ in range(MAX_ROUNDS):
            before = self.best
            for option, values in grid.items():
                self._vary(option, values, known)
            if self.best is before:
                break
        return self.best

    def _vary(
        self, option: str, values: Sequence[OptionValue], known: Callable[[], object]
    ) -> None:
        """Tries all values of one option, the others as in the best point so far."""
        base = self.best.options
        for value in values:
            tried = len(self._known)
            try:
                point = self._try({**base, option: value})
            except OptionError:  # such as a relaxed threshold above the other
                known()
                continue
            if len(self._known) == tried:
                known()
            if self._rank(point) > self._rank(self.best):
                self.best = point

    def _try(self, options: Options) -> Point:
        whole = make_rule(self._policy, options).options()
        key = repr(sorted(whole.items()))
        if key not in self._known:
            self._known[key] = Point(whole, self._evaluate(whole))
        return self._known[key]

    def _rank(self, point: Point) -> tuple[bool, float, float]:
        """Sorts points from bad to good; see the module."""
        cost = -point.likeness.forwards
        if point.quality >= self.wanted:
            return True, cost, point.quality
        return False, point.quality, cost


def most_settings(grid: Grid) -> int:
    """Returns how many settings a search tries at most, the start among them."""
    return 1 + MAX_ROUNDS * sum(map(len, grid.values()))


def pareto(points: Sequence[Point]) -> list[Point]:
    """Returns the points that no other one beats in both, by rising forwards.

    Args:
        points: What was tried.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.likeness.forwards, -p.quality)):
        if not front or point.quality > front[-1].quality:
            front.append(point)
    return front
