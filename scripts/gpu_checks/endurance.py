"""Many answers and many openings: nothing may change and nothing may be left behind."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from dawn_runtime import Decoder, Engine
from dawn_runtime.cuda import CudaDevice
from dawn_runtime.machine.resident import peak_resident_bytes
from dawn_runtime.manifest import Manifest
from dawn_runtime.settings import Settings
from gpu_checks.engines import REFERENCE, opened, random_prompt
from gpu_checks.outcome import CheckError

MIB = 1 << 20
MOST_GROWTH_MIB = {"gpu": 16.0, "host": 64.0}
"""How much more memory may be in use at the end than after a tenth of the work."""

_RULES = (("dawn", "none"), ("dawn", "dual"), ("threshold", "none"))


def soak(folder: Path, name: str, generations: int) -> dict[str, Any]:
    """Decodes many answers of changing length; every one that comes again must be the same.

    Raises:
        CheckError: An answer changed, or memory grew.
    """
    with opened(folder, name) as (manifest, engine):
        answers: dict[int, list[int]] = {}
        gauge = _Gauge(getattr(engine, "device", None))
        for number in range(generations):
            tokens = _generate(manifest, engine, number % 24)
            if answers.setdefault(number % 24, tokens) != tokens:
                raise CheckError(f"answer {number} differs from answer {number % 24}")
            if number == generations // 10:
                gauge.begin()
        return {"generations": generations, **gauge.growth()}


def reopen(folder: Path, name: str, cycles: int) -> dict[str, Any]:
    """Opens, decodes and closes again and again.

    Raises:
        CheckError: Memory grew.
    """
    meter = None if name == REFERENCE else CudaDevice()
    gauge = _Gauge(meter)
    try:
        for number in range(cycles):
            with opened(folder, name) as (manifest, engine):
                _generate(manifest, engine, 0)
            if number == cycles // 10:
                gauge.begin()
        return {"cycles": cycles, **gauge.growth()}
    finally:
        if meter is not None:
            meter.close()


def memory(folder: Path, name: str) -> dict[str, Any]:
    """Measures what an opened engine and one answer take on the GPU."""
    meter = CudaDevice()
    try:
        before, total = meter.memory()
        with opened(folder, name) as (manifest, engine):
            ready, _ = meter.memory()
            _generate(manifest, engine, 0)
            after, _ = meter.memory()
    finally:
        meter.close()
    return {
        "total_mib": total / MIB,
        "opened_mib": (before - ready) / MIB,
        "first_answer_mib": (ready - after) / MIB,
    }


class _Gauge:
    """Memory in use at some point, and how much it grew from there."""

    def __init__(self, device: CudaDevice | None) -> None:
        self._device = device
        self._begun = self._now()

    def begin(self) -> None:
        """Measures from here."""
        self._begun = self._now()

    def growth(self) -> dict[str, float]:
        """Returns the growth in MiB.

        Raises:
            CheckError: It is more than `MOST_GROWTH_MIB`.
        """
        now = self._now()
        grown = {kind: (now[kind] - self._begun[kind]) / MIB for kind in now}
        for kind, mib in grown.items():
            if mib > MOST_GROWTH_MIB[kind]:
                raise CheckError(
                    f"memory of the {kind} grew by {mib:.0f} MiB; expected at most "
                    f"{MOST_GROWTH_MIB[kind]:.0f}"
                )
        return {f"{kind}_growth_mib": mib for kind, mib in grown.items()}

    def _now(self) -> dict[str, float]:
        # The largest so far: a leak makes it grow.
        used = {"host": float(peak_resident_bytes())}
        if self._device is not None:
            free, total = self._device.memory()
            used["gpu"] = float(total - free)
        return used


def _generate(manifest: Manifest, engine: Engine, number: int) -> list[int]:
    policy, cache = next(itertools.islice(itertools.cycle(_RULES), number, None))
    settings: Settings = {"policy": policy, "cache": cache, "max_new_tokens": 32 + number}
    settings["stop_at_eos"] = False
    prompt = random_prompt(manifest, 8 + number, number)
    tokens: list[int] = (
        Decoder(manifest, engine).generate(input_ids=prompt, **settings).tokens.tolist()
    )
    return tokens
