"""Which settings no other beats: as right or more at no more cost, and better in one of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Point = tuple[float, ...]
"""The share of right answers, then one cost or several."""


def beats(one: Point, other: Point) -> bool:
    """Whether a point is at least as good as another in all and better in one."""
    no_worse = one[0] >= other[0] and all(
        ours <= theirs for ours, theirs in zip(one[1:], other[1:], strict=True)
    )
    return no_worse and one != other


def front(points: Sequence[Point]) -> list[int]:
    """Returns the numbers of the points that none beats, by the first cost; of equals the first."""
    kept = [
        number
        for number, point in enumerate(points)
        if point not in points[:number] and not any(beats(other, point) for other in points)
    ]
    return sorted(kept, key=lambda number: points[number][1])


def far_behind(point: Point, others: Iterable[Point]) -> bool:
    """Whether another point is right as often for half of the first cost, or for less."""
    return any(other[0] >= point[0] and 2 * other[1] <= point[1] for other in others)


def thinned(numbers: Sequence[int], most: int) -> list[int]:
    """Returns at most so many, evenly spread: both ends, or the last if it is to be one."""
    if len(numbers) <= most:
        return list(numbers)
    if most == 1:
        return [numbers[-1]]
    last = len(numbers) - 1
    return [numbers[round(place * last / (most - 1))] for place in range(most)]
