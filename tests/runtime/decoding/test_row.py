"""Windows over a row, and the row itself: commits, the end of an answer, the trace."""

from dataclasses import replace

import numpy as np
import pytest

from dawn_runtime import Blocks, OnePerStep, OptionError, Single, Threshold
from dawn_runtime.decoding import WINDOWS, RowState
from support.decoding import DAWN, END, MASK, commit, run, same_row


def test_blocks_follow_the_first_undecided_position() -> None:
    row = RowState.begin(np.arange(3), 10, MASK)
    window = Blocks(4)
    assert window.span(row) == (3, 7)
    some = commit(row, [3, 5], 1, 1)
    assert window.span(some) == (3, 7)
    full = commit(some, [4, 6], 1, 1)
    assert window.span(full) == (7, 11)
    last = commit(full, np.arange(7, 11), 1, 1)
    assert window.span(last) == (11, 13), "the last block is shorter"


def test_single_is_one_block_of_the_whole_answer() -> None:
    assert Single().span(RowState.begin(np.arange(3), 10, MASK)) == (3, 13)


@pytest.mark.parametrize("length", [0, -1, 1.5, True, "8"])
def test_block_length_must_be_a_positive_integer(length: object) -> None:
    with pytest.raises(OptionError, match=r"window 'blocks': block_length is .* integer >= 1"):
        WINDOWS.make("blocks", {"block_length": length})


def test_blocks_as_long_as_the_answer_equal_a_single_block() -> None:
    for policy in (OnePerStep(), Threshold(0.6), DAWN):
        blocks, single = (
            run([[1, 2, 3]], 20, policy, window).row(0) for window in (Blocks(20), Single())
        )
        assert same_row(blocks, single)


def test_steps_leave_earlier_states_alone() -> None:
    row = RowState.begin(np.array([5, 6]), 2, MASK)
    later = commit(row, [3], 9, 0.5)
    assert row.ids.tolist() == [5, 6, MASK, MASK]
    assert later.ids.tolist() == [5, 6, MASK, 9]
    with pytest.raises(ValueError, match="read-only"):
        later.ids[0] = 1


def test_answer_ends_before_the_first_end_token_of_the_decided_prefix() -> None:
    row = RowState.begin(np.array([END]), 4, MASK, (END,))
    assert row.end is None, "an end token of the prompt does not count"
    early = commit(row, [2], END, 1)
    assert (early.end, early.answer.tolist()) == (None, []), "position 1 is still open"
    done = commit(early, [1], 7, 1)
    assert (done.end, done.answer.tolist(), done.finished) == (2, [7], True)


def test_a_row_that_ends_elsewhere_looks_for_its_end_anew() -> None:
    row = commit(RowState.begin(np.array([5]), 4, MASK, (END,)), [1, 2], [7, END], 1)
    assert row.end == 2
    assert replace(row, final=2).end is None
    assert replace(row, end_tokens=(7,)).end == 1
    assert row.end == 2


def test_the_end_of_a_row_is_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, look = [], RowState._first_end

    def noted(row: RowState) -> int | None:
        looked.append(row)
        return look(row)

    monkeypatch.setattr(RowState, "_first_end", noted)
    row = commit(RowState.begin(np.array([5]), 4, MASK, (END,)), [1, 2], [7, END], 1)
    assert (row.end, row.finished, row.answer.tolist(), row.end) == (2, True, [7], 2)
    assert looked == [row]


def test_trace_lists_commits_by_step_and_position() -> None:
    row = RowState.begin(np.array([5]), 3, MASK)
    row = commit(row, [3, 1], [8, 9], [0.5, 0.25])
    row = commit(row, [2], 7, 1)
    found = [(c.step, c.position, c.token, c.confidence) for c in row.trace()]
    assert found == [(0, 1, 9, 0.25), (0, 3, 8, 0.5), (1, 2, 7, 1.0)]
