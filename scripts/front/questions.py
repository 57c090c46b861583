r"""Items on which settings are chosen, and others on which they are judged.

Both are held out from training. Which of the two an item is for is a function of its task and key::

    for choosing  if  sha256("front\n" + task + "\n" + key) mod 5 == 0      (first byte)

so that no problem is ever on both sides, however many are drawn and from whatever seed. A problem
comes once; a task may have fewer of them than are asked for.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal

from dawn_calibration.tasks import TASKS, Item, items

Phase = Literal["choose", "judge"]

_CHOOSE_ONE_IN = 5
_PATIENCE: Final = 1000
"""Draws of a side that bring no new problem, after which there are no more."""


def phase_of(item: Item) -> Phase:
    """Returns what an item is for."""
    digest = hashlib.sha256(f"front\n{item.task}\n{item.key}".encode()).digest()
    return "choose" if digest[0] % _CHOOSE_ONE_IN == 0 else "judge"


def questions(task: str, phase: Phase, count: int, seed: int) -> list[Item]:
    """Draws different problems.

    Args:
        task: Name of a task.
        phase: What they are for.
        count: How many; fewer come if the task has fewer.
        seed: Of the draw.
    """
    found: dict[str, Item] = {}
    in_vain = 0
    for item in items(TASKS[task], "heldout", seed):
        if len(found) == count or in_vain == _PATIENCE:
            break
        if phase_of(item) != phase:
            continue
        in_vain = in_vain + 1 if item.key in found else 0
        found.setdefault(item.key, item)
    return list(found.values())
