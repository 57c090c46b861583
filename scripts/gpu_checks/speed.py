"""Time of whole answers: engines, caches, and selection by kernels or in NumPy."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from dawn_runtime import Decoder, Engine, Result
from dawn_runtime.engine.device import DeviceEngine
from dawn_runtime.manifest import Manifest
from dawn_runtime.settings import Settings
from gpu_checks.engines import HostSelection, opened, random_prompt

NEW_TOKENS, PROMPT_TOKENS = 64, 32

STRICT: dict[str, dict[str, float]] = {
    "dawn": dict.fromkeys(("tau_induce", "tau_low", "tau_high", "tau_anchor"), 1.0),
    "threshold": {"threshold": 1.0},
}
"""Thresholds that next to nothing reaches, so that an answer takes many steps of all the work."""


def measure(folder: Path, name: str, repeat: int) -> dict[str, Any]:
    """Times steps over answers of `NEW_TOKENS` tokens; medians of several, after one to warm up.

    Keys are `policy cache selection`; with `cuda` evidence stays on the device, a kernel chooses.
    Outside is what a step takes beside the engine's own time: on a device that is measured on its
    stream, so it holds launches and the wait for what was chosen. Saved is what the kernels take
    off a whole step; they are worth having only where it is above 0.

    Args:
        folder: Folder of the artifact.
        name: Name of the engine.
        repeat: How many answers are timed.
    """
    with opened(folder, name) as (manifest, engine):
        timed = {}
        for policy in ("dawn", "threshold"):
            for cache in ("none", "dual"):
                timed[f"{policy} {cache} numpy"] = _time(
                    manifest, HostSelection(engine), policy, cache, repeat
                )
                if not isinstance(engine, DeviceEngine):
                    continue
                timed[f"{policy} {cache} cuda"] = _time(manifest, engine, policy, cache, repeat)
        return {"steps": timed, "saved_us_per_step": _saved(timed)}


def _saved(timed: dict[str, dict[str, float]]) -> dict[str, float]:
    """What a whole step takes less with kernels than with NumPy, in microseconds."""
    kinds = (name.removesuffix(" cuda") for name in timed if name.endswith(" cuda"))
    return {
        kind: 1e3 * (timed[f"{kind} numpy"]["ms_per_step"] - timed[f"{kind} cuda"]["ms_per_step"])
        for kind in kinds
    }


def _time(
    manifest: Manifest, engine: Engine, policy: str, cache: str, repeat: int
) -> dict[str, float]:
    settings: Settings = {"policy": policy, "cache": cache, "max_new_tokens": NEW_TOKENS}
    settings["stop_at_eos"] = False
    settings["fallback_length"] = 0
    settings["options"] = STRICT[policy]
    decoder, prompt = Decoder(manifest, engine), random_prompt(manifest, PROMPT_TOKENS, 0)
    runs = [decoder.generate(input_ids=prompt, **settings) for _ in range(repeat + 1)][1:]
    return {
        "forwards": runs[0].forwards,
        "ms_per_step": 1e3 * statistics.median(run.seconds / run.forwards for run in runs),
        "outside_us_per_step": statistics.median(map(_outside, runs)),
    }


def _outside(result: Result) -> float:
    return 1e6 * (result.seconds - result.engine_seconds) / result.forwards
