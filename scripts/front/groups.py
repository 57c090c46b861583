"""Tasks by what is asked of a decoder, which is what decides where a rule wins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

ALL: Final = "all"
"""The group of every task."""


def group_of(task: str) -> str:
    """Returns the group of a task.

    In `coupled` tasks several answers are right and parts of them must agree; `arithmetic` has to
    be worked out; the answers of all others are `copied`, in some order, from the question.
    """
    if task.startswith("coupled-"):
        return "coupled"
    return "arithmetic" if task == "arithmetic" else "copied"


def groups(tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Returns the tasks of each group that has any, all of them together first."""
    found: dict[str, tuple[str, ...]] = {ALL: tuple(tasks)}
    for task in tasks:
        found[group_of(task)] = (*found.get(group_of(task), ()), task)
    return found
