"""Prophet's schedule and exit, by hand and as properties."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import Decoder, OptionError
from dawn_runtime.decoding import Answer, Blocks, Decision, Prophet, RowState, Single, Sliding
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from support.decoding import MASK, batch_of, begin, finished

NO_ROWS = np.zeros((0, 0), dtype=np.float32)


def decision(
    scheme: Prophet, row: RowState, confidence: list[float], margin: float | list[float]
) -> Decision:
    """What follows if these are the predictions of all that is asked for."""
    (ask,) = scheme.ask(row)
    count = len(ask.predict)
    margins = np.broadcast_to(np.asarray(margin, dtype=np.float32), (count,))
    given = np.asarray(confidence, dtype=np.float32)[:count]
    return scheme.decide(row, (Answer(ask, np.full(count, 5), given, NO_ROWS, margin=margins),))


def advanced(row: RowState, made: Decision) -> RowState:
    nothing = np.zeros(0, dtype=np.int64)
    return row.advance(made.commit, made.tokens, made.confidence, nothing, memory=made.memory)


def row_of(new: int) -> RowState:
    return RowState.begin(np.array([1, 2]), new, MASK)


@pytest.mark.parametrize(
    ("step", "margin", "leaves"),
    [
        *((0, 7.4, False), (0, 7.5, True), (1, 7.4, False), (2, 5.0, True), (2, 4.9, False)),
        *((5, 2.5, True), (5, 2.4, False), (4, 4.9, False), (4, 5.0, True)),
    ],
)
def test_what_is_asked_for_goes_down_with_the_thirds_of_the_steps(
    step: int, margin: float, *, leaves: bool
) -> None:
    """Of eight steps 1 and 2 are in the first third, 3 to 5 in the second, 6 to 8 in the last."""
    scheme, row = Prophet(window=Single()), row_of(8)
    for _ in range(step):
        row = advanced(row, decision(scheme, row, [0.5] * 8, 0.0))
    made = decision(scheme, row, [0.5] * 8, margin)
    assert len(made.commit) == (8 - step if leaves else 1)


def test_the_region_alone_counts_and_its_decided_positions_too() -> None:
    """Positions 4 and 5 of the row; 9 and 6 mean 7.5, and 9 stays when it is decided."""
    scheme, row = Prophet(answer_start=2, answer_length=2, window=Single()), row_of(6)
    margins = [0, 0, 9, 6, 0, 0]
    assert len(decision(scheme, row, [0.5] * 6, margins).commit) == 6
    assert len(decision(scheme, row, [0.5] * 6, [9, 9, 0, 0, 9, 9]).commit) == 1
    row = advanced(row, decision(scheme, row, [0, 0, 1, 0, 0, 0], 0.0))
    assert not row.masked[4]
    assert len(decision(scheme, row, [0.5] * 6, margins).commit) == 5


def test_a_block_is_done_in_its_share_of_the_steps() -> None:
    """Five steps for two blocks of five are two each: three positions, then two."""
    scheme, row = Prophet(steps=5, window=Blocks(5)), row_of(10)
    sizes = []
    while not row.finished:
        made = decision(scheme, row, [0.5] * 10, 0.0)
        sizes.append(len(made.commit))
        row = advanced(row, made)
    assert sizes == [3, 2, 3, 2]


def test_it_exits_over_all_blocks_with_the_tokens_of_that_run() -> None:
    made = decision(Prophet(window=Blocks(2)), row_of(6), [0.5] * 6, 8.0)
    assert made.commit.tolist() == list(range(2, 8))


@given(new=st.integers(1, 20), steps=st.integers(0, 30), shift=st.sampled_from([0, 1]))
def test_every_row_ends_in_time(new: int, steps: int, shift: int) -> None:
    rows = begin([[1, 2, 3]], new, shift=shift)
    scheme = Prophet(early=1e6, middle=1e6, late=1e6, steps=steps, window=Blocks(4))
    batch = finished(batch_of(FakeEngine(fake_manifest(vocab_size=32)), rows, scheme))
    (row,) = batch.rows.values()
    assert row.finished
    assert row.step <= new


def test_it_goes_by_its_name(fake_decoder: Decoder) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 12, "stop_at_eos": False, "policy": "prophet"}
    never = fake_decoder.generate(
        input_ids=[1, 2], options={"late": 1e6, "middle": 1e6}, **settings
    )
    always = fake_decoder.generate(input_ids=[1, 2], options={"early": 0}, **settings)
    assert (never.forwards, always.forwards) == (12, 1)


def test_other_windows_are_refused() -> None:
    with pytest.raises(OptionError, match="scheme 'prophet' decides block by block"):
        Prophet(window=Sliding())
