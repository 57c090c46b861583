"""Values that are tried for the thresholds of each rule; small on purpose, so that few prompts do.

Rules with one threshold are tried over all of it, the others one option after another.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import OptionValue

Options = Mapping[str, OptionValue]
"""Options of a policy by name."""

GRIDS: Final[Mapping[str, Mapping[str, tuple[float, ...]]]] = MappingProxyType(
    {
        "dawn": {
            "tau_low": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
            "tau_high": (0.8, 0.85, 0.9, 0.95, 0.98),
            "tau_induce": (0.6, 0.7, 0.75, 0.8, 0.9),
            "tau_edge": (0.02, 0.04, 0.07, 0.1, 0.15, 0.25),
            "tau_sink": (0.005, 0.01, 0.03, 0.06, 0.12),
            "length_exponent": (0.0, 0.5, 1.0),
        },
        "dapd": {
            "tau_max": (0.02, 0.05, 0.1, 0.15, 0.3),
            "tau_min": (0.002, 0.005, 0.01, 0.02),
            "tau_high": (0.8, 0.85, 0.9, 0.95, 0.98),
        },
        "factor": {"factor": (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)},
        "klass": {
            "threshold": (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
            "kl_threshold": (0.001, 0.005, 0.01, 0.015, 0.03),
        },
        "local-leap": {
            "threshold": (0.8, 0.85, 0.9, 0.95, 0.98),
            "relaxed_threshold": (0.6, 0.7, 0.75, 0.8, 0.9),
            "radius": (1, 2, 4, 8),
        },
        "threshold": {"threshold": (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 0.995)},
    }
)
"""Policy -> option -> values, in the order in which options are searched."""


def grid_of(policy: str) -> Mapping[str, tuple[float, ...]]:
    """Returns the grid of a policy.

    Raises:
        OptionError: It has no thresholds.
    """
    if policy not in GRIDS:
        raise OptionError(f"policy {policy!r} has no thresholds to tune; use {', '.join(GRIDS)}")
    return GRIDS[policy]
