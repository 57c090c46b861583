"""Whether ONNX Runtime computes what it should: every canary on every provider that loads.

`python -m dawn_runtime.doctor.numbers PROVIDER` tries them in a process of its own and prints one
JSON object: what is wrong and what does not run, by canary and activations.
"""

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dawn_runtime.contract import ACTIVATION_DTYPES
from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.doctor.providers import short_name
from dawn_runtime.engine.canary import CANARIES, needed_canaries
from dawn_runtime.engine.operators import CPU_ONLY
from dawn_runtime.engine.ort.cpu import ACTIVATIONS
from dawn_runtime.engine.ort.releases import remedy
from dawn_runtime.engine.ort.session import CUDA_PROVIDER, try_canary
from dawn_runtime.errors import EngineError
from dawn_runtime.machine.isolated import ask
from dawn_runtime.machine.providers import CPU, OnnxRuntime

_TRIED: Final = {CPU: ACTIVATIONS, CUDA_PROVIDER: tuple(ACTIVATION_DTYPES)}
"""Provider that an engine of ours runs on -> activations that it can have there."""


@dataclass(frozen=True, slots=True)
class Trials:
    """What came of the canaries on one provider.

    Attributes:
        passed: Canary and activations, such as ``fused operators, fp32``, with the right numbers.
        wrong: The same -> what is wrong.
        failed: The same -> why it does not run.
    """

    passed: Collection[str]
    wrong: Mapping[str, str]
    failed: Mapping[str, str]


def read_trials(found: OnnxRuntime) -> dict[str, Trials]:
    """Tries the canaries on every provider that loads, each in a process of its own."""
    return {name: _read(name) for name in _TRIED if found.failures.get(name) == ""}


def _read(provider: str) -> Trials:
    answer = ask("dawn_runtime.doctor.numbers", provider)
    if not answer.document:
        reason = (answer.log.splitlines() or ["the process said nothing"])[-1]
        return Trials((), {}, {"all canaries": reason})
    return Trials(**answer.document)


def try_all(provider: str) -> Trials:
    """Tries every canary that a provider computes itself, in every type of activations."""
    passed, wrong, failed = [], {}, {}
    for canary in CANARIES:
        if provider != CPU and set(canary.operators) & set(CPU_ONLY):
            continue  # the CPU would compute it, whose numbers are tried by themselves
        for activations in set(canary.activations) & set(_TRIED[provider]):
            name = label(canary.name, activations)
            try:
                complaint = try_canary("dawn-doctor", canary, activations, [provider])
            except EngineError as error:
                failed[name] = str(error)
                continue
            if complaint:
                wrong[name] = complaint
            else:
                passed.append(name)
    return Trials(passed, wrong, failed)


def label(canary: str, activations: str) -> str:
    """Returns the name of a canary at a type of activations."""
    return f"{canary}, {activations}"


def needed_labels(graph: Path, activations: str) -> frozenset[str]:
    """Returns the names of what an artifact needs to be right.

    Args:
        graph: Its `model.onnx`.
        activations: Of its manifest.
    """
    return frozenset(label(canary.name, activations) for canary in needed_canaries(graph))


def number_findings(
    found: OnnxRuntime,
    trials: Mapping[str, Trials],
    needed: Collection[str] | None,
    providers: Collection[str],
) -> list[Finding]:
    """Judges the numbers of every provider.

    Args:
        found: From `read_onnxruntime`.
        trials: From `read_trials`.
        needed: What the artifact needs to be right; None without an artifact: everything.
        providers: Those without which the artifact cannot run; without an artifact they are all.
    """
    findings = []
    for provider, one in trials.items():
        important = needed is None or provider in providers
        if one.passed:
            text = f"{short_name(provider)}: {len(one.passed)} canaries compute what NumPy does"
            findings.append(Finding("ok", "numbers", text))
        for name, wrong in one.wrong.items():
            level = level_of(important and (needed is None or name in needed))
            text = f"{short_name(provider)}, {name}: {wrong}"
            findings.append(Finding(level, "numbers", text, remedy(found.version)))
        for name, reason in one.failed.items():
            level = level_of(important and needed is not None and name in needed)
            text = f"{short_name(provider)}, {name}: does not run: {reason:.300}"
            findings.append(Finding(level, "numbers", text, _RUNS_NOT))
    return findings


_RUNS_NOT: Final = "install a newer ONNX Runtime, or leave it if no artifact of yours needs this"


if __name__ == "__main__":
    print(json.dumps(asdict(try_all(sys.argv[1]))))
