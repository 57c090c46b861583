"""What accuracy hides: answers of B that are others than those of A, right or wrong.

Two artifacts may be right equally often and on other questions. What a user of A notices of B is
how many answers change, how much of them, and how early decoding goes another way.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from dawn_calibration.answers import agreement
from dawn_runtime import Result


@dataclass(frozen=True, slots=True)
class Churn:
    """Changes from A to B; shares of the answers from 0 to 1.

    Attributes:
        changed: Answers that are not the same to the last token.
        equal_tokens: Tokens that are the same at the same place, of the longer of the two answers;
            mean over answers.
        diverged: Answers of which some step decides something else, whatever comes out.
        first_divergence: The first such step, counted from 0, median over these; None if there are
            none.
        lost: Answers that are right on A alone; None if nobody judges.
        gained: Those that are right on B alone.
    """

    changed: float
    equal_tokens: float
    diverged: float
    first_divergence: float | None
    lost: float | None
    gained: float | None


def churn_of(
    left: Sequence[Result],
    right: Sequence[Result],
    verdicts: tuple[Sequence[bool], Sequence[bool]] | None = None,
) -> Churn:
    """Returns how answers change from A to B.

    Args:
        left: Answers of A, at least one.
        right: Those of B to the same prompts.
        verdicts: Which of A's are right, and which of B's; None if nobody judges.
    """
    pairs = list(zip(left, right, strict=True))
    shares = [agreement(theirs.tokens, ours.tokens) for ours, theirs in pairs]
    steps = [divergence(ours, theirs) for ours, theirs in pairs]
    parted = [step for step in steps if step is not None]
    judged = None if verdicts is None else list(zip(*verdicts, strict=True))
    return Churn(
        changed=statistics.mean(share < 1 for share in shares),
        equal_tokens=statistics.mean(shares),
        diverged=len(parted) / len(steps),
        first_divergence=statistics.median(parted) if parted else None,
        lost=None if judged is None else statistics.mean(a and not b for a, b in judged),
        gained=None if judged is None else statistics.mean(b and not a for a, b in judged),
    )


def divergence(left: Result, right: Result) -> int | None:
    """Returns the first step that decides other tokens or positions, None if none does.

    Args:
        left: An answer.
        right: Another to the same prompt.
    """
    ours, theirs = _decisions(left), _decisions(right)
    differing = [step for step in {*ours, *theirs} if ours[step] != theirs[step]]
    return min(differing, default=None)


def _decisions(result: Result) -> defaultdict[int, set[tuple[int, int]]]:
    """Step -> positions and tokens that it decided."""
    found: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    for commit in result.trace:
        found[commit.step].add((commit.position, commit.token))
    return found
