"""`dawn-bench`: how fast an artifact decodes on this machine, cache by cache."""

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.cli.common import Parser, count, key_value, run_command
from dawn_runtime.cli.engine_flags import add_engine_flags, open_decoder
from dawn_runtime.decoder import Decoder
from dawn_runtime.decoding import CACHES, WINDOWS
from dawn_runtime.manifest import Manifest
from dawn_runtime.policies import POLICIES
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings

_HEAD = (
    f"{'policy':<14}{'cache':<18}{'tokens/s':>9}{'x first':>8}{'forwards':>9}{'rows fed':>9}"
    f"{'ms/forward':>11}{'outside %':>10}"
)

_LEGEND = (
    "x first: tokens/s, those of the first line being 1; forwards: runs of the engine; rows fed: "
    "positions computed in them; outside %: share of the time spent outside the engine"
)


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
    """

    policy: str
    cache: str
    tokens_per_second: float
    seconds: float
    forwards: int
    rows_fed: int
    milliseconds_per_forward: float
    outside_share: float


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser(
        "dawn-bench",
        "Time whole answers, every token decoded, prompts of random tokens. Prints a table and one "
        "line of JSON; with --json the line alone.",
    )
    parser.add_argument("artifact", type=Path, help="artifact folder")
    parser.add_argument(
        "--prompt-tokens", type=count, default=128, metavar="N", help="default: 128"
    )
    parser.add_argument("--new-tokens", type=count, default=128, metavar="N", help="default: 128")
    parser.add_argument(
        "--policy",
        action="append",
        metavar="NAME",
        help=f"one of {', '.join(POLICIES.names())}; may be repeated; default: the artifact's",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the policy; may be repeated; with a single --policy",
    )
    parser.add_argument(
        "--cache",
        action="append",
        metavar="NAME[:KEY=VALUE,...]",
        help=f"one of {', '.join(CACHES.names())}; may be repeated; default: none and dual",
    )
    parser.add_argument("--window", metavar="NAME", help=f"one of {', '.join(WINDOWS.names())}")
    parser.add_argument("--block-length", type=count, metavar="N", help="default: the artifact's")
    parser.add_argument("--batch", type=count, default=1, metavar="N", help="rows; default: 1")
    add_engine_flags(parser)
    parser.add_argument("--repeat", type=count, default=3, metavar="N", help="default: 3")
    return parser


def _work(args: argparse.Namespace) -> None:
    measured: list[Measurement] = []
    with open_decoder(args) as decoder:
        prompts = _prompts(decoder.manifest, args.batch, args.prompt_tokens)
        if not args.json:
            print(f"{_machine()}\n{_HEAD}", flush=True)
        for policy in args.policy or [decoder.manifest.decoding.policy]:
            for cache in args.cache or ["none", "dual"]:
                measured.append(_measure(decoder, prompts, policy, cache, args))
                if not args.json:
                    print(_line(measured[-1], measured[0]), flush=True)
    if not args.json and not args.quiet:
        print(_LEGEND)
    print(json.dumps(_report(args, measured)))


def _measure(
    decoder: Decoder,
    prompts: list[IntArray],
    policy: str,
    cache: str,
    args: argparse.Namespace,
) -> Measurement:
    """Decodes the same prompts again and again, after two steps to warm up."""
    settings: Settings = {
        "max_new_tokens": args.new_tokens,
        "policy": policy,
        "options": dict(map(key_value, args.set)),
        "cache": cache,
        "window": args.window,
        "block_length": args.block_length,
        "fallback_length": 0,
        "stop_at_eos": False,
    }
    warm_up: Settings = {**settings, "max_forwards": 2}
    decoder.generate_batch(prompts, **warm_up)
    runs = [decoder.generate_batch(prompts, **settings) for _ in range(args.repeat)]
    seconds = statistics.median(run[0].seconds for run in runs)
    forwards = max(result.forwards for result in runs[0])
    return Measurement(
        policy=runs[0][0].policy,
        cache=cache,
        tokens_per_second=args.new_tokens * len(prompts) / seconds,
        seconds=seconds,
        forwards=forwards,
        rows_fed=sum(result.rows_fed for result in runs[0]),
        milliseconds_per_forward=1e3 * seconds / forwards,
        outside_share=statistics.median(_outside(run[0]) for run in runs),
    )


def _outside(result: Result) -> float:
    return 1 - result.engine_seconds / result.seconds


def _prompts(manifest: Manifest, rows: int, length: int) -> list[IntArray]:
    """Random tokens of the vocabulary without the special ones, the same at every call."""
    tokens = manifest.tokens
    special = [tokens.mask, *tokens.eos, *([] if tokens.pad is None else [tokens.pad])]
    ordinary = np.setdiff1d(np.arange(manifest.dims.vocab_size), special)
    return list(np.random.default_rng(0).choice(ordinary, size=(rows, length)))


def _line(one: Measurement, first: Measurement) -> str:
    return (
        f"{one.policy:<14}{one.cache:<18}{one.tokens_per_second:>9.2f}"
        f"{one.tokens_per_second / first.tokens_per_second:>8.2f}{one.forwards:>9}"
        f"{one.rows_fed:>9}{one.milliseconds_per_forward:>11.2f}{100 * one.outside_share:>10.1f}"
    )


def _report(args: argparse.Namespace, measured: list[Measurement]) -> dict[str, Any]:
    names = ("prompt_tokens", "new_tokens", "window", "block_length", "batch", "threads", "repeat")
    return {
        "artifact": str(args.artifact),
        "machine": _machine(),
        **{name: getattr(args, name) for name in names},
        "measured": [asdict(one) for one in measured],
    }


def _machine() -> str:
    python = f"Python {platform.python_version()}, NumPy {np.__version__}"
    return f"{platform.machine()}, {os.cpu_count()} cores, {sys.platform}, {python}"
