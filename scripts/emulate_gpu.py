"""What can be proven of the GPU without one, for longer than the tests take.

    python scripts/emulate_gpu.py                              # half an hour on two idle cores
    python scripts/emulate_gpu.py --rounds 50 --cases 20 --seed 7000

Rounds are random generations of both engines of a GPU over a driver that does everything late, each
beside the engine of the CPU; nothing may be left after them. Cases are random selections by the
kernels on 32 to 256 real threads, plain and under the sanitizers for threads and for addresses,
each beside the rules in NumPy. Needs g++ and the development environment. Prints a line for each
part; exit status: 0 all held, 1 something did not, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np

from dawn_export import ExportOptions, export
from dawn_runtime.cli.common import Parser, count, run_command
from dawn_runtime.errors import EngineError

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # where what stands in for a GPU is

ENGINES = {"onnxruntime": "fused", "tensorrt": "portable"}
"""Engine -> dialect of the export that it is tried with."""

THREADS = (32, 64, 128, 256)


def _parser() -> Parser:
    parser = Parser("emulate_gpu", "Prove what can be proven of the GPU without one.")
    parser.add_argument("--rounds", type=count, default=500, help="of an engine; default: 500")
    parser.add_argument("--cases", type=count, default=50, help="of a build; default: 50")
    parser.add_argument("--seed", type=count, default=1, help="of the first round; default: 1")
    return parser


def _work(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wrong = [*_generations(Path(folder), args), *_kernels(Path(folder), args)]
    if wrong:
        raise EngineError("; ".join(wrong))


def _generations(folder: Path, args: argparse.Namespace) -> Iterator[str]:
    """Runs random generations of each engine; yields what is wrong."""
    from support.stub_driver import build_driver

    (folder / "driver").mkdir()
    environment = build_driver(folder / "driver")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    for engine, dialect in ENGINES.items():
        checkpoint, artifact = ROOT / "tests/data/golden/dream-random", folder / dialect
        export(checkpoint, artifact, ExportOptions(dialect=dialect, evidence_layers=4))
        numbers = ("--rounds", str(args.rounds), "--seed", str(args.seed))
        command = [sys.executable, "-m", "support.stub_generations", engine, str(artifact)]
        done = subprocess.run(
            [*command, *numbers], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            yield f"{engine}: {' '.join(done.stderr.split()[-60:])}"
            continue
        report = json.loads(done.stdout)
        print(engine, json.dumps(report), flush=True)
        if report["differing"] or report["problems"] or report["left"]:
            yield f"{engine}: see above"


def _kernels(folder: Path, args: argparse.Namespace) -> Iterator[str]:
    """Runs random selections on real threads; yields what is wrong."""
    from support.choosing import Case, assert_same, random_policy
    from support.emulated_device import SANITIZERS, EmulatedDevice, build_emulator

    for sanitizer in SANITIZERS:
        program = build_emulator(folder, sanitizer)
        for threads in THREADS:
            rng = np.random.default_rng(args.seed)
            try:
                with closing(EmulatedDevice(program, threads)) as device:
                    for number in range(args.cases):
                        device.reset()
                        rules = [random_policy(rng) for _ in range(2)]
                        assert_same(Case(rng, 40, 2, *rules, early=number % 2 == 0), device)
            except AssertionError as error:
                yield f"{threads} threads, sanitizer {sanitizer}: {' '.join(str(error).split())}"
            else:
                print(f"{args.cases} cases, {threads} threads, sanitizer {sanitizer}", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Runs all of it."""
    return run_command(_parser(), _work, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
