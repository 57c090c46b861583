"""Values that a search tries for the options of each rule; few on purpose, so that few prompts do.

They are the strengths of `LINES`, further values between them, and options that are no strength of
a rule by themselves. Rules with one of them are tried over all of it, the others one option after
another.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dawn_calibration.thresholds.strengths import LINES, OF_THE_CALL, Value
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import OptionValue

Options = Mapping[str, OptionValue]
"""Options of a rule by name."""

Grid = Mapping[str, tuple[Value, ...]]
"""Option -> values."""

FURTHER: Final[Mapping[str, Grid]] = MappingProxyType(
    {
        "conv": {"width": (64, 128, 256)},
        "credit": {"alpha": (0.4, 0.7, 1.0)},
        "dapd": {
            "tau_max": (0.02, 0.1),
            "tau_min": (0.002, 0.005, 0.01, 0.02),
            "tau_high": (0.8, 0.85, 0.9, 0.95, 0.98),
        },
        "dawn": {
            "tau_low": (0.6, 0.7, 0.8, 0.95),
            "tau_high": (0.8, 0.85, 0.9, 0.95, 0.98),
            "tau_induce": (0.6, 0.7, 0.75, 0.8, 0.9),
            "tau_edge": (0.02, 0.04, 0.07, 0.1, 0.15, 0.25),
            "tau_sink": (0.005, 0.01, 0.03, 0.06, 0.12),
            "length_exponent": (0.0, 0.5, 1.0),
        },
        "factor": {"factor": (0.75, 2.0)},
        "freedave": {"drafts": (2, 4, 8)},
        "klass": {"threshold": (0.95,), "kl_threshold": (0.001, 0.005, 0.01, 0.015, 0.03)},
        "local-leap": {
            "threshold": (0.85,),
            "relaxed_threshold": (0.7, 0.8, 0.9),
            "radius": (1, 2, 4, 8),
        },
        "prophet": {"middle": (2.5, 5.0, 7.5), "late": (1.0, 2.5, 5.0)},
        "threshold": {"threshold": (0.5, 0.75, 0.995)},
        "verify": {"floor": (0.0, 0.3, 0.5)},
        "wino": {"revoke_threshold": (0.8, 0.9, 0.95)},
    }
)
"""Rule -> what is tried besides its strengths."""


def _grids() -> dict[str, dict[str, tuple[Value, ...]]]:
    """Strengths and what is tried besides, values of numbers in their order."""
    found: dict[str, dict[str, dict[Value, None]]] = {}
    sources = [(line.policy, line.grid) for line in LINES] + list(FURTHER.items())
    for policy, grid in sources:
        for option, values in grid.items():
            if option not in OF_THE_CALL:
                own = found.setdefault(policy, {}).setdefault(option, {})
                own.update(dict.fromkeys(values))
    return {
        policy: {option: _ordered(tuple(values)) for option, values in found[policy].items()}
        for policy in sorted(found)
    }


def _ordered(values: tuple[Value, ...]) -> tuple[Value, ...]:
    numbers = [value for value in values if not isinstance(value, str)]
    return (*sorted(numbers), *(value for value in values if isinstance(value, str)))


GRIDS: Final[Mapping[str, Grid]] = MappingProxyType(_grids())
"""Rule -> option -> values, in the order in which options are searched."""


def grid_of(policy: str) -> Grid:
    """Returns the grid of a rule.

    Raises:
        OptionError: It has no thresholds.
    """
    if policy not in GRIDS:
        raise OptionError(f"policy {policy!r} has no thresholds to tune; use {', '.join(GRIDS)}")
    return GRIDS[policy]
