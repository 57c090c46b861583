"""Numbers and answers of an engine beside those of the CPU, and selection beside NumPy."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime import Decoder, Engine, StepInputs
from dawn_runtime.engine.device import DeviceEngine
from dawn_runtime.manifest import Manifest
from dawn_runtime.settings import Settings
from gpu_checks.engines import REFERENCE, HostSelection, opened, random_prompt
from gpu_checks.outcome import CheckError

CLOSE = {"fp32": 1e-3, "fp16": 3e-2}
"""Largest difference of confidence and attention by precision; others count as fp16."""

LEAST_EQUAL = {"fp32": 0.99, "fp16": 0.9}
"""Least part of equal tokens of answers: what is near a threshold may come a step later."""

PICKY: dict[str, dict[str, float]] = {
    "dawn": {"tau_high": 0.999, "tau_induce": 0.9, "tau_low": 0.2, "tau_edge": 0.02},
    "threshold": {"threshold": 0.999},
}
"""Thresholds with which an answer takes many steps and every branch of the rule."""

POLICIES, CACHES = ("one-per-step", "threshold", "dawn"), ("none", "dual")


def check_numbers(folder: Path, name: str) -> dict[str, Any]:
    """Runs full and cached steps on both engines and compares all outputs.

    Raises:
        CheckError: They differ by more than `CLOSE`.
    """
    with opened(folder, REFERENCE) as (manifest, cpu), opened(folder, name) as (_, engine):
        worst: dict[str, float] = {}
        for batch, length in ((1, 64), (3, 33)):
            inputs = _inputs(manifest, batch, length)
            expected = _compare(cpu, engine, inputs, worst)
            half = length // 2
            past = tuple(np.ascontiguousarray(a[:, :, :half]) for a in expected)
            mask = np.ascontiguousarray(inputs.attention_mask[:, :, half:])
            rest = replace(
                inputs,
                input_ids=inputs.input_ids[:, half:],
                position_ids=inputs.position_ids[:, half:],
                attention_mask=mask,
                logit_rows=inputs.logit_rows[:, : length - half],
                attention_rows=inputs.attention_rows[:, :4],
                past=past,
            )
            _compare(cpu, engine, rest, worst)
        limit = CLOSE.get(manifest.precision, CLOSE["fp16"])
        for output in ("confidence", "attention"):
            if worst[output] > limit:
                raise CheckError(
                    f"{output} differs from the CPU by {worst[output]:.2g}; expected {limit} or "
                    f"less at {manifest.precision}"
                )
        return {"largest_difference": worst, "limit": limit}


def check_answers(folder: Path, name: str) -> dict[str, Any]:
    """Decodes the same prompts on both engines, for every policy and cache.

    Raises:
        CheckError: Fewer tokens are equal than `LEAST_EQUAL`.
    """
    with opened(folder, REFERENCE) as (manifest, cpu), opened(folder, name) as (_, engine):
        floor = LEAST_EQUAL.get(manifest.precision, LEAST_EQUAL["fp16"])
        equal = {}
        for policy, cache in itertools.product(POLICIES, CACHES):
            here, there = (_answers(manifest, one, policy, cache) for one in (cpu, engine))
            equal[f"{policy} {cache}"] = float(np.mean(here == there))
        least = min(equal, key=lambda key: equal[key])
        if equal[least] < floor:
            raise CheckError(
                f"with {least} {equal[least]:.1%} of the tokens are those of the CPU; expected "
                f"{floor:.0%} at {manifest.precision}"
            )
        return {"equal_tokens": equal, "least": floor}


def check_selection(folder: Path, name: str) -> dict[str, Any]:
    """Decodes with the kernels and with NumPy on the same engine.

    Raises:
        CheckError: They decide differently, or the engine has no kernels.
    """
    with opened(folder, name) as (manifest, engine):
        if not isinstance(engine, DeviceEngine):
            raise CheckError(f"{engine.describe().name} does not run on arrays of a device")
        for policy, cache, length in itertools.product(("dawn", "threshold"), CACHES, (32, 96)):
            settings: Settings = {"policy": policy, "max_new_tokens": length, "stop_at_eos": False}
            settings["fallback_length"], settings["cache"] = 0, cache
            settings["options"] = PICKY[policy]
            prompts = [random_prompt(manifest, 8 + n, n) for n in range(3)]
            found = [
                Decoder(manifest, one).generate_batch(prompts, **settings)
                for one in (engine, HostSelection(engine))
            ]
            kernel, numpy = (
                [[(c.step, c.position, c.token) for c in result.trace] for result in results]
                for results in found
            )
            if kernel != numpy:
                raise CheckError(
                    f"kernels and NumPy decide differently: {policy}, cache {cache}, {length} "
                    "tokens"
                )
        return {"compared": "steps, positions and tokens of 24 answers, equal"}


def _inputs(manifest: Manifest, batch: int, length: int) -> StepInputs:
    ids = np.array([random_prompt(manifest, length, seed) for seed in range(batch)])
    every = np.tile(np.arange(length), (batch, 1))
    mask = np.ones((batch, 1, length, length), dtype=bool)
    return StepInputs(ids, every, mask, every, every, want_logits=True, want_present=True)


def _compare(
    cpu: Engine, engine: Engine, inputs: StepInputs, worst: dict[str, float]
) -> tuple[Any, ...]:
    """Notes the largest differences and returns the keys and values of the CPU."""
    expected, found = cpu.run(inputs), engine.run(inputs)
    for output in ("confidence", "attention", "logits"):
        # What is never predicted has a logit of minus infinity on both sides.
        sides = (np.nan_to_num(getattr(one, output), neginf=0) for one in (expected, found))
        difference = np.abs(np.subtract(*sides)).max()
        worst[output] = max(worst.get(output, 0.0), float(difference))
    differing = float(np.mean(expected.tokens != found.tokens))
    worst["tokens"] = max(worst.get("tokens", 0.0), differing)
    return expected.present


def _answers(manifest: Manifest, engine: Engine, policy: str, cache: str) -> Any:
    settings: Settings = {"policy": policy, "cache": cache, "max_new_tokens": 48}
    settings["stop_at_eos"] = False
    prompts = [random_prompt(manifest, 12 + n, 100 + n) for n in range(4)]
    results = Decoder(manifest, engine).generate_batch(prompts, **settings)
    return np.stack([result.tokens for result in results])
