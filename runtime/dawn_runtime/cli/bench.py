"""`dawn-bench`: how fast an artifact answers on this machine, case by case."""

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from dawn_runtime._version import __version__
from dawn_runtime.artifact import read_manifest, sha256_of
from dawn_runtime.bench import plan
from dawn_runtime.bench.plan import Case, Rules
from dawn_runtime.bench.prompts import (
    Prompts,
    check_room,
    prompts_of_file,
    prompts_of_tasks,
    random_prompts,
    shipped_prompts,
)
from dawn_runtime.bench.record import Record
from dawn_runtime.bench.report import describe, head, legend, table
from dawn_runtime.bench.turns import in_turns, summaries
from dawn_runtime.cli import bench_flags as flags
from dawn_runtime.cli.bench_results import main_compare, main_show
from dawn_runtime.cli.common import print_json, run_command
from dawn_runtime.cli.engine_flags import open_decoder
from dawn_runtime.cli.places import destination
from dawn_runtime.cli.standard import is_terminal, say
from dawn_runtime.decoder import Decoder
from dawn_runtime.hub_cache import located
from dawn_runtime.machine.condition import (
    Condition,
    logical_cores,
    look_at,
    power_mode,
    processor,
    remarks,
)
from dawn_runtime.machine.energy import EnergyMeter
from dawn_runtime.machine.resident import begin_peak
from dawn_runtime.manifest import MANIFEST_FILE, Manifest

_SEED: Final = 0

