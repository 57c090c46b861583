"""Places of rows in memory for keys: the short way of most steps, and the long one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import EngineError
from dawn_runtime.places import Rearrangement, rearrangement

KEYS = st.lists(st.integers(0, 5), unique=True, max_size=4)
SLOTS = st.integers(0, 6)


def plain(
    rows: tuple[int, ...], slots: int, wanted: dict[int, int], rewritten: list[int], room: int
) -> Rearrangement:
    """The rule in words: who stays keeps its order, and P shrinks only where all is moved."""
    staying = [row for row in rows if row in wanted]
    after = (*staying, *(row for row in wanted if row not in staying))
    most = max([0, *wanted.values()])
    everything_new = all(row in rewritten for row in after)
    if not everything_new and staying == list(rows):
        most = max(most, slots)
    if len(after) * most > room:
        raise EngineError("too small")
    moves = not everything_new and (staying != list(rows) or most != slots)
    return Rearrangement(after, most, [rows.index(row) for row in staying] if moves else None)


@given(KEYS, SLOTS, st.dictionaries(st.integers(0, 5), SLOTS, max_size=4), KEYS, st.booleans())
def test_places_are_what_the_plain_rule_gives(
    rows: list[int], slots: int, wanted: dict[int, int], rewritten: list[int], small: bool
) -> None:
    # Those that have a place fit.
    room = len(rows) * slots + (0 if small else 24)
    given_ = (tuple(rows), slots if rows else 0, wanted, rewritten, room)
    try:
        expected = plain(*given_)
    except EngineError:
        with pytest.raises(EngineError, match="there is room for"):
            rearrangement(*given_)
    else:
        assert rearrangement(*given_) == expected


def test_a_step_in_which_nothing_changes_moves_nothing() -> None:
    assert rearrangement((3, 1), 8, {3: 8, 1: 2}, [], 16) == Rearrangement((3, 1), 8, None)
