"""Every path of a GPU beside the CPU: parity, kernels, speed, memory and endurance, as one JSON.

    bash scripts/gpu_check.sh                                # all of it, set-up included
    python scripts/gpu_check.py build/dream --engine onnxruntime-cuda --soak 200
    python scripts/gpu_check.py build/dream --engine tensorrt --only numbers

Without an artifact the shipped models are exported first. Each check runs in a process of its own
with a time limit: one that fails, hangs or takes the device down costs its own result alone. The
report is written anew after each of them, the long ones come last. A check that needs a package
which is not installed is skipped with the reason; what gpu_check.sh could not install is listed
under "left_out", from $GPU_CHECK_LEFT_OUT. Progress goes to standard error; standard output
and --output get the report. Exit status: 0 all that ran passed, 1 something failed, 2 wrong usage,
3 no NVIDIA GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.cli.places import destination
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.files import write_whole
from dawn_runtime.machine.driver import Cuda, read_cuda
from gpu_checks import endurance, nodes, parity, preparation, speed
from gpu_checks.engines import REFERENCE
from gpu_checks.isolated import run_isolated
from gpu_checks.machine import describe
from gpu_checks.outcome import CheckError, Outcome, attempt
from gpu_checks.preparation import ROOT, Subject, all_engines, plan_folder, shipped

NO_GPU = 3
ON_GPU = ("numbers", "answers", "selection", "speed", "memory")
ON_CPU = ("speed", "numbers", "answers")
LONG = ("soak", "reopen")
"""Checks of an engine on a GPU, of the reference against itself, and of both at the end."""

PLANS = {"plan": "", "speed-plan": "speed"}
"""Check that builds a plan -> the check that it is for."""

TESTS = ("tests/runtime/cuda", "tests/runtime/decoding")
"""Where the tests marked gpu are, none of which needs the exporter: a board may lack it."""


@dataclass(frozen=True)
class Task:
    """One check.

    Attributes:
        check: Its name.
        subject: What is checked; None if it is the machine.
        engine: With what; empty if it needs none.
    """

    check: str
    subject: Subject | None = None
    engine: str = ""


def main(argv: list[str] | None = None) -> int:
    """Runs the checks."""
    arguments = sys.argv[1:] if argv is None else argv
    if "--only" in arguments:
        return run_command(_parser(), _work_on_one, arguments)
    found = read_cuda()
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
    parser.add_argument(
        "artifacts", nargs="*", type=Path, help="exported models; default: exports of the shipped"
    )
    parser.add_argument(
        "--engine",
        action="append",
        choices=(REFERENCE, *all_engines()),
        help="engine to check, may be repeated; default: all of a GPU",
    )
    parser.add_argument("--soak", type=count, default=2000, help="answers; default: 2000")
    parser.add_argument("--repeat", type=count, default=5, help="timings; default: 5")
    parser.add_argument("--cycles", type=count, default=100, help="openings; default: 100")
    parser.add_argument("--no-tests", action="store_true", help="leave out the tests marked gpu")
    parser.add_argument(
        "--time-limit", type=count, default=1800, help="seconds of a check; default: 1800"
    )
    parser.add_argument(
        "--only",
        metavar="CHECK",
        help="one check of one artifact, in this process, for a closer look",
    )
    parser.add_argument("--output", type=Path, help="write the report here too")
    return parser


def _work(found: Cuda, args: argparse.Namespace) -> None:
    target = None if args.output is None else destination(args.output, "--output")
    outcomes: list[Outcome] = []
    machine = describe(found)
    for task in _tasks(args):
        outcomes.append(_outcome(task, args))
        if not args.quiet:
            _tell(outcomes[-1])
        if target is not None and not target.streams:
            _save(_report(machine, outcomes, complete=False), args.output)
    report = _report(machine, outcomes, complete=True)
    _save(report, args.output)
    print_json(report)
    failed = [" ".join((o.check, o.artifact, o.engine)) for o in outcomes if o.status == "failed"]
    if failed:
        raise CheckError(f"{len(failed)} of {len(outcomes)} checks failed: {', '.join(failed)}")


def _tell(outcome: Outcome) -> None:
    print(outcome, *outcome.measured.get("said", []), sep="\n    ", file=sys.stderr, flush=True)


def _report(machine: dict[str, Any], outcomes: list[Outcome], *, complete: bool) -> dict[str, Any]:
    checks = [asdict(outcome) for outcome in outcomes]
    left_out = os.environ.get("GPU_CHECK_LEFT_OUT", "").splitlines()
    return {"complete": complete, "left_out": left_out, "machine": machine, "checks": checks}


def _save(document: dict[str, Any], path: Path | None) -> None:
    if path is not None:
        write_whole(path, json.dumps(document, indent=1))


def _tasks(args: argparse.Namespace) -> Iterator[Task]:
    """All checks, the long ones last."""
    subjects = _subjects(args)
    yield from (Task("export", subject) for subject in subjects if subject.model is not None)
    if not args.no_tests:
        yield Task("tests")
    for subject in subjects:
        if REFERENCE not in subject.engines and not subject.timed_only:
            yield Task("speed", subject, REFERENCE)
        for engine in subject.engines:
            yield from (Task(check, subject, engine) for check in _checks(subject, engine))
    for check in LONG:
        long = [subject for subject in subjects if not subject.timed_only]
        yield from (Task(check, subject, e) for subject in long for e in subject.engines)


def _checks(subject: Subject, engine: str) -> Iterator[str]:
    """The checks of an engine but for the long ones."""
    if engine == "tensorrt":
        yield from ("speed-plan",) if subject.timed_only else PLANS
    elif engine != REFERENCE:
        yield "nodes"
    if subject.timed_only:
        yield from ("speed", "memory")
    else:
        yield from ON_CPU if engine == REFERENCE else ON_GPU


def _subjects(args: argparse.Namespace) -> list[Subject]:
    wanted = tuple(args.engine or all_engines())
    if args.artifacts:
        return [Subject(folder, wanted) for folder in args.artifacts]
    chosen = (replace(s, engines=tuple(e for e in wanted if s.suits(e))) for s in shipped())
    return [subject for subject in chosen if subject.engines]


def _outcome(task: Task, args: argparse.Namespace) -> Outcome:
    """Runs a check in a process of its own."""
    folder = None if task.subject is None else task.subject.folder
    command = [sys.executable, str(Path(__file__).resolve()), "--only", task.check]
    command += [] if folder is None else [str(folder)]
    command += ["--engine", task.engine] if task.engine else []
    for flag in ("soak", "cycles", "repeat"):
        command += [f"--{flag}", str(getattr(args, flag))]
    return run_isolated(command, task.check, folder, task.engine, limit=args.time_limit)


def _work_on_one(args: argparse.Namespace) -> None:
    """Runs one check in this process; a failure is an outcome, which is all there is to tell."""
    artifact = args.artifacts[0] if args.artifacts else None
    engine = args.engine[0] if args.engine else ""
    outcome = attempt(args.only, artifact, engine, _check(args.only, artifact, engine, args))
    _save(asdict(outcome), args.output)
    if not args.quiet:
        _tell(outcome)
    print_json(asdict(outcome))


def _check(
    name: str, artifact: Path | None, engine: str, args: argparse.Namespace
) -> Callable[[], dict[str, Any]]:
    """Returns what does a check.

    Raises:
        OptionError: There is no such check, or it needs an artifact and an engine.
    """
    if name == "tests":
        return _tests
    if name == "export" and artifact is not None:
        return partial(preparation.export_model, artifact)
    checks: dict[str, Callable[[Path, str], dict[str, Any]]] = {
        "numbers": parity.check_numbers,
        "answers": parity.check_answers,
        "selection": parity.check_selection,
        "nodes": nodes.count,
        "speed": partial(speed.measure, repeat=args.repeat, lengths=_lengths(engine)),
        "memory": endurance.memory,
        "soak": partial(endurance.soak, generations=args.soak),
        "reopen": partial(endurance.reopen, cycles=args.cycles),
    }
    known = ("tests", "export", *PLANS, *checks)
    if name not in known or artifact is None or not engine:
        raise OptionError(
            f"--only: got {name!r} with artifact {artifact} and engine {engine or None}; expected "
            f"one of {', '.join(known)}, with an artifact, and with --engine for all behind export"
        )
    if name in PLANS:
        return partial(preparation.build, artifact, PLANS[name])
    planned = [plan_folder(artifact, name), plan_folder(artifact, "speed")]
    there = [folder for folder in planned if engine == "tensorrt" and folder.exists()]
    return partial(checks[name], there[0] if there else artifact, engine)


def _lengths(engine: str) -> tuple[int, ...]:
    """Lengths that an engine is timed at: the reference would take hours for the long ones."""
    return speed.LENGTHS[:1] if engine == REFERENCE else speed.LENGTHS


def _tests() -> dict[str, Any]:
    """Runs the tests marked gpu."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *TESTS], cwd=ROOT, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines() or ["pytest said nothing"]
    if done.returncode:
        wrong = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
        raise EngineError(f"pytest -m gpu: {lines[-1]}; {' '.join(wrong)}")
    return {"pytest": lines[-1]}


if __name__ == "__main__":
    sys.exit(main())