COMMANDS: Final[dict[str, Callable[[Sequence[str]], int]]] = {
    "compare": main_compare,
    "show": main_show,
}
"""First word -> what runs it; an artifact of such a name is `./compare`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]](words[1:])
    return run_command(flags.parser(), lambda args: _work(args, words), words)


def _work(args: argparse.Namespace, words: list[str]) -> None:
    flags.check(args)
    paths = [args.artifact, *args.compare]
    manifests = [read_manifest(located(path)) for path in paths]
    plan.check_same_model(manifests, paths)
    cases, rules = flags.sweep(args).cases(paths, manifests[0]), flags.rules(args)
    plan.check(cases, rules, manifests)
    target = None if args.output is None else destination(args.output, "--output")
    read = [] if args.input is None else [args.input]
    outputs = flags.Outputs.of(args, args.output, read)
    prompts = _prompts(args, manifests[0], cases)
    if not prompts.is_random:
        _check_room(prompts, manifests, cases)
    header = {
        "command": ["dawn-bench", *words],
        "dawn_edge": __version__,
        "artifact_sha256": {str(path): sha256_of(located(path) / MANIFEST_FILE) for path in paths},
        "prompts": prompts.to_dict(),
        "repeat": args.repeat,
        "warm_up": args.warm_up,
        "window": rules.window,
        "guard": None if rules.guard is None else list(rules.guard),
        "options": rules.options,
    }
    record = _measured(args, cases, rules, prompts, header)
    if target is not None:
        target.write(json.dumps(record.to_dict(), ensure_ascii=False, indent=1) + "\n")
    outputs.write(record)
    _tell(record, args)


def _tell(record: Record, args: argparse.Namespace) -> None:
    """Prints what was measured."""
    if not args.json:
        print(head(record.header), table(record), sep="\n")
        if not args.quiet:
            print(legend(record))
    print_json(record.to_dict())


def _prompts(args: argparse.Namespace, manifest: Manifest, cases: Sequence[Case]) -> Prompts:
    """Returns all prompts, as the first artifact reads them."""
    if args.random:
        longest = max(case.prompt_tokens or 0 for case in cases)
        return random_prompts(manifest, max(case.batch for case in cases), longest)
    if args.input is not None:
        return prompts_of_file(args.artifact, args.input)
    if args.tasks is not None:
        names = flags.task_names(args)
        return prompts_of_tasks(args.artifact, names, args.items or flags.ITEMS, _SEED)
    return shipped_prompts(args.artifact)


def _check_room(prompts: Prompts, manifests: Sequence[Manifest], cases: Sequence[Case]) -> None:
    for manifest in manifests:
        for new_tokens in dict.fromkeys(case.new_tokens for case in cases):
            check_room(prompts, manifest, new_tokens)


def _asked(prompts: Prompts, case: Case) -> Prompts:
    """What a case is asked: all real prompts, or as much noise as it is for."""
    if case.prompt_tokens is None:
        return prompts
    ids = tuple(one[: case.prompt_tokens] for one in prompts.ids[: case.batch])
    return replace(prompts, ids=ids)


def _measured(
    args: argparse.Namespace,
    cases: Sequence[Case],
    rules: Rules,
    prompts: Prompts,
    header: dict[str, Any],
) -> Record:
    """Opens what is timed, times it, and looks at the machine before and after."""
    meter, before = EnergyMeter(), look_at()
    with ExitStack() as stack:
        decoders = _decoders(args, cases, stack)
        turns = in_turns(
            cases,
            decoders,
            lambda case: _asked(prompts, case),
            rules,
            repeat=args.repeat,
            warm_up_runs=args.warm_up,
            meter=meter,
            tell=_progress(args),
        )
        after, first = look_at(), next(iter(decoders.values()))
        told = [one.threads.count for one in decoders.values() if one.threads is not None]
        known = [replace(case, threads=_threads(decoders, case)) for case in cases]
        machine = {
            "line": _machine(first),
            "processor": processor(),
            "engine": first.engine_name,
            "power_mode": power_mode(),
            "energy": list(meter.sources),
            "peak_of": "a turn" if begin_peak() else "the process since it was started",
            "before": _document(before),
            "after": _document(after),
        }
    found = remarks(before, after, logical_cores(), max(told, default=1))
    return Record(
        {"artifact": str(args.artifact), **header, "machine": machine, "remarks": found},
        tuple(summaries(known, turns)),
    )


def _decoders(
    args: argparse.Namespace, cases: Sequence[Case], stack: ExitStack
) -> dict[tuple[str, int | None], Decoder]:
    """Opens each artifact once for each number of threads; unasked, all get that of the first."""
    found: dict[tuple[str, int | None], Decoder] = {}
    chosen: int | None = None
    for key in dict.fromkeys((case.artifact, case.threads) for case in cases):
        folder, threads = key
        own = argparse.Namespace(**{**vars(args), "threads": threads or chosen})
        found[key] = stack.enter_context(open_decoder(own, Path(folder)))
        given = found[key].threads
        chosen = chosen or (None if given is None else given.count)
    return found


def _threads(decoders: dict[tuple[str, int | None], Decoder], case: Case) -> int | None:
    """How many threads a case had; None where the engine does not tell."""
    threads = decoders[case.artifact, case.threads].threads
    return case.threads if threads is None else threads.count


def _progress(args: argparse.Namespace) -> Callable[[int, Case], None]:
    """Tells somebody who waits at a terminal how far it is."""
    shown = is_terminal(sys.stderr) and not args.quiet

    def tell(number: int, case: Case) -> None:
        if shown:
            say(f"turn {number + 1} of {args.repeat}: {describe(case)}")

    return tell


def _document(condition: Condition) -> dict[str, Any]:
    """What the machine tells, without what it does not."""
    fields = {name: getattr(condition, name) for name in condition.__dataclass_fields__}
    told = {name: value for name, value in fields.items() if value not in (None, ())}
    return {n: list(value) if isinstance(value, tuple) else value for n, value in told.items()}


def _machine(decoder: Decoder) -> str:
    threads = f"{logical_cores()} cores" if decoder.threads is None else decoder.threads.line()
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    name = processor()
    parts = [*([name] if name else []), platform.machine(), sys.platform, python, threads]
    return ", ".join(parts)
