"""Evidence judged: learned on the pairs of some items, measured on those of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from front.groups import ALL
from probe.auc import Interval, Ranking
from probe.logistic import Logistic, fit
from probe.pairs import LABELS, Pairs

EVIDENCES: Final = (
    "mean attention",
    "mean attention, either way",
    "closeness",
    "smaller entropy",
    "entropies, learned",
    "all heads, learned",
    "all heads and entropies, learned",
)
"""What may tell coupled pairs from others."""

FRONT_LABEL: Final = "moves by 0.3"
"""What the graph that is learned for decoding tells."""


@dataclass(frozen=True)
class Found:
    """How well an evidence tells coupled pairs from others.

    Attributes:
        task: On which task, or `all`.
        label: When a pair is coupled.
        evidence: Which.
        pairs: How many pairs.
        coupled: Share of them that is.
        auc: Area under the curve; NaN if all pairs are of one kind.
        interval: Of 95 %, items drawn anew.
    """

    task: str
    label: str
    evidence: str
    pairs: int
    coupled: float
    auc: float
    interval: Interval


def learned(pairs: Pairs, label: str) -> dict[str, Logistic]:
    """Fits what is learned: evidence -> model."""
    coupled = pairs.coupled(label)
    return {
        "entropies, learned": fit(pairs.entropies, coupled),
        "all heads, learned": fit(pairs.heads, coupled),
        "all heads and entropies, learned": fit(pairs.both(), coupled),
    }


def judged(models: Mapping[str, Logistic], by_task: Mapping[str, Pairs], label: str) -> list[Found]:
    """Judges every evidence on the pairs of each task, and on all of them."""
    parts = {task: pairs for task, pairs in by_task.items() if len(pairs.item)}
    return [
        one
        for task, pairs in {ALL: _all(list(parts.values())), **parts}.items()
        for one in _judged(models, task, pairs, label)
    ]


def _all(parts: Sequence[Pairs]) -> Pairs:
    """Items of different tasks are different items."""
    counts = [int(part.item.max()) + 1 for part in parts]
    return Pairs.joined(parts, np.cumsum([0, *counts[:-1]]).tolist())


def _judged(models: Mapping[str, Logistic], task: str, pairs: Pairs, label: str) -> Iterator[Found]:
    coupled = pairs.coupled(label)
    _, items = np.unique(pairs.item, return_inverse=True)
    for evidence, scores in _scores(models, pairs).items():
        ranking = Ranking(scores, coupled, items)
        auc, interval = ranking.area(), ranking.interval()
        yield Found(task, label, evidence, len(items), float(coupled.mean()), auc, interval)


def _scores(
    models: Mapping[str, Logistic], pairs: Pairs
) -> Mapping[str, NDArray[np.floating[Any]]]:
    features = {
        "entropies, learned": pairs.entropies,
        "all heads, learned": pairs.heads,
        "all heads and entropies, learned": pairs.both(),
    }
    return {
        "mean attention": pairs.mean,
        "mean attention, either way": pairs.mean_either,
        "closeness": -pairs.distance,
        "smaller entropy": pairs.entropies[:, 2],
        **{name: models[name].score(told) for name, told in features.items()},
    }


def table(found: Sequence[Found]) -> Iterator[str]:
    """Markdown: a line for each task and label, a column for each evidence."""
    yield "| task | coupled if it | pairs | coupled % | " + " | ".join(EVIDENCES) + " |"
    yield "| --- " * (4 + len(EVIDENCES)) + "|"
    for task in dict.fromkeys(one.task for one in found):
        for label in LABELS:
            own = {one.evidence: one for one in found if (one.task, one.label) == (task, label)}
            if own:
                first = next(iter(own.values()))
                cells = [f"{first.pairs}", f"{100 * first.coupled:.1f}"]
                cells += [_cell(own[evidence]) for evidence in EVIDENCES]
                yield f"| {task} | {label} | {' | '.join(cells)} |"


def _cell(one: Found) -> str:
    if np.isnan(one.auc):
        return "-"
    low, high = one.interval
    return f"{one.auc:.3f} ({low:.2f} to {high:.2f})"
