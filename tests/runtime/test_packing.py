"""Plans become graph inputs: padding, the shift of Dream, any order."""

import numpy as np
import pytest

from dawn_runtime import OptionError
from dawn_runtime.decoding import RowPlan, RowState
from support.decoding import MASK, packer


def plan(fed: list[int], predicted: list[int], evidence: list[int]) -> RowPlan:
    arrays = [np.array(positions, dtype=np.int64) for positions in (fed, predicted, evidence)]
    return RowPlan((1, 2), arrays[1], *arrays)


def test_rows_of_different_length_are_padded_and_the_padding_is_invisible() -> None:
    rows = [RowState.begin(np.array(ids), 2, MASK) for ids in ([5], [6, 7, 8])]
    plans = [plan([0, 1, 2], [1, 2], [1]), plan([0, 1, 2, 3, 4], [4], [0, 4])]
    inputs = packer().pack(rows, plans)
    assert inputs.input_ids.tolist() == [[5, MASK, MASK, 0, 0], [6, 7, 8, MASK, MASK]]
    assert inputs.position_ids.tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert inputs.logit_rows.tolist() == [[1, 2], [4, 0]]
    assert inputs.attention_rows.tolist() == [[1, 0], [0, 4]]
    assert inputs.attention_mask.shape == (2, 1, 5, 5)
    assert inputs.attention_mask[0, 0].tolist() == [[True] * 3 + [False] * 2] * 5
    assert inputs.attention_mask[1].all()
    assert inputs.attention_mask.any(axis=-1).all(), "every query sees at least one key"


def test_padding_may_stand_on_the_left() -> None:
    rows = [RowState.begin(np.array(ids), 2, MASK) for ids in ([5], [6, 7, 8])]
    plans = [plan([0, 1, 2], [1, 2], [1]), plan([0, 1, 2, 3, 4], [4], [0, 4])]
    inputs = packer(padding="left").pack(rows, plans)
    assert inputs.input_ids.tolist() == [[0, 0, 5, MASK, MASK], [6, 7, 8, MASK, MASK]]
    assert inputs.position_ids.tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]
    assert inputs.logit_rows.tolist() == [[3, 4], [4, 0]]
    assert inputs.attention_rows.tolist() == [[3, 0], [0, 4]]
    assert inputs.attention_mask[0, 0].tolist() == [[False] * 2 + [True] * 3] * 5
    assert inputs.attention_mask.any(axis=-1).all(), "every query sees at least one key"


def test_dream_reads_the_row_before_and_row_0_for_position_0() -> None:
    row = RowState.begin(np.array([5]), 2, MASK)
    inputs = packer(shift=1).pack([row], [plan([0, 1, 2], [0, 1, 2], [1])])
    assert inputs.logit_rows.tolist() == [[0, 0, 1]]
    assert inputs.attention_rows.tolist() == [[1]], "evidence is not shifted"


def test_fed_positions_may_come_in_any_order() -> None:
    row = RowState.begin(np.array([5]), 2, MASK)
    inputs = packer(shift=1).pack([row], [plan([2, 0, 1], [2], [0])])
    assert inputs.position_ids.tolist() == [[2, 0, 1]]
    assert inputs.logit_rows.tolist() == [[2]]
    assert inputs.attention_rows.tolist() == [[1]]


def test_plan_that_wants_what_it_does_not_feed_is_refused() -> None:
    row = RowState.begin(np.array([5]), 2, MASK)
    with pytest.raises(OptionError, match=r"feeds no row for positions \[1\]"):
        packer(shift=1).pack([row], [plan([0, 2], [2], [])])
