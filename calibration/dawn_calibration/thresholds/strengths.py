"""Every rule, and the values of what makes it more careful or faster: the one list of them.

The front of rules (`scripts/decoding_front.py`) and the choice of a default go through all
combinations of a line, the search of thresholds through these values and some between them
(`dawn_calibration.thresholds.grids`). A new rule is one line of `LINES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from dawn_runtime.decoding import SCHEMES
from dawn_runtime.settings import Settings

Value = str | int | float

OF_THE_CALL: Final = ("cache", "guard", "window")
"""Axes of a grid that are arguments of the decoder, not options of the rule."""


@dataclass(frozen=True, order=True)
class Setting:
    """A rule at one strength.

    Attributes:
        rule: What it is called here; two lines of the same policy have different names.
        policy: What the decoder calls it.
        axes: What is set, by name: options of the rule, or arguments of the decoder.
    """

    rule: str
    policy: str
    axes: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        """What is set, for a table."""
        return ", ".join(f"{name}={value}" for name, value in self.axes)

    def settings(self, max_new_tokens: int, block_length: int) -> Settings:
        """Returns the arguments of the decoder.

        Args:
            max_new_tokens: Positions to decode.
            block_length: For all but schemes without a window and the window `single`, which have
                no blocks.
        """
        call = {name: value for name, value in self.axes if name in OF_THE_CALL}
        scheme = self.policy in SCHEMES and "window" not in SCHEMES.fields_of(self.policy)
        blocks = not scheme and not str(call.get("window", "")).startswith("single")
        given = {
            "policy": self.policy,
            "options": {name: value for name, value in self.axes if name not in OF_THE_CALL},
            "max_new_tokens": max_new_tokens,
            "block_length": block_length if blocks else None,
            **call,
        }
        return cast("Settings", given)


@dataclass(frozen=True)
class Line:
    """A rule and the values that are tried.

    Attributes:
        policy: What the decoder calls it.
        grid: Values of each axis; every combination is tried. Axes named `cache`, `guard` and
            `window` are arguments of the decoder, all others are options of the rule.
        name: What it is called here, if not as the policy.
    """

    policy: str
    grid: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    name: str = ""

    @property
    def rule(self) -> str:
        """What it is called here."""
        return self.name or self.policy

    def settings(self) -> tuple[Setting, ...]:
        """Returns every combination of the grid, in its order."""
        return tuple(
            Setting(self.rule, self.policy, tuple(zip(self.grid, values, strict=True)))
            for values in itertools.product(*self.grid.values())
        )


_BUDGETS: Final[tuple[Value, ...]] = ("budget:nats=1", "budget:nats=4")

LINES: Final[tuple[Line, ...]] = (
    Line("one-per-step"),
    Line("threshold", {"threshold": (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)}),
    Line("factor", {"factor": (0.1, 0.25, 0.5, 1.0, 1.5)}),
    Line("local-leap", {"threshold": (0.8, 0.9, 0.95, 0.98), "relaxed_threshold": (0.6, 0.75)}),
    Line("klass", {"threshold": (0.5, 0.6, 0.7, 0.8, 0.9)}),
    Line("dawn", {"tau_low": (0.5, 0.65, 0.75, 0.85, 0.9)}),
    # At about 100 tokens the published tau_sink makes a sink of every key, and the graph is empty.
    Line("dawn", {"tau_low": (0.5, 0.65, 0.75, 0.85), "tau_sink": (0.02, 0.04)}, "dawn-graph"),
    Line("dapd", {"tau_max": (0.05, 0.15, 0.3, 0.6)}),
    Line("wino", {"threshold": (0.5, 0.6, 0.7, 0.8, 0.9)}),
    Line("freedave", {"threshold": (0.0, 0.9, 0.95, 0.98)}),
    Line("eb", {"gamma": (0.01, 0.05, 0.1, 0.3, 0.6, 1.0)}),
    Line("rpd", {"threshold": (0.7, 0.8, 0.9, 0.95), "nats": (1.0, 4.0)}),
    Line("sdar", {"threshold": (0.6, 0.8, 0.9, 0.98), "at_least": (1, 2)}),
    Line("wedlm", {"tau": (0.1, 0.4, 1.0), "penalty": (0.0, 0.02)}),
    Line("adjacent", {"threshold": (0.6, 0.7, 0.8, 0.9, 0.95, 0.98)}),
    Line("threshold", {"threshold": (0.7, 0.9), "guard": _BUDGETS}, "threshold+budget"),
    Line("llada", {"steps": (16, 32, 64)}),
    Line("dream", {"alg": ("entropy", "maskgit_plus"), "steps": (16, 32, 64)}),
    Line("clad", {"threshold": (0.5, 0.6, 0.7, 0.8, 0.9)}),
    Line("conv", {"steps": (16, 32, 0), "window": ("single",)}),
    Line("hierarchy", {"threshold": (0.8, 0.9, 0.95), "low_threshold": (0.4, 0.6)}),
    Line("credit", {"threshold": (0.7, 0.8, 0.9, 0.95)}),
    Line("prophet", {"early": (5.0, 7.5, 10.0)}),
    Line("streaming", {"threshold": (0.7, 0.8, 0.9, 0.95)}),
    Line("lsp", {"most_part": (0.25, 0.5, 0.75), "window": ("single",)}),
    Line("dico", {"certain": (0.9, 0.95, 0.98), "seed_threshold": (0.3, 0.6)}),
    Line("verify", {"threshold": (0.8, 0.9, 0.98), "accept": (0.0, 0.5, 0.7)}),
    Line(
        "verify",
        {"how": ("rows",), "cost": (0.0,), "threshold": (0.9, 0.98), "tries": (1, 3)},
        "verify-rows",
    ),
    Line("info-gain", {"candidates": (2, 4, 8), "threshold": (0.7, 0.9)}),
    Line("p2", {"steps": (16, 32, 64)}),
    Line("edit", {"threshold": (0.7, 0.9), "edit_threshold": (0.5, 0.9)}),
)
"""Every rule that has a line, in the order in which they are shown."""
