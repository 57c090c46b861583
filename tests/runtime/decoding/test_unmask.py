"""`Unmask`: guard rails around a policy, independence of rows, ends."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Blocks,
    OnePerStep,
    OptionError,
    Policy,
    RowView,
    Single,
    StepInputs,
    StepOutputs,
    Threshold,
)
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import NoCache, RowState, Unmask, Window
from dawn_runtime.engine.fake import FakeEngine
from support.decoding import (
    DAWN,
    END,
    MANIFEST,
    MASK,
    POLICIES,
    batch_of,
    begin,
    run,
    same_row,
    states,
)


@dataclass(frozen=True, slots=True)
class Answers(Policy):
    """Answers the same positions whatever it sees."""

    name: ClassVar[str] = "answers"

    positions: tuple[int, ...]

    def select(self, view: RowView) -> IntArray:
        return np.array(self.positions, dtype=np.int64)


@pytest.mark.parametrize(
    "positions", [(), (0,), (0, 1), (-1, 999), (12, 13), (4, 4, 4)], ids=lambda p: f"{p}"
)
def test_whatever_a_policy_answers_a_row_stays_on_the_rails(positions: tuple[int, ...]) -> None:
    scheme = Unmask(Answers(positions), Blocks(4), NoCache())
    batch = batch_of(FakeEngine(MANIFEST), begin([[1, 2, 3]], 12), scheme)
    prompt = batch.row(0).ids[:3].copy()
    for (row,) in states(batch):
        assert row.step == batch.forwards
        np.testing.assert_array_equal(row.ids[:3], prompt)
        decided = np.flatnonzero(row.commit_step == row.step - 1)
        assert decided.size >= 1
        assert decided.max() < 3 + 4 * (1 + (decided.min() - 3) // 4), "one block at a time"
    assert not row.masked.any()


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
@pytest.mark.parametrize("shift", [0, 1])
@given(
    prompts=st.lists(st.lists(st.integers(0, 28), min_size=1, max_size=7), min_size=2, max_size=4),
    data=st.data(),
)
@settings(max_examples=6)
def test_a_row_does_not_depend_on_its_neighbours_or_on_padding(
    policy: Policy, shift: int, prompts: list[list[int]], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 14), min_size=len(prompts), max_size=len(prompts)))
    together = run(prompts, counts, policy, Blocks(5), end=True, shift=shift)
    for row, prompt, count in zip(together.rows.values(), prompts, counts, strict=True):
        alone = run([prompt], count, policy, Blocks(5), end=True, shift=shift)
        assert same_row(row, alone.row(0))
    assert together.forwards == max(row.step for row in together.rows.values())


@given(seed=st.integers(0, 1000), new=st.integers(1, 24), block=st.integers(1, 24))
@settings(max_examples=40)
def test_decoding_is_deterministic_and_ordered_by_blocks(seed: int, new: int, block: int) -> None:
    for policy in (OnePerStep(), Threshold(0.5), DAWN):
        first, second = (run([[4, 5]], new, policy, Blocks(block), seed=seed) for _ in range(2))
        assert same_row(first.row(0), second.row(0))
        steps = first.row(0).commit_step[2:]
        pieces = [steps[i : i + block] for i in range(0, new, block)]
        for earlier, later in itertools.pairwise(pieces):
            assert earlier.max() < later.min()


def test_one_per_step_takes_as_many_forwards_as_tokens() -> None:
    batch = run([[1, 2]], 17, OnePerStep())
    assert batch.forwards == 17
    assert sorted(batch.row(0).commit_step[2:].tolist()) == list(range(17))


def test_all_masked_block_and_block_with_one_mask_both_advance() -> None:
    scheme = Unmask(Threshold(0.0), Blocks(4), NoCache())
    batch = batch_of(FakeEngine(MANIFEST), begin([[1, 4]], 5), scheme)
    batch.step()
    assert np.flatnonzero(batch.row(0).masked).tolist() == [6], "the whole block at once"
    batch.step()
    assert batch.is_finished(0)


def test_finished_rows_are_fed_no_more() -> None:
    class Recorder(FakeEngine):
        batches: ClassVar[list[int]] = []

        def run(self, inputs: StepInputs) -> StepOutputs:
            self.batches.append(len(inputs.input_ids))
            return super().run(inputs)

    scheme = Unmask(OnePerStep(), Single(), NoCache())
    batch = batch_of(Recorder(MANIFEST), begin([[1], [2], [3]], [1, 3, 2]), scheme)
    first, *_, last = states(batch)
    assert Recorder.batches == [3, 2, 1]
    assert [row.step for row in last] == [1, 3, 2]
    assert last[0] is first[0], "a finished row is not touched again"


def test_row_stops_at_an_end_token_whose_left_is_decided() -> None:
    def model(tokens: IntArray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[np.arange(len(tokens)), [7, 7, 9, END, 11, 12, 13, 14][: len(tokens)]] = 20
        logits[4:] /= 8  # what follows the end token is unsure
        return logits, np.full((len(tokens), len(tokens)), 1 / len(tokens), dtype=np.float32)

    scheme = Unmask(Threshold(0.9), Blocks(6), NoCache())
    batch = batch_of(FakeEngine(MANIFEST, model), begin([[1, 2]], 6, end=True), scheme)
    ((row,),) = states(batch)
    assert (row.answer.tolist(), row.end, row.finished) == ([9], 3, True)
    assert np.flatnonzero(row.masked).tolist() == [4, 5, 6, 7]


def test_predicted_mask_token_decides_nothing_while_there_is_another() -> None:
    def model(tokens: IntArray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, MASK] = [20.0, 20.0, 0.0]
        logits[2, 5] = 4.0
        return logits, np.full((len(tokens), len(tokens)), 1 / len(tokens), dtype=np.float32)

    scheme = Unmask(Threshold(0.9), Blocks(6), NoCache())
    batch = batch_of(FakeEngine(MANIFEST, model), begin([[1]], 2), scheme)
    (first,), (second,) = states(batch)
    assert [(c.position, c.token) for c in first.trace()] == [(2, 5)]
    assert second.ids.tolist() == [1, 0, 5], "the best that is not the mask"


def test_window_without_an_undecided_position_is_refused() -> None:
    @dataclass(frozen=True)
    class Prompt(Window):
        name: ClassVar[str] = "prompt"

        def span(self, row: RowState) -> tuple[int, int]:
            return 0, row.start

    scheme = Unmask(OnePerStep(), Prompt(), NoCache())
    batch = batch_of(FakeEngine(MANIFEST), begin([[1, 2]], 2), scheme)
    with pytest.raises(OptionError, match=r"window 'prompt' spans \(0, 2\), where nothing is"):
        batch.step()
