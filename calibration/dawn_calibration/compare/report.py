"""What a comparison tells people: a table, a document for JSON, and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from dawn_calibration.compare.churn import Churn
from dawn_calibration.compare.comparison import Comparison
from dawn_calibration.compare.measures import MARGIN, Differences
from dawn_runtime.pictures import picture
from dawn_runtime.wording import counted

_SHOWN: Final = 4000
"""Points of the scatter picture; more only make it darker."""

_COLUMNS: Final = {
    "frontier %": ("frontier_agreement", 100),
    "candidates %": ("candidate_agreement", 100),
    "flips %": ("flips", 100),
    "|drift|": ("mean_absolute_drift", 1),
    "near": ("near", 1),
    "crossed %": ("crossed", 100),
    "evidence rho": ("evidence_correlation", 1),
}
"""Column -> measure and its factor."""


def to_dict(found: Comparison) -> dict[str, Any]:
    """Returns all of it for JSON but the single states."""
    return {
        "artifacts": list(found.names),
        "policy": found.policy.name,
        "options": found.policy.options(),
        "prompts": found.prompts,
        "margin": MARGIN,
        "overall": asdict(found.overall),
        "groups": {name: asdict(group) for name, group in found.groups.items()},
        "free": [asdict(side) for side in found.free],
    }


def report_text(found: Comparison) -> str:
    """Returns the tables for people."""
    return "\n".join(_lines(found)) + "\n"


def draw_comparison(found: Comparison, path: Path) -> None:
    """Draws confidences of A against B, their drift, and the correlation of evidence.

    Args:
        found: What was found.
        path: Where the PNG shall be.
    """
    left, right = found.states.left, found.states.right
    shown = np.random.default_rng(0).permutation(len(left))[:_SHOWN]
    same = found.states.same[shown]
    with picture(path, 1, 3, title=f"{found.names[1]} against {found.names[0]}") as axes:
        first, second, third = axes
        for agrees, label in ((True, "same token"), (False, "another token")):
            at = shown[same == agrees]
            first.plot(left[at], right[at], ".", markersize=3, alpha=0.5, label=label)
        for threshold in found.thresholds:
            first.axvline(threshold, color="0.6", linewidth=0.7)
            first.axhline(threshold, color="0.6", linewidth=0.7)
        first.set(xlabel="confidence, A", ylabel="confidence, B", title="undecided positions")
        first.legend(fontsize="small")
        second.hist(right - left, bins=61, log=True)
        second.set(xlabel="confidence B - A", ylabel="candidates", title="drift")
        third.hist(found.states.correlations, bins=50, log=True)
        third.set(xlabel="Spearman's rho of a row", ylabel="rows", title="order of evidence")


def _lines(found: Comparison) -> Iterator[str]:
    prompts = counted(found.prompts, "prompt")
    yield f"A {found.names[0]}   B {found.names[1]}   {prompts}, {found.policy}"
    yield ""
    yield "Forced: both asked at every state that A meets"
    yield f"{'':<18}{'steps':>7}" + "".join(f"{name:>14}" for name in _COLUMNS)
    for name, group in found.groups.items():
        yield _row(name, group)
    yield _row("all", found.overall)
    yield ""
    yield "Free: each on its own, by the same rule"
    yield (f"{'':<26}{'agreement with A %':>19}{'same answer %':>15}{'right %':>9}{'forwards':>10}")
    for side in found.free:
        likeness = side.likeness
        right = "-" if likeness.right is None else f"{100 * likeness.right:.1f}"
        yield (
            f"{side.name:<26}{100 * likeness.agreement:>19.1f}{100 * likeness.equal:>15.1f}"
            f"{right:>9}{likeness.forwards:>10.2f}"
        )
    yield ""
    yield from _churn_lines(found.free[1].churn)


def _churn_lines(churn: Churn) -> Iterator[str]:
    first = "" if churn.first_divergence is None else f", first in step {churn.first_divergence:g}"
    yield (
        f"Changes from A to B: {100 * churn.changed:.1f} % of the answers "
        f"({100 * churn.equal_tokens:.1f} % of the tokens are equal); "
        f"{100 * churn.diverged:.1f} % decide otherwise on the way{first} (median, from 0)"
    )
    if churn.lost is not None and churn.gained is not None:
        yield (
            f"Right on A alone: {100 * churn.lost:.1f} %; right on B alone: "
            f"{100 * churn.gained:.1f} %"
        )


def _row(name: str, group: Differences) -> str:
    cells = (_cell(getattr(group, measure), factor) for measure, factor in _COLUMNS.values())
    return f"{name:<18}{group.steps:>7}" + "".join(f"{cell:>14}" for cell in cells)


def _cell(value: float | None, factor: int) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{factor * value:.2f}" if factor != 1 else f"{value:.4f}"
