"""How much of the time of a run grows with what it feeds, worked out from steps that were timed."""

import pytest

from bench_rows import Cost, growing, kinds


def costs(*found: float) -> list[Cost]:
    return [Cost(step, 1.0, cost) for step, cost in zip(kinds(4), (1.0, *found), strict=False)]


@pytest.mark.parametrize(
    ("found", "share"),
    [
        ((2.0, 3.0, 4.0), 1.0),
        ((1.0, 1.0, 1.0), 0.0),
        ((1.75, 2.5, 3.25), 0.75),
        ((1.75, 2.0, 9.0), 0.75),  # the shares are 0.75, 0.5 and 2.67: the one in the middle
        ((0.9, 0.8, 0.7), 0.0),
        ((2.5, 4.0, 5.5), 1.0),
    ],
)
def test_the_share_is_the_slope_of_what_tokens_add(found: tuple[float, ...], share: float) -> None:
    assert growing(costs(*found)) == pytest.approx(share)


def test_a_draft_in_the_row_feeds_half_of_the_block() -> None:
    assert [(step.how, step.batch, step.fed) for step in kinds(6) if step.tries in (0, 2)] == [
        ("plain", 1, 6),
        ("rows", 3, 6),
        ("shared", 1, 12),
    ]
