"""`dawn-bench`: how fast an artifact decodes on this machine, cache by cache."""

import argparse
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import Parser, count, key_values, place, print_json, run_command
from dawn_runtime.cli.engine_flags import add_engine_flags, open_decoder
from dawn_runtime.decoder import Decoder
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import DecodingDefaults, Manifest
from dawn_runtime.options import add_policy_flags, add_rule_flag, rules_help
from dawn_runtime.results import Result
from dawn_runtime.rules import takes_cache
from dawn_runtime.settings import Settings, make_plan

_HEAD = (
    f"{'policy':<14}{'cache':<18}{'tokens/s':>9}{'x first':>8}{'forwards':>9}{'rows fed':>9}"
    f"{'ms/forward':>11}{'outside %':>10}"
)

_LEGEND = (
    "x first: tokens/s, those of the first line being 1; forwards: runs of the engine; rows fed: "
    "positions computed in them; outside %: share of the time spent outside the engine"
)
_MOST_TOKENS = 2**24
"""In the rows of a batch together; far more than any machine decodes at once."""

_PAIRED = "; x ARTIFACT: how many times as fast as the first artifact, in the median of all turns"


@dataclass(frozen=True)
class Measurement:
    """What one combination took; medians over the repetitions.

    Attributes:
        policy: Name of the rule.
        cache: Cache strategy as given.
        tokens_per_second: New tokens of all rows, over the wall time of the call.
        seconds: That wall time, opening passes included.
        forwards: Runs of the engine that the longest row took part in.
        rows_fed: Positions fed, over all rows and runs.
        milliseconds_per_forward: `seconds` over `forwards`.
        outside_share: Part of `seconds` that was not spent inside the engine.
        artifact: Folder of the artifact.
        speedup: Seconds of the first artifact over those of this one in the same turn, median.
    """

    policy: str
    cache: str
    tokens_per_second: float
    seconds: float
    forwards: int
    rows_fed: int
    milliseconds_per_forward: float
    outside_share: float
    artifact: str
    speedup: float


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(
        "dawn-bench",
        "Time whole answers, every token decoded, prompts of random tokens. Prints a table and one "
        "line of JSON; with --json the line alone.",
    )
    parser.add_argument("artifact", type=place, help="artifact folder")
    parser.add_argument(
        "--prompt-tokens", type=count, default=128, metavar="N", help="default: 128"
    )
    parser.add_argument("--new-tokens", type=count, default=128, metavar="N", help="default: 128")
    add_policy_flags(
        parser, "; may be repeated, without --set; default: the artifact's", action="append"
    )
    add_rule_flag(
        parser,
        "cache",
        "; may be repeated; default: the artifact's own, none and dual",
        action="append",
    )
    add_rule_flag(parser, "window")
    add_rule_flag(parser, "guard", "; may be repeated, all of them together", action="append")
    parser.add_argument("--block-length", type=count, metavar="N", help="default: the artifact's")
    parser.add_argument("--batch", type=count, default=1, metavar="N", help="rows; default: 1")
    parser.add_argument(
        "--compare",
        type=place,
        action="append",
        default=[],
        metavar="ARTIFACT",
        help="another artifact of the model, timed in turn with the first; may be repeated",
    )
    add_engine_flags(parser, prefix_megabytes=0)
    parser.add_argument("--repeat", type=count, default=3, metavar="N", help="default: 3")
    parser.epilog = rules_help()
    return parser


def _work(args: argparse.Namespace) -> None:
    if args.set and len(args.policy or ()) > 1:
        raise OptionError("--set goes with a single --policy; time the others in runs of their own")
    measured: list[Measurement] = []
    paths = [args.artifact, *args.compare]
    manifests = [read_manifest(path) for path in paths]
    first = manifests[0]
    _check_same_model(first, manifests, paths)
    combinations = [
        _settings(policy, cache, args)
        for policy in args.policy or [first.decoding.policy]
        for cache in args.cache or _caches(policy, first.decoding)
    ]
    _check(args, combinations, manifests)
    with ExitStack() as stack:
        decoders: list[Decoder] = []
        for path in paths:
            decoders.append(stack.enter_context(open_decoder(args, path)))
            if args.threads is None and decoders[0].threads is not None:
                args.threads = decoders[0].threads.count  # the others are timed with as many
        prompts = _prompts(first, args.batch, args.prompt_tokens)
        if not args.json:
            print(f"{_machine(decoders[0])}\n{_head(args)}", flush=True)
        for settings in combinations:
            new = _measure(decoders, paths, prompts, settings, args)
            measured += new
            if not args.json:
                print(*(_line(one, measured[0], args) for one in new), sep="\n", flush=True)
        document = _report(args, decoders[0], measured)
    if not args.json and not args.quiet:
        print(_LEGEND + (_PAIRED if args.compare else ""))
    print_json(document)


def _caches(policy: str, defaults: DecodingDefaults) -> list[str]:
    """The caches that are timed unless some are named: those that the policy takes."""
    own = [defaults.cache] if policy == defaults.policy and defaults.cache is not None else []
    return list(dict.fromkeys([*own, "none", *(["dual"] if takes_cache(policy) else [])]))


