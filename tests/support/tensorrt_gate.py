"""Builds or parses artifacts with TensorRT for RTX, which needs no GPU.

    python tensorrt_gate.py ARTIFACT [interrupted]
    python tensorrt_gate.py --parse ARTIFACT ... --build ARTIFACT ...

The first builds a plan and prints its size; with the second word Ctrl-C comes as soon as the
builder times its first kernel. The second prints a line for each artifact: its name, and layers of
the parsed network or bytes of the plan.

A process of its own: graphs that NVIDIA's parser does not like have been seen to crash it.
"""

import signal
import sys
from pathlib import Path
from typing import Any

import tensorrt_rtx

from dawn_export.tensorrt import EngineOptions, build_plan, config
from dawn_export.tensorrt.network import parse_graph
from dawn_runtime import Artifact
from dawn_runtime.engine.tensorrt.module import TensorRT, make_log

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


def parse(trt: TensorRT, folder: str) -> int:
    """Parses one graph with its weights; returns the layers of the network."""
    log = make_log(trt)
    builder = trt.module.Builder(log)
    network = parse_graph(trt, builder, log, Artifact.open(folder).graph(), logits=True)
    layers: int = network.num_layers
    return layers


def build(trt: TensorRT, folder: str) -> int:
    """Builds one plan; returns its size in bytes."""
    return build_plan(folder, OPTIONS, trt=trt).size_bytes


def main(*words: str) -> None:
    """Does what it is told."""
    trt = TensorRT("tensorrt_rtx", tensorrt_rtx)
    if words[0] == "--parse":
        cut = words.index("--build")
        for what, folders in ((parse, words[1:cut]), (build, words[cut + 1 :])):
            for folder in folders:
                print(Path(folder).name, what(trt, folder), flush=True)
        return
    if words[1:]:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started this
        interrupt()
    print(build(trt, words[0]))


if __name__ == "__main__":
    main(*sys.argv[1:])
