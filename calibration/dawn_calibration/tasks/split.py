r"""Train and held-out items, kept apart by the identity of the problem.

The side of an item is a function of its task and key alone::

    held out  if  sha256(task + "\n" + key) mod 10 == 0        (first 8 bytes, big endian)

Whatever the seed, process or wording, a problem is on one side only: nothing can leak.
"""

import hashlib
import random
from collections.abc import Iterator
from typing import Any, Literal, get_args

from dawn_calibration.tasks.base import Item, Task
from dawn_runtime.errors import DawnError

Split = Literal["train", "heldout"]
"""Side of an item: for training, or for measuring what was learned."""

_HELD_OUT_ONE_IN = 10


class SplitError(DawnError, ValueError):
    """A split that does not exist was asked for."""


def split_of(item: Item) -> Split:
    """Returns the side of an item; about a tenth of all keys is held out."""
    digest = hashlib.sha256(f"{item.task}\n{item.key}".encode()).digest()
    bucket = int.from_bytes(digest[:8], "big") % _HELD_OUT_ONE_IN
    return "heldout" if bucket == 0 else "train"


def items(task: Task[Any], split: Split, seed: int) -> Iterator[Item]:
    """Returns an endless stream of items of one side, the same for the same arguments.

    Items may repeat. Streams of different tasks, splits or seeds are independent.

    Args:
        task: A task, such as ``TASKS["sort"]``.
        split: ``"train"`` or ``"heldout"``.
        seed: Any integer.

    Raises:
        SplitError: `split` is neither of the two.
    """
    if split not in get_args(Split):
        raise SplitError(f"got split {split!r}, expected one of {get_args(Split)}")
    # A text seeds through sha512, hence alike in every process.
    return _stream(task, split, random.Random(f"{task.name}\n{split}\n{seed}"))


def _stream(task: Task[Any], split: Split, rng: random.Random) -> Iterator[Item]:
    while True:
        item = task.generate(rng)
        if split_of(item) == split:
            yield item
