"""Block-causal decoding decides what a loop decides that computes everything anew in every step."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Blocks, Dual, NoCache, OnePerStep, OptionError, Single, Sliding, Threshold
from dawn_runtime.decoding import Cache, Causal, RowState, Window
from dawn_runtime.decoding.caches import Prefix
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from dawn_runtime.decoding.schemes.block_plan import BlockGrid
from dawn_runtime.engine import StepInputs
from dawn_runtime.engine.fake import FakeEngine
from support.decoding import (
    DAWN,
    END,
    MANIFEST,
    MANY,
    MASK,
    POLICIES,
    Steady,
    batch_of,
    finished,
    states,
)


def begun(scheme: BlockCausal, prompt: list[int], new: int, *, shift: int = 0) -> RowState:
    length = scheme.length(len(prompt), len(prompt) + new)
    return RowState.begin(np.array(prompt, dtype=int), new, MASK, shift=shift, length=length)


def decode(row: RowState, scheme: BlockCausal, model: Any) -> RowState:
    return finished(batch_of(FakeEngine(MANIFEST, model), [row], scheme)).row(0)


class Slow:
    """Everything before the end of the block anew in every step, as the authors write it."""

    def __init__(self, scheme: BlockCausal, model: Any) -> None:
        self.scheme, self.engine = scheme, FakeEngine(MANIFEST, model)

    def block(self, position: int, start: int) -> int:
        offset = -start % self.scheme.block_length if self.scheme.origin == "prompt" else 0
        return (position + offset) // self.scheme.block_length

    def predictions(self, ids: list[int], start: int, shift: int) -> dict[int, tuple[float, int]]:
        """Position -> (confidence, token) of every undecided one of some whole blocks, and of the
        one behind them if the row before predicts it."""
        length = len(ids)
        rows = np.arange(length)[None]
        numbers = [self.block(position, start) for position in range(length)]
        mask = np.array([[key <= query for key in numbers] for query in numbers])[None, None]
        if self.scheme.causal:
            text = [MASK not in [ids[p] for p in range(length) if numbers[p] == n] for n in numbers]
            mask[0, 0, text] &= np.tri(length, dtype=bool)[text]
        found = self.engine.run(StepInputs(np.array([ids]), rows, mask, rows, rows[:, :0]))
        return {
            position: (float(found.confidence[0, row]), int(found.tokens[0, row]))
            for position in range(length + shift)
            if position == length or ids[position] == MASK
            for row in [max(position - shift, 0)]
        }

    def decode(self, ids: list[int], start: int, limit: int, shift: int) -> tuple[list[int], int]:
        ids, steps = list(ids), 0
        while MASK in ids[:limit]:
            steps += 1
            first = ids.index(MASK)
            here = [p for p in range(len(ids)) if self.block(p, start) == self.block(first, start)]
            if self.scheme.carry and first == here[0] and first:
                found = self.predictions(ids[:first], start, 1)
                ids[first] = found[first][1]
                continue
            sub = getattr(self.scheme.window, "block_length", self.scheme.block_length)
            sub = min(sub, self.scheme.block_length)
            size = self.scheme.block_length
            offset = -start % size if self.scheme.origin == "prompt" else 0
            base = self.block(first, start) * size - offset  # before 0 in a short first block
            tried = [p for p in here if (p - base) // sub == (first - base) // sub]
            found = self.predictions(ids[: here[-1] + 1], start, shift)
            best = sorted((p for p in tried if p in found), key=lambda p: (-found[p][0], p))
            least = getattr(self.scheme.policy, "threshold", 2.0)
            sure = [p for p in best if found[p][0] >= least]
            for position in sure or best[:1]:
                ids[position] = found[position][1]
        return ids, steps


@given(
    prompt=st.lists(st.integers(1, 20), max_size=11),
    new=st.integers(1, 14),
    block=st.integers(1, 6),
    origin=st.sampled_from(["start", "prompt"]),
    shift=st.integers(0, 1),
    carry=st.booleans(),
    causal=st.booleans(),
    policy=st.sampled_from([OnePerStep(), Threshold(0.5), Threshold(0.95)]),
    window=st.sampled_from([Single(), Blocks(2), Blocks(3), Blocks(32)]),
    cache=st.sampled_from([NoCache(), Causal()]),
    share=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.integers(0, 10000),
)
@settings(max_examples=MANY)
def test_it_decides_what_the_slow_reference_decides(
    prompt: list[int],
    new: int,
    block: int,
    origin: str,
    shift: int,
    carry: bool,
    causal: bool,
    policy: Any,
    window: Window,
    cache: Cache,
    share: float,
    seed: int,
) -> None:
    carry = causal or (carry and bool(shift))
    scheme = BlockCausal(
        policy, window, cache, block_length=block, origin=origin, carry=carry, causal=causal
    )
    row, model = begun(scheme, prompt, new, shift=shift), Steady(share, seed)
    after = decode(row, scheme, model)
    expected, steps = Slow(scheme, model).decode(row.ids.tolist(), row.start, row.limit, shift)
    assert after.ids.tolist() == expected
    assert after.step == steps
    assert after.answer.tolist() == expected[len(prompt) : len(prompt) + new]


@given(
    prompt=st.lists(st.integers(1, 20), max_size=11),
    new=st.integers(1, 14),
    block=st.integers(1, 6),
    carry=st.booleans(),
    policy=st.sampled_from(POLICIES),
    cache=st.sampled_from([Causal(), Dual()]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=200)
def test_kept_keys_of_finished_blocks_are_those_of_their_tokens(
    prompt: list[int],
    new: int,
    block: int,
    carry: bool,
    policy: Any,
    cache: Cache,
    seed: int,
) -> None:
    scheme = BlockCausal(policy, Blocks(2), cache, block_length=block, carry=carry)
    row = begun(scheme, prompt, new, shift=int(carry))
    grid = BlockGrid(block)
    decided = 0
    for (after,) in states(batch_of(FakeEngine(MANIFEST, Steady(0.5, seed)), [row], scheme)):
        assert after.decided > decided
        decided = after.decided
        if after.kept is not None:
            (ask,) = scheme.ask(after)
            old = np.setdiff1d(after.kept.positions, ask.positions)
            before = old[old < grid.span(after.settled)[0]]
            np.testing.assert_array_equal(after.kept.ids[before], after.ids[before])
    assert after.finished


def plans(scheme: BlockCausal, row: RowState, model: Any) -> list[tuple[str, str, list[str]]]:
    """Of each step: what is fed, what is kept, and who looks at whom."""
    found = []
    for before in [row, *(after for (after,) in states(running(scheme, row, model)))]:
        if before.finished:
            break
        (ask,) = scheme.ask(before)
        sees = ask.sees if ask.sees is not None else np.ones((len(ask.tokens), 1), dtype=bool)
        lines = ["".join(".x"[int(one)] for one in line) for line in sees]
        found.append((text(ask.positions), text(ask.positions[ask.store]), lines))
    return found


def running(scheme: BlockCausal, row: RowState, model: Any) -> Any:
    return batch_of(FakeEngine(MANIFEST, model), [row], scheme)


def text(positions: np.ndarray) -> str:
    return " ".join(map(str, positions.tolist()))


def test_the_example_of_the_module() -> None:
    scheme = BlockCausal(OnePerStep(), Single(), Causal(), block_length=4)
    row = begun(scheme, [1, 2, 3, 4, 5, 6], 6)
    found = plans(scheme, row, Steady(1.0, 0))
    assert [(fed, stored) for fed, stored, _ in found] == [
        ("0 1 2 3 4 5 6 7", "0 1 2 3"),
        ("4 5 6 7", ""),
        ("4 5 6 7 8 9 10 11", "4 5 6 7"),
        *[("8 9 10 11", "")] * 3,
    ]
    assert found[0][2] == [*["xxxx...."] * 4, *["xxxxxxxx"] * 4]
    assert found[2][2] == [*["xxxxxxxx...."] * 4, *["xxxxxxxxxxxx"] * 4]


def test_a_row_that_predicts_the_first_position_of_a_block_is_fed_until_that_is_decided() -> None:
    scheme = BlockCausal(Rightmost(), Single(), Causal(), block_length=3)
    found = plans(scheme, begun(scheme, [1, 2, 3], 3, shift=1), Steady(1.0, 0))
    assert [fed for fed, _, _ in found] == ["0 1 2 3 4 5", "2 3 4 5", "2 3 4 5"]
    assert [stored for _, stored, _ in found] == ["0 1 2", "", ""]
    # Position 2 sees the kept ones and itself, nothing of the new block.
    assert found[1][2] == ["xxx...", *["xxxxxx"] * 3]


class Rightmost(OnePerStep):
    """The last candidate."""

    def select(self, view: Any) -> np.ndarray:
        return view.candidates[-1:]


def test_a_token_is_carried_into_the_next_block_by_a_run_of_the_finished_one() -> None:
    scheme = BlockCausal(Threshold(0.0), Blocks(2), Causal(), block_length=4, carry=True)
    found = plans(scheme, begun(scheme, [1, 2, 3, 4], 8, shift=1), Steady(1.0, 0))
    assert [(fed, stored) for fed, stored, _ in found] == [
        ("0 1 2 3", "0 1 2 3"),
        *[("4 5 6 7", "")] * 2,
        ("4 5 6 7", "4 5 6 7"),
        *[("8 9 10 11", "")] * 2,
    ]


def test_with_the_block_cache_a_sub_block_that_has_begun_is_fed_alone() -> None:
    scheme = BlockCausal(OnePerStep(), Blocks(2), Dual(), block_length=4, carry=True)
    model = Leftmost()
    found = plans(scheme, begun(scheme, [1, 2, 3, 4], 4, shift=1), model)
    assert [(fed, stored) for fed, stored, _ in found] == [
        ("0 1 2 3", "0 1 2 3"),  # decides position 4
        ("4 5 6 7", "4 5 6 7"),  # no key of the block is there yet: decides 5
        ("4 5 6 7", "4 5 6 7"),  # the first of its sub-block is open: decides 6
        ("6 7", "6 7"),
    ]


class Leftmost:
    """Is the surer, the further to the left."""

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, 7] = 10 - 0.1 * positions
        visible = seen[-1]
        return logits, visible / visible.sum(axis=1, keepdims=True)


def test_what_is_decided_beyond_the_answer_is_no_part_of_it() -> None:
    scheme = BlockCausal(Threshold(0.0), Single(), Causal(), block_length=4)
    row = decode(begun(scheme, [1, 2, 3], 2), scheme, Steady(1.0, 0))
    assert row.length == 8
    assert not row.masked[:8].any()
    assert len(row.answer) == 2
    assert [commit.position for commit in row.trace()] == [3, 4]
    assert row.holes() == ((3, 5),)


def test_an_end_token_beyond_the_answer_ends_nothing() -> None:
    scheme = BlockCausal(Threshold(0.0), Single(), Causal(), block_length=4)
    row = begun(scheme, [1, 2, 3], 2)
    row = replace(row, end_tokens=(END,))
    after = decode(row, scheme, Always(END))
    assert after.answer.tolist() == []
    late = replace(begun(scheme, [1, 2, 3], 2), end_tokens=(7,))
    ids = [1, 2, 3, 4, 5, 7, 7, 7]
    assert late.advance(
        np.arange(3, 8), np.array(ids[3:]), np.ones(5), np.zeros(0, dtype=int)
    ).answer.tolist() == [4, 5]


class Always:
    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, self.token] = 20
        visible = seen[-1]
        return logits, visible / visible.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("length", "origin", "start", "position", "expected"),
    [
        (4, "start", 6, 6, (4, 8)),
        (4, "prompt", 6, 6, (6, 10)),
        (4, "prompt", 6, 1, (0, 2)),
        (4, "prompt", 6, 5, (2, 6)),
        (4, "prompt", 8, 5, (4, 8)),
        (1, "start", 3, 7, (7, 8)),
    ],
)
def test_blocks_lie_on_a_grid(
    length: int, origin: str, start: int, position: int, expected: tuple[int, int]
) -> None:
    assert BlockGrid.of(length, origin, start).span(position) == expected


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: BlockCausal(DAWN, Sliding(), Causal()), "use window 'blocks' or 'single'"),
        (lambda: BlockCausal(DAWN, Single(), Prefix()), "got 'prefix'"),
        (lambda: BlockCausal(DAWN, Single(), Causal(), carry=True).suits(0), "carried"),
        (lambda: BlockCausal(DAWN, Single(), Causal(), causal=True), "carry it"),
    ],
)
def test_what_a_block_causal_model_cannot_do_is_refused(
    made: Callable[[], object], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        made()
