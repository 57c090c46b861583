"""What was judged, put together: shares and costs with intervals, fronts, and who is ahead of whom.

A setting is *ahead* of a rule by a cost if

- no judged setting of that rule comes near it: each is surely less often right or surely costs
  more, which is what the interval of the paired difference says; and
- it beats one of them: surely cheaper and right as often or more, or surely more often right at no
  more cost.

The first alone would call the slowest and the fastest rule ahead of everything; the second alone
would count what a better setting of the same rule does as well. Of time whole batches are
resampled, at least five, and *surely* means by a fifth besides: other work on the machine comes and
goes more slowly than batches, and no interval knows of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from front.estimates import Interval, Resampled, difference_of_shares, wilson
from front.pareto import front
from front.record import Outcome
from front.rules import Setting

COSTS: Final = ("forwards", "rows", "ms")
"""Runs of the engine, positions fed and milliseconds of an answer."""

BASELINES: Final = ("threshold", "local-leap", "eb")
"""What a rule has to be ahead of to be worth its name."""

_LEAST_RATIO: Final = 1.2
"""Of two times that differ for sure."""

_LEAST_BATCHES: Final = 5
"""That tell times apart at all."""


@dataclass(frozen=True)
class Row:
    """One setting on the tasks of a group.

    Attributes:
        setting: Rule and strength.
        items: How many were answered.
        share: Part of them that is right.
        interval: Of the share.
        costs: Means of an answer by name.
        cost_intervals: Of each.
        fronts: Costs by which no setting of any rule beats this one.
    """

    setting: Setting
    items: int
    share: float
    interval: Interval
    costs: Mapping[str, float]
    cost_intervals: Mapping[str, Interval]
    fronts: tuple[str, ...]


@dataclass(frozen=True)
class Ahead:
    """Whether a rule is ahead of another.

    Attributes:
        rule: Which.
        baseline: Of which.
        cost: By what.
        setting: The most accurate of its settings that is; None if none is.
    """

    rule: str
    baseline: str
    cost: str
    setting: Setting | None


@dataclass(frozen=True, eq=False)
class Judged:
    """All settings on the tasks of a group.

    Attributes:
        settings: S rules and strengths.
        outcomes: What came of each, task by task, on the same items.
        batch: Items that were decoded together.
    """

    settings: Sequence[Setting]
    outcomes: Sequence[Sequence[Outcome]]
    batch: int

    @cached_property
    def right(self) -> NDArray[np.bool_]:
        """Bool [S, n] whether each answer is right."""
        return np.array([[yes for task in one for yes in task.right] for one in self.outcomes])

    @cached_property
    def costs(self) -> dict[str, Resampled]:
        """Means of each cost, and of its resamples."""
        forwards = [[runs for task in one for runs in task.forwards] for one in self.outcomes]
        rows = [[fed for task in one for fed in task.rows] for one in self.outcomes]
        ms = [[1e3 * time for task in one for time in task.seconds] for one in self.outcomes]
        return {
            "forwards": Resampled.of(forwards),
            "rows": Resampled.of(rows),
            "ms": Resampled.of(ms, parts=self._batches()),
        }

    def _batches(self) -> list[int]:
        """Number of the batch of each item; every task begins one."""
        found: list[int] = []
        for task in self.outcomes[0]:
            begin = found[-1] + 1 if found else 0
            found += [begin + number // self.batch for number in range(len(task.right))]
        return found

    def rows(self) -> list[Row]:
        """Returns one row for each setting."""
        fronts = {cost: set(front(self._points(cost))) for cost in COSTS}
        return [
            Row(
                setting=setting,
                items=len(self.right[number]),
                share=self._share(number),
                interval=wilson(int(self.right[number].sum()), len(self.right[number])),
                costs={cost: self._cost(number, cost) for cost in COSTS},
                cost_intervals={cost: self.costs[cost].interval(number) for cost in COSTS},
                fronts=tuple(cost for cost in COSTS if number in fronts[cost]),
            )
            for number, setting in enumerate(self.settings)
        ]

    def ahead(self) -> list[Ahead]:
        """Returns of every rule whether it is ahead of each baseline that was judged."""
        rules = list(dict.fromkeys(setting.rule for setting in self.settings))
        return [
            Ahead(rule, baseline, cost, self._ahead(rule, baseline, cost))
            for rule in rules
            for baseline in BASELINES
            if baseline in rules and baseline != rule
            for cost in COSTS
        ]

    def _ahead(self, rule: str, baseline: str, cost: str) -> Setting | None:
        others = self._numbers(baseline)
        found = [
            one
            for one in self._numbers(rule)
            if all(self._apart(one, other, cost) for other in others)
            and any(self._beats(one, other, cost) for other in others)
        ]
        return self.settings[max(found, key=self._share)] if found else None

    def _apart(self, one: int, other: int, cost: str) -> bool:
        return self._more_right(one, other) or self._cheaper(one, other, cost)

    def _beats(self, one: int, other: int, cost: str) -> bool:
        if self._share(one) < self._share(other):
            return False
        if self._cheaper(one, other, cost):
            return True
        no_more = self._cost(one, cost) <= self._cost(other, cost)
        return no_more and self._more_right(one, other)

    def _more_right(self, one: int, other: int) -> bool:
        return difference_of_shares(self.right[one], self.right[other])[0] > 0

    def _cheaper(self, one: int, other: int, cost: str) -> bool:
        if cost == "ms":
            ratio = self._cost(other, cost) / self._cost(one, cost)
            if ratio < _LEAST_RATIO or self._batches()[-1] + 1 < _LEAST_BATCHES:
                return False
        return self.costs[cost].difference(one, other)[1] < 0

    def _numbers(self, rule: str) -> list[int]:
        return [number for number, one in enumerate(self.settings) if one.rule == rule]

    def _points(self, cost: str) -> list[tuple[float, float]]:
        numbers = range(len(self.settings))
        return [(self._share(number), self._cost(number, cost)) for number in numbers]

    def _share(self, number: int) -> float:
        return float(statistics.mean(self.right[number].tolist()))

    def _cost(self, number: int, cost: str) -> float:
        return float(self.costs[cost].means[number])
