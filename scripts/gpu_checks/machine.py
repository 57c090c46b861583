"""What the report says of the machine, so that its numbers can be read later."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import distributions
from typing import Any, Final

import numpy as np

from dawn_runtime.machine.driver import Cuda

_SMI_FIELDS: Final = (
    *(
        "name",
        "driver_version",
        "memory.total",
        "power.limit",
        "clocks.max.sm",
        "clocks.max.memory",
    ),
    *("persistence_mode", "pstate", "ecc.mode.current"),
)
_JETSON_POWER: Final = ("nvpmodel", "-q")
_PACKAGES: Final = ("onnxruntime", "tensorrt", "cuda", "nvidia-c", "torch", "dawn-edge")
_DOCTOR: Final = "from dawn_runtime.cli.doctor import main; main(['--json'])"
_PATIENCE_SECONDS: Final = 120.0


def describe(found: Cuda) -> dict[str, Any]:
    """Describes the machine; what cannot be found out is the reason why.

    Args:
        found: Driver and GPUs.
    """
    query = f"--query-gpu={','.join(_SMI_FIELDS)}"
    return {
        "gpus": [asdict(gpu) for gpu in found.gpus],
        "cuda_of_driver": found.version,
        "nvidia_smi": _output("nvidia-smi", query, "--format=csv"),
        "power_mode": _output(*_JETSON_POWER),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "packages": _versions(),
        "doctor": _doctor(),
    }


def _versions() -> dict[str, str]:
    named = ((entry.metadata["Name"].lower(), entry.version) for entry in distributions())
    return {name: version for name, version in named if name.startswith(_PACKAGES)}


def _doctor() -> Any:
    text = _output(sys.executable, "-c", _DOCTOR)
    try:
        return json.loads(text)
    except ValueError:
        return text


def _output(*command: str) -> str:
    """Returns what a command prints, or why it does not run."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stdout or done.stderr).strip()
