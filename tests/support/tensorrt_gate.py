"""Builds a plan of an artifact with TensorRT for RTX, which needs no GPU; prints its size.

    python tensorrt_gate.py ARTIFACT [interrupted]

With the second word Ctrl-C comes as soon as the builder times its first kernel.

A process of its own: graphs that NVIDIA's parser does not like have been seen to crash it.
"""

import signal
import sys
from typing import Any

import tensorrt_rtx

from dawn_export.tensorrt import EngineOptions, build_plan, config
from dawn_runtime.engine.tensorrt.module import TensorRT

OPTIONS = EngineOptions(max_length=32, block_length=16, batch=2, capability=(8, 9))


def interrupt() -> None:
    """Makes monitors of builds press Ctrl-C."""
    make = config.make_monitor

    def make_pressing(*args: Any, **rest: Any) -> Any:
        monitor = make(*args, **rest)
        start = monitor.phase_start

        def phase_start(name: str, *others: Any) -> None:
            start(name, *others)
            if name == "Timing tactics":
                signal.raise_signal(signal.SIGINT)

        monitor.phase_start = phase_start
        return monitor

    config.make_monitor = make_pressing


def main(artifact: str, *words: str) -> None:
    """Builds it."""
    if words:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this
        interrupt()
    report = build_plan(artifact, OPTIONS, trt=TensorRT("tensorrt_rtx", tensorrt_rtx))
    print(report.size_bytes)


if __name__ == "__main__":
    main(*sys.argv[1:])
