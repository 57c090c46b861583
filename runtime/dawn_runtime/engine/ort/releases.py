"""Releases of ONNX Runtime: which will do, which are known to compute wrongly, which are tested.

pyproject.toml and constraints.txt say the same; a test compares them with this.
"""

import platform
import sys
from collections.abc import Mapping
from typing import Final

WHEELS: Final = ("onnxruntime", "onnxruntime-gpu")
"""Distributions that bring the module onnxruntime; they overwrite each other."""

OLDEST: Final[Mapping[str, str]] = {"onnxruntime": "1.23.1", "onnxruntime-gpu": "1.27"}
"""Wheel -> first release that computes our graphs.

`Attention` of opset 23 came to the CPU with 1.23. On CUDA it had no grouped heads before 1.25, and
none in FP32 before the one unfused kernel of pull request 27992: the libraries of 1.26.0 lack it,
those of 1.27.0 have it."""

KNOWN_WRONG: Final[Mapping[str, str]] = {
    "1.23.0": "Attention whose heads share keys",
}
"""Release -> what it computes wrongly."""

TESTED: Final[Mapping[tuple[int, int], str]] = {(3, 10): "1.23.2", (3, 11): "1.31.1"}
"""First Python -> release that the tests run with there."""


def tested() -> str:
    """Returns the release that the tests run with on this Python."""
    return TESTED[max(first for first in TESTED if first <= sys.version_info[:2])]


def installed_wheel() -> str:
    """Returns the wheel that brought onnxruntime, `onnxruntime` if it was none of `WHEELS`."""
    present = {name for name in WHEELS if _is_installed(name)}
    return "onnxruntime-gpu" if present == {"onnxruntime-gpu"} else "onnxruntime"


def remedy(version: str) -> str:
    """Returns what to do about wrong numbers of a release."""
    if version == tested():
        return (
            "the tests pass with this release elsewhere, so try another one, or export again with "
            "--dialect portable"
        )
    return f"pip install '{installed_wheel()}=={tested()}'"


def build_with_cuda() -> str:
    """Returns what to install for the provider of CUDA on this machine."""
    if platform.machine() == "aarch64" and sys.version_info < (3, 11):
        return (
            "'dawn-edge[cuda]' has no wheels for JetPack 6: build a TensorRT plan with "
            "dawn-export --target tensorrt, or see docs/jetson.md for NVIDIA's builds"
        )
    return "pip install 'dawn-edge[cuda]' in place of onnxruntime"


def _is_installed(name: str) -> bool:
    from importlib import metadata  # takes longer to load than our own modules of this folder

    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
