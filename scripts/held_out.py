"""Held-out items decoded and judged: what the scripts that measure accuracy share."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from dawn_calibration.tasks import TASKS, Item, items
from dawn_calibration.tasks.base import Verdict
from dawn_runtime import Decoder, Result
from dawn_runtime.cli.common import Parser, count
from dawn_runtime.settings import Settings


@dataclass(frozen=True)
class Answers:
    """Answers to the items of one task.

    Attributes:
        items: what was asked.
        results: what was answered, item by item.
        verdicts: whether it is right.
        seconds: wall time of all batches.
    """

    items: list[Item]
    results: list[Result]
    verdicts: list[Verdict]
    seconds: float


def add_item_flags(
    parser: Parser, *, batch: int, of: str = "task", block_length: int | None = 32
) -> None:
    """Add the flags that say which items are decoded, and how many at once.

    Args:
        parser: Gets them.
        batch: Items decoded together unless said otherwise.
        of: What `--items` are of.
        block_length: Unless said otherwise; None is the artifact's.
    """
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--items", type=count, default=100, help=f"held-out items of each {of}")
    parser.add_argument("--max-new-tokens", type=count, default=64)
    parser.add_argument("--block-length", type=count, default=block_length)
    parser.add_argument("--batch", type=count, default=batch, help="items decoded together")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=count)


def answer(
    decoder: Decoder, task: str, arguments: argparse.Namespace, settings: Settings
) -> Answers:
    """Decode the items that the flags of `add_item_flags` ask for and judge the answers."""
    drawn = list(itertools.islice(items(TASKS[task], "heldout", arguments.seed), arguments.items))
    results: list[Result] = []
    seconds = 0.0
    for batch in batches(decoder, drawn, arguments.batch, settings):
        seconds += batch[0].seconds  # that of the whole batch
        results += batch
    return Answers(drawn, results, judged(task, drawn, results), seconds)


def batches(
    decoder: Decoder, asked: list[Item], size: int, settings: Settings
) -> Iterator[list[Result]]:
    """Decodes items, so many together, and gives out the answers batch by batch."""
    prompts = [[{"role": "user", "content": item.prompt}] for item in asked]
    for start in range(0, len(prompts), size):
        yield decoder.generate_batch(prompts[start : start + size], **settings)


def judged(task: str, asked: list[Item], results: list[Result]) -> list[Verdict]:
    """Says of each answer whether it is right."""
    pairs = zip(asked, results, strict=True)
    return [TASKS[task].check(item, result.text) for item, result in pairs]
