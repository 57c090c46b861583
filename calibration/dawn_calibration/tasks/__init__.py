"""Tasks that a program makes and checks exactly, for training, tuning and measuring.

A new task is one file and one line in its group.

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
from dawn_calibration.tasks.coupled_calls import CoupledCalls
from dawn_calibration.tasks.coupled_code import CoupledCode
from dawn_calibration.tasks.coupled_names import CoupledNames
from dawn_calibration.tasks.coupled_phrases import CoupledPhrases
from dawn_calibration.tasks.coupled_record import CoupledRecord
from dawn_calibration.tasks.coupled_story import CoupledStory
from dawn_calibration.tasks.coupled_sudoku import CoupledSudoku
from dawn_calibration.tasks.coupled_tables import CoupledTables
from dawn_calibration.tasks.json_record import JsonRecord
from dawn_calibration.tasks.reverse import Reverse
from dawn_calibration.tasks.sorting import Sort
from dawn_calibration.tasks.split import Split, SplitError, items, split_of

__all__ = [
    "GROUPS",
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

_GROUPS: dict[str, tuple[Task[Any], ...]] = {
    "plain": (Arithmetic(), Sort(), Reverse(), JsonRecord(), Brackets()),
    "coupled": (CoupledNames(), CoupledPhrases(), CoupledCode()),
    "free": (CoupledRecord(), CoupledCalls(), CoupledTables(), CoupledStory(), CoupledSudoku()),
}

TASKS: Mapping[str, Task[Any]] = MappingProxyType(
    {task.name: task for group in _GROUPS.values() for task in group}
)
"""Every task by its name."""

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {name: tuple(task.name for task in group) for name, group in _GROUPS.items()}
)
"""Names of tasks by what is asked of a decoder.

``plain`` tasks have one right result. In ``coupled`` ones a few choices are right, whose likeliest
parts make no choice. In ``free`` ones many more answers are right than could be listed, and parts
that stand apart must agree.
"""
