"""Every path of a GPU beside the CPU: parity, kernels, speed, memory and endurance, as one JSON.

    bash scripts/gpu_check.sh                                # all of it, set-up included
    python scripts/gpu_check.py build/dream --engine onnxruntime-cuda --soak 200

Checks that need a package which is not installed are skipped with the reason. Progress goes to
standard error; standard output and --output get the report. Exit status: 0 all that ran passed,
1 something failed, 2 wrong usage, 3 no NVIDIA GPU.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime.cli.common import Parser, atomic_text, count, print_json, run_command
from dawn_runtime.doctor.cuda import Cuda, read_cuda
from dawn_runtime.engine import ENGINES
from dawn_runtime.errors import EngineError
from gpu_checks import endurance, parity, speed
from gpu_checks.engines import REFERENCE
from gpu_checks.outcome import CheckError, Outcome, attempt

NO_GPU = 3
ROOT = Path(__file__).parent.parent


def main(argv: list[str] | None = None) -> int:
    """Runs the checks."""
    found = read_cuda()
    arguments = sys.argv[1:] if argv is None else argv
    if not found.gpus and not _asks_for_cpu_only(arguments):
        print(f"gpu_check: no NVIDIA GPU: {found.reason}; nothing was checked", file=sys.stderr)
        return NO_GPU
    return run_command(_parser(), partial(_work, found), arguments)


def _asks_for_cpu_only(arguments: list[str]) -> bool:
    """Whether only the reference is checked, against itself: a rehearsal that needs no GPU."""
    named = [b for a, b in pairwise(arguments) if a == "--engine"]
    return bool(named) and set(named) == {REFERENCE}


def _parser() -> Parser:
    parser = Parser("gpu_check", "Check every path of a GPU beside the CPU.")
    parser.add_argument("artifacts", nargs="+", type=Path, help="exported models")
    parser.add_argument(
        "--engine",
        action="append",
        choices=ENGINES[1:],
        help="engine to check, may be repeated; default: onnxruntime-cuda and tensorrt",
    )
    parser.add_argument("--soak", type=count, default=2000, help="answers; default: 2000")
    parser.add_argument("--cycles", type=count, default=100, help="openings; default: 100")
    parser.add_argument("--no-tests", action="store_true", help="leave out the tests marked gpu")
    parser.add_argument("--output", type=Path, help="write the report here too")
    return parser


def _work(found: Cuda, args: argparse.Namespace) -> None:
    outcomes = []
    for outcome in _outcomes(args):
        outcomes.append(outcome)
        if not args.quiet:
            print(outcome, file=sys.stderr, flush=True)
    report = {"machine": _machine(found), "checks": [asdict(outcome) for outcome in outcomes]}
    print_json(report)
    if args.output is not None:
        with atomic_text(args.output) as file:
            json.dump(report, file, indent=1)
    failed = [outcome.check for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise CheckError(f"{len(failed)} of {len(outcomes)} checks failed: {', '.join(failed)}")


def _outcomes(args: argparse.Namespace) -> Iterator[Outcome]:
    if not args.no_tests:
        yield attempt("tests", None, "", _tests)
    for artifact in args.artifacts:
        yield attempt("speed", artifact, REFERENCE, partial(speed.measure, artifact, REFERENCE))
        for engine in args.engine or ["onnxruntime-cuda", "tensorrt"]:
            yield from _checks_of(artifact, engine, args)


def _checks_of(artifact: Path, engine: str, args: argparse.Namespace) -> Iterator[Outcome]:
    on_gpu = engine != REFERENCE
    works = {
        "numbers": partial(parity.check_numbers, artifact, engine),
        "answers": partial(parity.check_answers, artifact, engine),
        **({"selection": partial(parity.check_selection, artifact, engine)} if on_gpu else {}),
        **({"speed": partial(speed.measure, artifact, engine)} if on_gpu else {}),
        **({"memory": partial(endurance.memory, artifact, engine)} if on_gpu else {}),
        "soak": partial(endurance.soak, artifact, engine, args.soak),
        "reopen": partial(endurance.reopen, artifact, engine, args.cycles),
    }
    for check, work in works.items():
        yield attempt(check, artifact, engine, work)


def _tests() -> dict[str, Any]:
    """Runs the tests marked gpu."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "tests/runtime"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = (done.stdout.strip().splitlines() or ["pytest said nothing"])[-1]
    if done.returncode:
        raise EngineError(f"pytest -m gpu: {last}; run it to see more")
    return {"pytest": last}


def _machine(found: Cuda) -> dict[str, Any]:
    return {
        "gpus": [asdict(gpu) for gpu in found.gpus],
        "cuda_of_driver": found.version,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "packages": _versions(),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import distributions

    wanted = ("onnxruntime", "tensorrt", "cuda", "nvidia-cuda-nvrtc", "dawn-edge")
    return {
        name: distribution.version
        for distribution in distributions()
        if (name := distribution.metadata["Name"].lower()).startswith(wanted)
    }


if __name__ == "__main__":
    sys.exit(main())
