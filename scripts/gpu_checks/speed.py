"""Time of whole answers: engines, caches, and selection by kernels or in NumPy."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dawn_runtime import Decoder, Engine, Result
from dawn_runtime.engine.device import DeviceEngine
from dawn_runtime.manifest import Manifest
from dawn_runtime.settings import Settings
from gpu_checks.engines import HostSelection, opened, random_prompt

LENGTHS = (96, 512, 1024, 4096)
"""Tokens of prompt and answer together."""

NEW_TOKENS = 64
"""Of them those of the answer."""

BUDGET_US = 30.0
"""What a step may take beside the engine, with kernels that choose."""

STRICT: dict[str, dict[str, float]] = {
    "dawn": dict.fromkeys(("tau_induce", "tau_low", "tau_high", "tau_anchor"), 1.0),
    "threshold": {"threshold": 1.0},
}
"""Thresholds that next to nothing reaches, so that an answer takes many steps of all the work."""


def measure(
    folder: Path, name: str, repeat: int, lengths: tuple[int, ...] = LENGTHS
) -> dict[str, Any]:
    """Times steps over answers of `NEW_TOKENS` tokens; medians of several, after one to warm up.

    Keys are lengths, and then `policy cache selection`; with `cuda` evidence stays on the device, a
    kernel chooses. Lengths that the artifact is not for are left out, which is said.
    Outside is what a step takes beside the engine's own time: on a device that is measured on its
    stream, so it holds launches and the wait for what was chosen. Saved is what the kernels take
    off a whole step; they are worth having only where it is above 0.

    Args:
        folder: Folder of the artifact.
        name: Name of the engine.
        repeat: How many answers are timed.
        lengths: Lengths to time.
    """
    with opened(folder, name) as (manifest, engine):
        fit = [length for length in lengths if length <= manifest.dims.max_length]
        timed = {length: _steps(manifest, engine, length, repeat) for length in fit}
    left_out = [length for length in lengths if length not in fit]
    return {
        "budget_us": BUDGET_US,
        "steps": {str(length): steps for length, steps in timed.items()},
        "saved_us_per_step": {str(length): _saved(steps) for length, steps in timed.items()},
        "said": [
            *(line for length, steps in timed.items() for line in _beside_budget(length, steps)),
            *(f"length {length}: longer than the artifact is for" for length in left_out),
        ],
    }


def _steps(
    manifest: Manifest, engine: Engine, length: int, repeat: int
) -> dict[str, dict[str, float]]:
    """Times every rule, cache and way to choose at one length."""
    timed = {}
    for policy in ("dawn", "threshold"):
        for cache in ("none", "dual"):
            how = (policy, cache, length, repeat)
            timed[f"{policy} {cache} numpy"] = _time(manifest, HostSelection(engine), *how)
            if isinstance(engine, DeviceEngine):
                timed[f"{policy} {cache} cuda"] = _time(manifest, engine, *how)
    return timed


def _beside_budget(length: int, steps: dict[str, dict[str, float]]) -> Iterator[str]:
    """Says what a step takes beside the engine, and whether that is within the budget."""
    for name, found in steps.items():
        if name.endswith(" cuda"):
            outside = found["outside_us_per_step"]
            verdict = "within" if outside <= BUDGET_US else "over"
            yield (
                f"length {length}, {name}: {outside:.1f} us a step beside the engine, {verdict} "
                f"the budget of {BUDGET_US:.0f} us"
            )


def _saved(timed: dict[str, dict[str, float]]) -> dict[str, float]:
    """What a whole step takes less with kernels than with NumPy, in microseconds."""
    kinds = (name.removesuffix(" cuda") for name in timed if name.endswith(" cuda"))
    return {
        kind: 1e3 * (timed[f"{kind} numpy"]["ms_per_step"] - timed[f"{kind} cuda"]["ms_per_step"])
        for kind in kinds
    }


def _time(
    manifest: Manifest, engine: Engine, policy: str, cache: str, length: int, repeat: int
) -> dict[str, float]:
    settings: Settings = {"policy": policy, "cache": cache, "max_new_tokens": NEW_TOKENS}
    settings["stop_at_eos"] = False
    settings["fallback_length"] = 0
    settings["options"] = STRICT[policy]
    decoder, prompt = Decoder(manifest, engine), random_prompt(manifest, length - NEW_TOKENS, 0)
    runs = [decoder.generate(input_ids=prompt, **settings) for _ in range(repeat + 1)][1:]
    return {
        "forwards": runs[0].forwards,
        "ms_per_step": 1e3 * statistics.median(run.seconds / run.forwards for run in runs),
        "outside_us_per_step": statistics.median(map(_outside, runs)),
    }


def _outside(result: Result) -> float:
    return 1e6 * (result.seconds - result.engine_seconds) / result.forwards
