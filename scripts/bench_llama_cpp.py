"""Tokens a second of llama.cpp, one token a run, on random weights of the geometry of a checkpoint.

    python scripts/bench_llama_cpp.py build/random-0.6b --family a2d-mdlm --threads 2 --tool TOOL

What `bench_causal` is held against: prompts, new tokens, rows and threads mean the same. TOOL is
the path of llama.cpp's own `llama-batched-bench`. It runs on the CPU, several times for each type
of weights, types in turn, and picks no token from what it computes. All matrices have the type,
that of the embedding too. Standard output gets a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dawn_models import CheckpointError, Told, read_config
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.errors import DawnError
from random_gguf import TYPES, write_random

HEAD = f"{'type':<6}{'MB':>8}{'batch':>6}{'tokens/s':>10}{'of all turns':>18}{'prefill ms':>12}"


@dataclass(frozen=True)
class Timed:
    """What a type of weights took with a number of rows; medians of all turns.

    Attributes:
        kind: of the weights.
        nbytes: of the file.
        batch: rows.
        tokens_per_second: of all rows together, the prefill apart.
        spread: the least and the greatest of them.
        prefill_milliseconds: of all prompts.
    """

    kind: str
    nbytes: int
    batch: int
    tokens_per_second: float
    spread: tuple[float, float]
    prefill_milliseconds: float

    def line(self) -> str:
        """For people; columns as in `HEAD`."""
        low, high = self.spread
        return (
            f"{self.kind:<6}{self.nbytes / 1e6:>8.1f}{self.batch:>6}{self.tokens_per_second:>10.2f}"
            f"{f'{low:.2f}-{high:.2f}':>18}{self.prefill_milliseconds:>12.1f}"
        )


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work, errors=(CheckpointError,))


def _parser() -> Parser:
    parser = Parser("bench_llama_cpp", "Tokens a second of llama.cpp on random weights.")
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--family", help="as for dawn-export")
    parser.add_argument("--tool", type=Path, required=True, help="llama-batched-bench")
    parser.add_argument("--types", nargs="+", choices=list(TYPES), default=list(TYPES))
    parser.add_argument("--batch", type=count, nargs="+", default=[1, 4], metavar="N")
    parser.add_argument("--prompt-tokens", type=count, default=128)
    parser.add_argument("--new-tokens", type=count, default=128)
    parser.add_argument("--threads", type=count, default=2)
    parser.add_argument("--repeat", type=count, default=5, help="turns")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    _, config = read_config(arguments.checkpoint, told=Told(family=arguments.family))
    turns: dict[str, list[dict[int, tuple[float, float]]]] = {kind: [] for kind in arguments.types}
    with tempfile.TemporaryDirectory() as scratch:
        files = {kind: Path(scratch) / f"{kind}.gguf" for kind in arguments.types}
        sizes = {kind: write_random(file, config, kind) for kind, file in files.items()}
        for _ in range(arguments.repeat):
            for kind, file in files.items():
                turns[kind].append(one_turn(arguments, file))
    found = [
        timed(kind, sizes[kind], batch, [turn[batch] for turn in own])
        for kind, own in turns.items()
        for batch in arguments.batch
    ]
    output = sys.stderr if arguments.json else sys.stdout
    print(HEAD, *(one.line() for one in found), sep="\n", file=output)
    if arguments.json:
        names = ("prompt_tokens", "new_tokens", "threads", "repeat")
        said = {name: getattr(arguments, name) for name in names}
        print_json(
            {"checkpoint": str(arguments.checkpoint), **said, "timed": list(map(asdict, found))}
        )


def one_turn(arguments: argparse.Namespace, file: Path) -> dict[int, tuple[float, float]]:
    """Runs the tool once; returns by rows tokens a second, and seconds of the prefill.

    Raises:
        DawnError: it failed, or said something else.
    """
    room = max(arguments.batch) * (arguments.prompt_tokens + arguments.new_tokens)
    flags = {
        "-m": file,
        "-c": room,
        "-npp": arguments.prompt_tokens,
        "-ntg": arguments.new_tokens,
        "-npl": ",".join(map(str, arguments.batch)),
        "-t": arguments.threads,
        "-tb": arguments.threads,
        "-ngl": 0,
        "--output-format": "jsonl",
    }
    command = [str(arguments.tool), *(str(part) for flag in flags.items() for part in flag)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, errors="replace")
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    try:
        told = [json.loads(line) for line in lines]
        found = {one["pl"]: (float(one["speed_tg"]), float(one["t_pp"])) for one in told}
    except (ValueError, KeyError, TypeError) as error:
        raise DawnError(f"{arguments.tool}: got {lines[0][:200]!r}, expected timings") from error
    if done.returncode or set(found) != set(arguments.batch):
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise DawnError(f"{arguments.tool}: status {done.returncode}, and it said {last[:200]!r}")
    return found


def timed(kind: str, nbytes: int, batch: int, turns: Sequence[tuple[float, float]]) -> Timed:
    """What comes of the turns.

    Args:
        kind: of the weights.
        nbytes: of the file.
        batch: rows.
        turns: tokens a second and seconds of the prefill.
    """
    speeds = [speed for speed, _ in turns]
    prefill = 1e3 * statistics.median(seconds for _, seconds in turns)
    spread = (min(speeds), max(speeds))
    return Timed(kind, nbytes, batch, statistics.median(speeds), spread, prefill)


if __name__ == "__main__":
    sys.exit(main())
