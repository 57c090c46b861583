"""Whether FreeDave at temperature 0 decodes what one token per step decodes, and in how many runs.

    python scripts/compare_freedave.py build/tiny-dream build/tiny-llada --items 25 --cache dual

Both answer the same held-out items, 25 of each task here. A line of the table is one
artifact: items, answers that differ, and runs of the engine that either takes an item. The status
is 1 if an answer differs. Drafts run side by side, so a tie in the last bit of a confidence may
break the other way, and a model that predicts the next token has no row for the first position of a
block if there is a cache: such answers may differ, all others must not.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

from dawn_runtime import Decoder, Result
from dawn_runtime.cli.common import Parser, print_json, run_command
from dawn_runtime.errors import DawnError
from held_out import add_item_flags, answer

SLOW, FAST = "one-per-step", "freedave"
HEAD = f"{'artifact':<16}{'items':>7}{'differ':>8}{SLOW:>14}{FAST:>10}"


def main() -> int:
    """Decode with both and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("compare_freedave", "FreeDave beside one token per step.")
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT")
    parser.add_argument("--cache", default="none", help="cache of both")
    add_item_flags(parser, batch=1)
    return parser


def _work(arguments: argparse.Namespace) -> None:
    table = sys.stderr if arguments.json else sys.stdout
    print(HEAD, file=table)
    found = []
    for artifact in arguments.artifacts:
        with Decoder.open(artifact, threads=arguments.threads) as decoder:
            one = compared(decoder, arguments)
        found.append({"artifact": artifact.name, **one})
        print(
            f"{artifact.name:<16}{one['items']:>7}{one['differ']:>8}"
            f"{one[SLOW]:>14.1f}{one[FAST]:>10.1f}",
            file=table,
            flush=True,
        )
    if arguments.json:
        print_json({"cache": arguments.cache, "seed": arguments.seed, "artifacts": found})
    if differing := [each["artifact"] for each in found if each["differ"]]:
        raise DawnError(f"answers differ on {', '.join(differing)}")


def compared(decoder: Decoder, arguments: argparse.Namespace) -> dict[str, Any]:
    """Counts items, answers that differ, and mean runs of either."""
    slow, fast = (_answers(decoder, policy, arguments) for policy in (SLOW, FAST))
    pairs = list(zip(slow, fast, strict=True))
    return {
        "items": len(pairs),
        "differ": sum(left.tokens.tolist() != right.tokens.tolist() for left, right in pairs),
        SLOW: statistics.mean(result.forwards for result in slow),
        FAST: statistics.mean(result.forwards for result in fast),
    }


def _answers(decoder: Decoder, policy: str, arguments: argparse.Namespace) -> list[Result]:
    return [
        result
        for task in arguments.tasks
        for result in answer(
            decoder,
            task,
            arguments,
            {
                "policy": policy,
                "cache": arguments.cache,
                "max_new_tokens": arguments.max_new_tokens,
                "block_length": arguments.block_length,
            },
        ).results
    ]


if __name__ == "__main__":
    sys.exit(main())
