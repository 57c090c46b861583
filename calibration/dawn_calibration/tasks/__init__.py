"""Tasks that a program makes and checks exactly, for training, tuning and measuring.

A new task is one file and one line in `TASKS`.

    >>> from dawn_calibration.tasks import TASKS, items
    >>> task = TASKS["sort"]
    >>> item = next(items(task, "heldout", seed=0))
    >>> task.check(item, item.answer).correct
    True
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dawn_calibration.tasks.arithmetic import Arithmetic
from dawn_calibration.tasks.base import Item, ItemError, Task, Verdict
from dawn_calibration.tasks.brackets import Brackets
from dawn_calibration.tasks.coupled_code import CoupledCode
from dawn_calibration.tasks.coupled_names import CoupledNames
from dawn_calibration.tasks.coupled_phrases import CoupledPhrases
from dawn_calibration.tasks.json_record import JsonRecord
from dawn_calibration.tasks.reverse import Reverse
from dawn_calibration.tasks.sorting import Sort
from dawn_calibration.tasks.split import Split, SplitError, items, split_of

__all__ = [
    "TASKS",
    "Item",
    "ItemError",
    "Split",
    "SplitError",
    "Task",
    "Verdict",
    "items",
    "split_of",
]

_ALL: tuple[Task[Any], ...] = (
    Arithmetic(),
    Sort(),
    Reverse(),
    JsonRecord(),
    Brackets(),
    CoupledNames(),
    CoupledPhrases(),
    CoupledCode(),
)

TASKS: Mapping[str, Task[Any]] = MappingProxyType({task.name: task for task in _ALL})
"""Every task by its name."""
