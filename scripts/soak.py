"""Whether memory stays flat: many generations of mixed lengths in one process.

    python scripts/soak.py build/tiny-dream
    python scripts/soak.py build/tiny-dream --generations 1000 --warm-up 300 --seed 1

Each generation draws its prompt, its length, the number of rows, the policy and the cache, so that
the engine meets ever new shapes. Measured is the resident memory of the process (Linux) after each
of them. The warm-up, in which the allocators reach their working size, is not counted. Growth is
what the straight line through all sizes rises from the first generation to the last, over their
mean: glibc's malloc hands a few pages back and takes them again, by one percent or two of a small
model's process, which two single sizes would show as growth. MALLOC_MMAP_THRESHOLD_=131072 in the
environment keeps it still.

Standard output gets a table and one line of JSON; with --json that line alone. The exit status is 1
if memory grew by more than --limit percent.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime import Decoder
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.decoding import CACHES, Causal
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.policies import POLICIES

PARTS = 10
MOST_ROWS = 3


@dataclass(frozen=True)
class Request:
    """What one generation asks for."""

    prompts: list[list[int]]
    settings: dict[str, Any]


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("soak", "Resident memory over many generations of mixed lengths.")
    parser.add_argument("artifact", type=Path, help="artifact folder")
    parser.add_argument("--generations", type=count, default=1000, metavar="N")
    parser.add_argument("--warm-up", type=count, default=300, metavar="N", help="not counted")
    parser.add_argument(
        "--most-forwards", type=count, default=8, metavar="N", help="runs of the engine for each"
    )
    parser.add_argument("--longest", type=count, metavar="N", help="tokens; default: the model's")
    parser.add_argument("--limit", type=float, default=1.0, metavar="PERCENT")
    parser.add_argument("--threads", type=count, default=1, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _work(args: argparse.Namespace) -> None:
    if args.generations < PARTS:
        raise OptionError(f"generations: got {args.generations}, expected at least {PARTS}")
    with Decoder.open(args.artifact, threads=args.threads) as decoder:
        requests = _requests(decoder, args)
        for _ in range(args.warm_up):
            _decode(decoder, next(requests))
        sizes = [_decode(decoder, next(requests)) for _ in range(args.generations)]
    parts = [statistics.median(part.tolist()) / 1e6 for part in np.array_split(sizes, PARTS)]
    growth = 100 * _rise(np.array(sizes)) / statistics.mean(sizes)
    if not args.json:
        print(f"{'generations':<14}{'resident MB':>12}")
        for number, size in enumerate(parts, start=1):
            print(f"{'to ' + str(number * args.generations // PARTS):<14}{size:>12.1f}")
    names = ("artifact", "generations", "warm_up", "most_forwards", "threads", "seed")
    report = {name: getattr(args, name) for name in names}
    report |= {"artifact": str(args.artifact), "resident_mb": parts, "growth_percent": growth}
    print_json(report)
    sys.stdout.flush()
    if growth > args.limit:
        raise DawnError(f"memory grew by {growth:.2f} %, expected at most {args.limit:g} %")


def _rise(sizes: NDArray[np.int64]) -> float:
    """What the line of least squares rises from the first size to the last."""
    slope, _ = np.polyfit(np.arange(len(sizes)), sizes, 1)
    return float(slope) * (len(sizes) - 1)


def _requests(decoder: Decoder, args: argparse.Namespace) -> Iterator[Request]:
    """Draws requests without end, the same for a seed."""
    draw = np.random.default_rng(args.seed)
    manifest = decoder.manifest
    longest = min(args.longest or manifest.dims.max_length, manifest.dims.max_length)
    special = {manifest.tokens.mask, manifest.tokens.pad, *manifest.tokens.eos}
    ordinary = [token for token in range(manifest.dims.vocab_size) if token not in special]
    while True:
        new_tokens = int(draw.integers(1, longest // 2))
        lengths = draw.integers(1, longest - new_tokens, size=draw.integers(1, MOST_ROWS + 1))
        yield Request(
            [draw.choice(ordinary, size=length).tolist() for length in lengths],
            {
                "max_new_tokens": new_tokens,
                "policy": str(draw.choice(POLICIES.names())),
                "cache": str(draw.choice([name for name in CACHES.names() if name != Causal.name])),
                "max_forwards": args.most_forwards,
                "stop_at_eos": False,
                "fallback_length": 0,
            },
        )


def _decode(decoder: Decoder, request: Request) -> int:
    """Decodes once; returns the resident memory of this process in bytes."""
    decoder.generate_batch(request.prompts, **request.settings)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    sys.exit(main())