def _check(
    args: argparse.Namespace, combinations: Sequence[Settings], manifests: Sequence[Manifest]
) -> None:
    """Refuses what would fail after the first of many timings, or before it in vast arrays.

    Raises:
        OptionError: A combination has an unknown name or a bad option, or there is no room.
    """
    asked = args.prompt_tokens + args.new_tokens
    for manifest in manifests:
        if asked > manifest.dims.max_length:
            raise OptionError(
                f"--prompt-tokens and --new-tokens: a prompt of {args.prompt_tokens} tokens and "
                f"{args.new_tokens} new ones exceed the context of {manifest.dims.max_length}"
            )
        for settings in combinations:
            make_plan(settings, manifest.decoding, manifest.attention)
    if args.batch * asked > _MOST_TOKENS:
        raise OptionError(
            f"--batch is {args.batch}: {args.batch * asked} tokens in all; expected at most "
            f"{_MOST_TOKENS}"
        )


def _check_same_model(first: Manifest, others: Sequence[Manifest], paths: Sequence[Path]) -> None:
    """Refuses to time answers of different models against each other."""
    for other, path in zip(others, paths, strict=True):
        if replace(other.dims, max_length=0) != replace(first.dims, max_length=0):
            raise OptionError(
                f"--compare {path}: its sizes are not those of {paths[0]}; "
                "give artifacts of one model"
            )


def _settings(policy: str, cache: str, args: argparse.Namespace) -> Settings:
    return {
        "max_new_tokens": args.new_tokens,
        "policy": policy,
        "options": key_values(args.set),
        "cache": cache,
        "window": args.window,
        "guard": args.guard,
        "block_length": args.block_length,
        "fallback_length": 0,
        "stop_at_eos": False,
    }


def _measure(
    decoders: Sequence[Decoder],
    paths: Sequence[Path],
    prompts: list[IntArray],
    settings: Settings,
    args: argparse.Namespace,
) -> list[Measurement]:
    """Decodes the same prompts again and again, after two steps to warm up; artifacts in turn."""
    warm_up: Settings = {**settings, "max_forwards": 2}
    for decoder in decoders:
        decoder.generate_batch(prompts, **warm_up)
    turns = [
        [decoder.generate_batch(prompts, **settings) for decoder in decoders]
        for _ in range(args.repeat)
    ]
    cache = str(settings["cache"])
    return [
        _summary(str(path), cache, [turn[place] for turn in turns], [turn[0] for turn in turns])
        for place, path in enumerate(paths)
    ]


def _summary(
    artifact: str, cache: str, runs: list[list[Result]], first: list[list[Result]]
) -> Measurement:
    """Medians over the runs of one artifact, and beside those of the first one."""
    seconds = statistics.median(run[0].seconds for run in runs)
    forwards = max(result.forwards for result in runs[0])
    pairs = zip(first, runs, strict=True)
    return Measurement(
        policy=runs[0][0].policy,
        cache=cache,
        tokens_per_second=sum(len(result.tokens) for result in runs[0]) / seconds,
        seconds=seconds,
        forwards=forwards,
        rows_fed=sum(result.rows_fed for result in runs[0]),
        milliseconds_per_forward=1e3 * seconds / forwards,
        outside_share=statistics.median(_outside(run[0]) for run in runs),
        artifact=artifact,
        speedup=statistics.median(theirs[0].seconds / own[0].seconds for theirs, own in pairs),
    )


def _outside(result: Result) -> float:
    return 1 - result.engine_seconds / result.seconds


def _prompts(manifest: Manifest, rows: int, length: int) -> list[IntArray]:
    """Random tokens of the vocabulary without the special ones, the same at every call."""
    ordinary = np.setdiff1d(np.arange(manifest.dims.vocab_size), manifest.tokens.all)
    return list(np.random.default_rng(0).choice(ordinary, size=(rows, length)))


def _head(args: argparse.Namespace) -> str:
    """Names of the columns; those of a comparison are there if there is one."""
    return f"{_HEAD}{'x ARTIFACT':>12}  artifact" if args.compare else _HEAD


def _line(one: Measurement, first: Measurement, args: argparse.Namespace) -> str:
    paired = f"{one.speedup:>12.2f}  {one.artifact}" if args.compare else ""
    return (
        f"{one.policy:<14}{one.cache:<18}{one.tokens_per_second:>9.2f}"
        f"{one.tokens_per_second / first.tokens_per_second:>8.2f}{one.forwards:>9}"
        f"{one.rows_fed:>9}{one.milliseconds_per_forward:>11.2f}{100 * one.outside_share:>10.1f}"
        f"{paired}"
    )


def _report(
    args: argparse.Namespace, decoder: Decoder, measured: list[Measurement]
) -> dict[str, Any]:
    names = ("prompt_tokens", "new_tokens", "window", "guard", "block_length", "batch", "repeat")
    return {
        "artifact": str(args.artifact),
        "machine": _machine(decoder),
        "threads": None if decoder.threads is None else decoder.threads.count,
        **{name: getattr(args, name) for name in names},
        "measured": [asdict(one) for one in measured],
    }


def _machine(decoder: Decoder) -> str:
    threads = f"{os.cpu_count()} cores" if decoder.threads is None else decoder.threads.line()
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{platform.machine()}, {sys.platform}, {python}, {threads}"
