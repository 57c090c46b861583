"""Builds a plan of an artifact with TensorRT for RTX, which needs no GPU; prints its size.

    python tensorrt_gate.py ARTIFACT

A process of its own: graphs that NVIDIA's parser does not like have been seen to crash it.
"""

import sys

import tensorrt_rtx

from dawn_export.tensorrt import EngineOptions, build_plan
from dawn_runtime.engine.tensorrt_module import TensorRT

OPTIONS = EngineOptions(max_length=32, block_length=16, batch=2, capability=(8, 9))


def main(artifact: str) -> None:
    """Builds it."""
    report = build_plan(artifact, OPTIONS, trt=TensorRT("tensorrt_rtx", tensorrt_rtx))
    print(report.size_bytes)


if __name__ == "__main__":
    main(sys.argv[1])
