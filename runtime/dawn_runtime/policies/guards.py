"""Guards: what of a rule's choice has to wait, whatever the rule.

    adjacent        never two neighbours in one step
    budget          nothing behind more undecided entropy than a budget (RPD, arXiv 2609.36452)
    entropy-bound   as many, the most certain first, as their entropies allow (EB-Sampler,
                    arXiv 2505.24857)

A guard only takes away, and several hold together: `guarded` asks them until nothing changes. A
step commits at least one token all the same. The rules `adjacent`, `rpd` and `eb` are these guards
around the plainest choices.

To add one: a frozen dataclass decorated by `@GUARDS.register`; its fields are its options.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.option_fields import Options, option
from dawn_runtime.policies.base import READS_NOTHING, Needs, RowView
from dawn_runtime.registry import Registry

LARGEST_BUDGET = 1e6
"""In nats; far above the entropy of any answer."""


class Guard(Options, ABC):
    """What of a choice has to wait.

    Subclasses are frozen dataclasses; equal views give equal answers.

    Attributes:
        name: Name in the registry.
    """

    __slots__ = ()

    kind: ClassVar[str] = "guard"
    name: ClassVar[str]

    @property
    def needs(self) -> Needs:
        """What the guard reads; it joins what the policy needs."""
        return READS_NOTHING

    @abstractmethod
    def allowed(self, view: RowView, chosen: IntArray) -> IntArray:
        """Returns the positions that may be committed together, ascending.

        Args:
            view: The row after this step's run of the engine.
            chosen: int64 [n] candidates, ascending.
        """

    def alone(self, view: RowView, positions: IntArray) -> BoolArray:
        """Tells which candidates may be committed if nothing else is, [n].

        Args:
            view: The row after this step's run of the engine.
            positions: int64 [n] candidates.
        """
        one_by_one = (positions[place : place + 1] for place in range(len(positions)))
        return np.array([self.allowed(view, one).size > 0 for one in one_by_one], dtype=bool)

    def options(self) -> dict[str, Any]:
        """Returns the options by name."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # subclasses are dataclasses

    def text(self) -> str:
        """Returns name and options as `GUARDS.parse` reads them, such as `budget:nats=4.0`."""
        given = ",".join(f"{key}={json.dumps(value)}" for key, value in self.options().items())
        return f"{self.name}:{given}" if given else self.name


GUARDS: Registry[Guard] = Registry("guard", Guard)
"""All guards by name."""


@GUARDS.register
@dataclass(frozen=True, slots=True)
class Apart(Guard):
    """Never two neighbours in one step: of a run of chosen positions the most confident goes first.

    Greedy by confidence: a position waits if one next to it is committed already.
    """

    name: ClassVar[str] = "adjacent"

    def allowed(self, view: RowView, chosen: IntArray) -> IntArray:
        """Returns what is not next to a more confident position that is returned."""
        order = chosen[np.argsort(-view.confidence[chosen], kind="stable")]
        taken: set[int] = set()
        for position in order.tolist():
            if position - 1 not in taken and position + 1 not in taken:
                taken.add(position)
        return np.array(sorted(taken), dtype=np.int64)


@GUARDS.register
@dataclass(frozen=True, slots=True)
class Budget(Guard):
    """Nothing is committed while more than so much entropy stays undecided to its left.

    From the left, a position is let through if the entropies of the undecided positions before it,
    those apart that are let through in this step, sum up to `nats` at most. That replaces blocks:
    published with one window over the whole answer, for LLaDA and Dream alike at 4 nats. What a
    cache has left out of the step is not known to be certain, and holds up what follows it.

    Attributes:
        nats: How much, >= 0.

    Raises:
        OptionError: It is out of range.
    """

    name: ClassVar[str] = "budget"
    needs: ClassVar[Needs] = Needs(entropy=True)

    nats: float = option(4.0, 0, LARGEST_BUDGET, "entropy that may stay undecided to the left")

    def allowed(self, view: RowView, chosen: IntArray) -> IntArray:
        """Scans the row from the left and returns what the budget still covers."""
        if not chosen.size:
            return chosen
        masked = np.flatnonzero(view.masked[: chosen[-1] + 1])
        entropies, wanted = _open_entropy(view)[masked].tolist(), set(chosen.tolist())
        left, passed = 0.0, []
        for position, entropy in zip(masked.tolist(), entropies, strict=True):
            if position in wanted and left <= self.nats:
                passed.append(position)
            else:
                left += entropy
        return np.array(passed, dtype=np.int64)

    def alone(self, view: RowView, positions: IntArray) -> BoolArray:
        """Tells before which positions no more than the budget is undecided, [n]."""
        undecided = np.where(view.masked, _open_entropy(view), 0.0)
        before = np.concatenate([[0.0], np.cumsum(undecided)])[positions]
        alone: BoolArray = before <= self.nats
        return alone


@GUARDS.register
@dataclass(frozen=True, slots=True)
class EntropyBound(Guard):
    """As many as their entropies allow, the most certain first.

    By ascending entropy, a position is let through if the entropies of those before it sum up to
    `gamma` at most; the first always is.

    Attributes:
        gamma: The bound in nats, >= 0; published 0.1.

    Raises:
        OptionError: It is out of range.
    """

    name: ClassVar[str] = "entropy-bound"
    needs: ClassVar[Needs] = Needs(entropy=True)

    gamma: float = option(0.1, 0, LARGEST_BUDGET, "bound of the sum of entropies in nats")

    def allowed(self, view: RowView, chosen: IntArray) -> IntArray:
        """Returns the longest run by ascending entropy that passes."""
        entropy = view.measured("entropy").astype(np.float64)[chosen]
        order = np.argsort(entropy, kind="stable")
        better = np.concatenate([[0.0], np.cumsum(entropy[order])])[:-1]
        allowed: IntArray = np.sort(chosen[order[better <= self.gamma]])
        return allowed


def guarded(view: RowView, chosen: IntArray, among: IntArray, guards: Sequence[Guard]) -> IntArray:
    """Returns what all guards let through together, at least one; int64 [n], ascending.

    If they let through nothing, the most confident of the choice is committed that each of them
    would let through by itself; if there is none either, the most confident such candidate; and if
    there is no such candidate, the most confident of the choice.

    Args:
        view: The row after this step's run of the engine.
        chosen: int64 [n] what would be committed without them, ascending, n >= 1.
        among: int64 [m] candidates that can be committed, ascending, `chosen` among them.
        guards: In the order in which they are asked.
    """
    kept, before = chosen, -1
    while kept.size and kept.size != before:
        before = kept.size
        for guard in guards:
            kept = kept[np.isin(kept, guard.allowed(view, kept))]
    if kept.size:
        return kept
    for offered in (chosen, among):
        single = np.all([guard.alone(view, offered) for guard in guards], axis=0)
        if single.any():
            return _most_confident(view, offered[single])
    return _most_confident(view, chosen)


def _most_confident(view: RowView, positions: IntArray) -> IntArray:
    """The lowest of equals."""
    best = int(np.argmax(view.confidence[positions]))
    return positions[best : best + 1]


def _open_entropy(view: RowView) -> NDArray[np.float64]:
    """Entropies, float64 [L] for sums; without bound where nothing was predicted."""
    entropy = view.measured("entropy").astype(np.float64)
    return np.where(np.isnan(entropy), np.inf, entropy)
