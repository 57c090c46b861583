"""Tasks by what is asked of a decoder, which is what decides where a rule wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dawn_calibration.tasks import GROUPS

ALL: Final = "all"
"""The group of every task."""


def group_of(task: str) -> str:
    """Returns the group of a task.

    Those of `dawn_calibration.tasks.GROUPS`, but that of the plain tasks, which have one right
    answer, `arithmetic` has to be worked out, and the others are `copied`, in some order, from the
    question.
    """
    (group,) = (name for name, tasks in GROUPS.items() if task in tasks)
    if group != "plain":
        return group
    return "arithmetic" if task == "arithmetic" else "copied"


def groups(tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the tasks of each group that has any, all of them together first."""
    found: dict[str, tuple[str, ...]] = {ALL: tuple(tasks)}
    for task in tasks:
        found[group_of(task)] = (*found.get(group_of(task), ()), task)
    return found
