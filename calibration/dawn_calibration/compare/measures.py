"""What two artifacts differ by, counted over decisions.

======================  ============================================================================
frontier agreement      tokens that A commits in a step and B would predict too: what freezes
candidate agreement     the same over all undecided positions of the window
flips                   candidates that one of them commits and the other does not, of all
                        candidates that at least one of them commits
drift                   change of confidence from A to B at candidates
near a threshold        candidates whose confidence on A is within `MARGIN` of a threshold of the
                        rule; those that end up on its other side on B have crossed
evidence correlation    Spearman's, over the keys, of the attention rows of candidates
======================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dawn_calibration.compare.rank import spearman
from dawn_calibration.compare.replay import Decision
from dawn_runtime import Policy
from dawn_runtime.arrays import BoolArray, FloatArray

MARGIN: Final = 0.05
"""How near to a threshold a confidence is called near."""

_CONFIDENCES: Final = (
    *("tau_low", "tau_induce", "tau_high", "tau_anchor", "tau_certain"),
    *("threshold", "relaxed_threshold"),
)
"""Options of policies that a confidence is compared with."""


def confidence_thresholds(policy: Policy) -> tuple[float, ...]:
    """Returns the thresholds that a rule compares confidences with, ascending."""
    options = policy.options()
    return tuple(sorted({options[name] for name in _CONFIDENCES if name in options}))


@dataclass(frozen=True, slots=True)
class Differences:
    """The measures of the module; shares from 0 to 1, None where nothing was to be measured.

    Attributes:
        steps: States compared.
        candidates: Candidates in all of them.
        frontier_agreement: Over candidates that A commits.
        candidate_agreement: Over all candidates.
        flips: Of candidates that at least one of them commits.
        mean_drift: Mean of B minus A.
        mean_absolute_drift: Mean of the magnitude of the drift.
        large_drift: Magnitude of the drift that 95 % of the candidates do not exceed.
        near: Candidates near a threshold.
        crossed: Share of these that have crossed one.
        near_drift: Mean magnitude of the drift of these.
        evidence_correlation: Mean over rows; None if the rule reads no evidence.
        lowest_correlation: The correlation that 5 % of the rows do not exceed.
    """

    steps: int
    candidates: int
    frontier_agreement: float | None
    candidate_agreement: float | None
    flips: float | None
    mean_drift: float | None
    mean_absolute_drift: float | None
    large_drift: float | None
    near: int
    crossed: float | None
    near_drift: float | None
    evidence_correlation: float | None
    lowest_correlation: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One state, candidate by candidate; n candidates.

    Attributes:
        left: float32 [n] confidences on A.
        right: float32 [n] confidences on B.
        same: bool [n], whether the predicted token is the same.
        left_chosen: bool [n], whether A commits.
        right_chosen: bool [n], whether B would.
        correlations: float64 [Q] of the attention rows of candidates, as far as there are any.
    """

    left: FloatArray
    right: FloatArray
    same: BoolArray
    left_chosen: BoolArray
    right_chosen: BoolArray
    correlations: NDArray[np.float64]


def compare(decision: Decision) -> Compared:
    """Takes from a decision what is counted."""
    left, right, at = decision.left, decision.right, decision.left.candidates
    rows = np.isin(left.attention_rows, at)
    pairs = zip(left.attention[rows], right.attention[rows], strict=True)
    found = (spearman(ours, theirs) for ours, theirs in pairs)
    return Compared(
        left=left.confidence[at],
        right=right.confidence[at],
        same=left.tokens[at] == right.tokens[at],
        left_chosen=decision.left_chosen,
        right_chosen=decision.right_chosen,
        correlations=np.array([value for value in found if value is not None]),
    )


def joined(states: Sequence[Compared]) -> Compared:
    """Puts states together, one candidate after another.

    Args:
        states: At least one.
    """
    names = [entry.name for entry in fields(Compared)]
    return Compared(
        **{name: np.concatenate([getattr(state, name) for state in states]) for name in names}
    )


def summarise(states: Sequence[Compared], thresholds: Sequence[float]) -> Differences:
    """Returns the measures of the module over some states.

    Args:
        states: At least one.
        thresholds: What the rule compares confidences with.
    """
    every = joined(states)
    drift = every.right.astype(np.float64) - every.left
    levels = np.asarray(thresholds, dtype=np.float32)
    near = (np.abs(every.left[:, None] - levels) <= MARGIN).any(axis=1)
    crossed = ((every.left[:, None] >= levels) != (every.right[:, None] >= levels)).any(axis=1)
    either = every.left_chosen | every.right_chosen
    return Differences(
        steps=len(states),
        candidates=len(drift),
        frontier_agreement=_mean(every.same[every.left_chosen]),
        candidate_agreement=_mean(every.same),
        flips=_mean((every.left_chosen != every.right_chosen)[either]),
        mean_drift=_mean(drift),
        mean_absolute_drift=_mean(np.abs(drift)),
        large_drift=_quantile(np.abs(drift), 0.95),
        near=int(near.sum()),
        crossed=_mean(crossed[near]),
        near_drift=_mean(np.abs(drift)[near]),
        evidence_correlation=_mean(every.correlations),
        lowest_correlation=_quantile(every.correlations, 0.05),
    )


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if values.size else None


def _quantile(values: NDArray[np.float64], share: float) -> float | None:
    return float(np.quantile(values, share)) if values.size else None
