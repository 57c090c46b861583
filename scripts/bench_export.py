"""Peak memory and time of an export, relative to copying the same bytes on the same disk.

    python scripts/make_random_checkpoint.py --like 0.5b --output build/random-0.5b
    python scripts/bench_export.py build/random-0.5b --precision fp16 --pairs 3 --eager

Each pair is one `cp` of the checkpoint's shards and one export, in turn, both until the bytes are
on disk; medians are shown, speeds in bytes written. The export is the whole command in a process of
its own: loading torch, tracing, weights, hashes, manifest. `--run` then opens the artifact and runs
a full and a cached step. `--eager` adds what exporters commonly do: load the model whole,
`torch.onnx.export` it, save it; it takes several times the model in memory.

The last line on standard output is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dawn_runtime import Artifact
from dawn_runtime.arrays import KvArray
from dawn_runtime.contract import ACTIVATION_DTYPES
from dawn_runtime.engine import Engine, StepInputs, open_engine
from dawn_runtime.engine.checks import check_outputs

EAGER = Path(__file__).parent / "eager_export.py"
TOKENS = 32


@dataclass(frozen=True)
class Run:
    """One command, or the median of several.

    Attributes:
        seconds: wall time until its bytes are on disk.
        cpu_seconds: of all its threads; says more than wall time on a machine that does other work.
        peak_bytes: most resident memory of the process.
        written: bytes it wrote.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: float
    written: float

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return self.written / self.seconds


def main() -> int:
    """Measure and print."""
    arguments = parse()
    folder = Path(tempfile.mkdtemp(prefix="bench-export-", dir=arguments.scratch))
    try:
        result = measure(arguments, folder)
    finally:
        shutil.rmtree(folder)
    print(json.dumps(result))
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--precision", choices=tuple(ACTIVATION_DTYPES), default="fp16")
    parser.add_argument("--pairs", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--scratch", type=Path, help="where to write; default: beside CHECKPOINT")
    parser.add_argument("--run", action="store_true", help="run a full and a cached step, too")
    parser.add_argument("--eager", action="store_true", help="export the common way once, too")
    arguments = parser.parse_args()
    arguments.scratch = arguments.scratch or arguments.checkpoint.resolve().parent
    return arguments


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, object]:
    """All runs, in turn; a line of the table for each kind."""
    copies, exports = [], []
    for number in range(arguments.pairs):
        copies.append(timed(copy_command(arguments, folder / "copy"), folder / "copy"))
        shutil.rmtree(folder / "copy")
        out = folder / f"artifact-{number}"
        exports.append(timed(export_command(arguments, out), out))
        if number + 1 < arguments.pairs:
            shutil.rmtree(out)
    ratios = [ours.speed / cp.speed for cp, ours in zip(copies, exports, strict=True)]
    result: dict[str, object] = {"precision": arguments.precision}
    result["copy"] = show("cp", copies)
    result["export"] = show("dawn-export", exports)
    result["speed_relative_to_copy"] = statistics.median(ratios)
    print(f"speed of dawn-export relative to cp: {statistics.median(ratios):.0%}", flush=True)
    if arguments.run:
        result["steps"] = run_steps(out)
    if arguments.eager:
        command = [sys.executable, str(EAGER), str(arguments.checkpoint), arguments.precision]
        eager = timed([*command, str(folder / "eager")], folder / "eager")
        result["eager"] = show("eager torch.onnx.export", [eager])
    return result


def copy_command(arguments: argparse.Namespace, to: Path) -> list[str]:
    """Copies the shards, following links."""
    to.mkdir()
    return ["cp", "-L", *map(str, sorted(arguments.checkpoint.glob("*.safetensors"))), str(to)]


def export_command(arguments: argparse.Namespace, to: Path) -> list[str]:
    """The command that users run."""
    start = "import sys; from dawn_export.cli import main; sys.exit(main(sys.argv[1:]))"
    target = "cuda" if arguments.precision == "bf16" else "cpu"
    options = ["--precision", arguments.precision, "--target", target, "--quiet"]
    paths = ["--model", str(arguments.checkpoint), "--output", str(to)]
    return [sys.executable, "-c", start, *paths, *options]


def timed(command: list[str], to: Path) -> Run:
    """Runs a command that fills the folder `to`, and waits until it is on disk.

    Raises:
        CalledProcessError: it failed.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    files = [path for path in to.rglob("*") if path.is_file()]
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    written = sum(path.stat().st_size for path in files)
    return Run(seconds, usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss, written)


def show(name: str, runs: list[Run]) -> dict[str, float]:
    """Prints a line with medians and returns them."""
    columns = zip(*(asdict(run).values() for run in runs), strict=True)
    middle = Run(*map(statistics.median, columns))
    print(
        f"{name:<26}{middle.seconds:8.1f} s{middle.cpu_seconds:8.1f} s CPU"
        f"{middle.speed / 1e6:8.0f} MB/s{middle.peak_bytes / 1e9:8.2f} GB peak"
        f"{middle.written / 1e9:8.2f} GB written",
        flush=True,
    )
    return asdict(middle)


def run_steps(folder: Path) -> dict[str, float]:
    """Opens the artifact and times a full step and one over what that cached."""
    started = time.perf_counter()
    engine = open_engine(Artifact.open(folder), low_memory=True)
    seconds = {"open": time.perf_counter() - started}
    rows = np.arange(TOKENS)[None]
    none = rows[:, :0]
    mask = np.ones((1, 1, TOKENS, TOKENS), dtype=np.bool_)
    full = StepInputs(rows + 1, rows, mask, rows, none, want_present=True)
    seconds["full"], present = timed_step(engine, full)
    wide = np.ones((1, 1, TOKENS, 2 * TOKENS), dtype=np.bool_)
    cached = StepInputs(rows + 1, rows + TOKENS, wide, rows, rows, past=present)
    seconds["cached"], _ = timed_step(engine, cached)
    engine.close()
    print("steps of 32 tokens:", ", ".join(f"{k} {v:.2f} s" for k, v in seconds.items()))
    return seconds


def timed_step(engine: Engine, inputs: StepInputs) -> tuple[float, tuple[KvArray, ...]]:
    """Runs one step: seconds, keys and values.

    Raises:
        EngineError: the step failed, or computed what is not a number.
    """
    started = time.perf_counter()
    outputs = engine.run(inputs)
    seconds = time.perf_counter() - started
    check_outputs(inputs, outputs, engine.describe())
    return seconds, outputs.present


if __name__ == "__main__":
    sys.exit(main())
