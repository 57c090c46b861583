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

BUDGET_MICROSECONDS = 30.0
"""What a step may take outside the engine with selection by kernels."""

NEW_TOKENS, PROMPT_TOKENS = 64, 32

STRICT: dict[str, dict[str, float]] = {
    "dawn": dict.fromkeys(("tau_induce", "tau_low", "tau_high", "tau_anchor"), 1.0),
    "threshold": {"threshold": 1.0},
}
"""Thresholds that next to nothing reaches, so that an answer takes many steps of all the work."""


def measure(folder: Path, name: str, repeat: int) -> dict[str, Any]:
    """Times steps over answers of `NEW_TOKENS` tokens; medians of several, after one to warm up.

    Keys are `policy cache selection`. Outside is what a step takes beside the engine's own time: on
    a device that is measured on its stream, so it holds launches and the wait for the status.

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
                kind = "cuda" if cache == "none" else "numpy, keys on the device"
                timed[f"{policy} {cache} {kind}"] = _time(manifest, engine, policy, cache, repeat)
        report: dict[str, Any] = {"steps": timed, "budget_us": BUDGET_MICROSECONDS}
        if "dawn none cuda" in timed:
            outside = timed["dawn none cuda"]["outside_us_per_step"]
            report["within_budget"] = outside <= BUDGET_MICROSECONDS
        return report


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
