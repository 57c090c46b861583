"""Windows, plans, packing and the loop: guard rails, independence of rows, edge cases."""

import itertools
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Blocks,
    Dapd,
    Dawn,
    DawnError,
    EngineError,
    Factor,
    Klass,
    LocalLeap,
    NoCache,
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
from dawn_runtime.decoding import (
    WINDOWS,
    DecodeState,
    Packer,
    RowPlan,
    RowState,
    Rules,
    Window,
    decode,
    step,
)
from dawn_runtime.engine.fake import FakeEngine, HashModel, ReplayEngine, fake_manifest
from dawn_runtime.policies import Needs

MANIFEST = fake_manifest(vocab_size=32, max_length=96)
END, MASK = MANIFEST.tokens.eos[0], MANIFEST.tokens.mask
DAWN = Dawn(tau_sink=0.5, tau_edge=0.03, tau_induce=0.3, tau_low=0.2)
KLASS = Klass(threshold=0.2, kl_threshold=8.0)
POLICIES = [
    *(OnePerStep(), Threshold(0.6), Factor(2.0), LocalLeap(0.7, 0.3), KLASS),
    *(DAWN, Dapd(tau_max=0.8), Dapd("direct", tau_certain=0.9)),
]


def packer(shift: int = 0) -> Packer:
    return Packer(prediction_shift=shift, mask_id=MASK, filler_id=0)


def begin(
    prompts: list[list[int]], new: int | list[int], policy: Policy, window: Window, *, end: bool
) -> DecodeState:
    counts = [new] * len(prompts) if isinstance(new, int) else new
    rows = tuple(
        RowState.begin(np.array(prompt), count, MASK, (END,) if end else ())
        for prompt, count in zip(prompts, counts, strict=True)
    )
    return DecodeState(rows, (Rules(policy, window, NoCache()),) * len(rows))


def run(
    prompts: list[list[int]],
    new: int | list[int],
    policy: Policy,
    window: Window | None = None,
    *,
    end: bool = False,
    shift: int = 0,
    seed: int = 0,
) -> DecodeState:
    """Decodes to the end on the hash model."""
    state = begin(prompts, new, policy, window or Blocks(8), end=end)
    engine = FakeEngine(MANIFEST, HashModel(32, seed))
    for last in decode(engine, packer(shift), state):
        state = last
    return state


def same_row(left: RowState, right: RowState) -> bool:
    arrays = ("ids", "masked", "commit_step", "commit_confidence")
    return left.step == right.step and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=name[0] == "c")
        for name in arrays
    )


# Windows


def test_blocks_follow_the_first_undecided_position() -> None:
    row = RowState.begin(np.arange(3), 10, MASK)
    window = Blocks(4)
    assert window.span(row) == (3, 7)
    some = row.commit(np.array([3, 5]), np.array([1, 1]), np.ones(2, np.float32))
    assert window.span(some) == (3, 7)
    full = some.commit(np.array([4, 6]), np.array([1, 1]), np.ones(2, np.float32))
    assert window.span(full) == (7, 11)
    last = full.commit(np.arange(7, 11), np.ones(4, int), np.ones(4, np.float32))
    assert window.span(last) == (11, 13), "the last block is shorter"


def test_single_is_one_block_of_the_whole_answer() -> None:
    assert Single().span(RowState.begin(np.arange(3), 10, MASK)) == (3, 13)


@pytest.mark.parametrize("length", [0, -1, 1.5, True, "8"])
def test_block_length_must_be_a_positive_integer(length: object) -> None:
    with pytest.raises(OptionError, match=r"window 'blocks': block_length is .* integer >= 1"):
        WINDOWS.make("blocks", {"block_length": length})


def test_blocks_as_long_as_the_answer_equal_a_single_block() -> None:
    for policy in (OnePerStep(), Threshold(0.6), DAWN):
        (blocks,), (single,) = (
            run([[1, 2, 3]], 20, policy, window).rows for window in (Blocks(20), Single())
        )
        assert same_row(blocks, single)


# State


def test_steps_leave_earlier_states_alone() -> None:
    row = RowState.begin(np.array([5, 6]), 2, MASK)
    later = row.commit(np.array([3]), np.array([9]), np.array([0.5], np.float32))
    assert row.ids.tolist() == [5, 6, MASK, MASK]
    assert later.ids.tolist() == [5, 6, MASK, 9]
    with pytest.raises(ValueError, match="read-only"):
        later.ids[0] = 1


def test_answer_ends_before_the_first_end_token_of_the_decided_prefix() -> None:
    row = RowState.begin(np.array([END]), 4, MASK, (END,))
    assert row.end is None, "an end token of the prompt does not count"
    early = row.commit(np.array([2]), np.array([END]), np.ones(1, np.float32))
    assert (early.end, early.answer.tolist()) == (None, []), "position 1 is still open"
    done = early.commit(np.array([1]), np.array([7]), np.ones(1, np.float32))
    assert (done.end, done.answer.tolist(), done.finished) == (2, [7], True)


def test_trace_lists_commits_by_step_and_position() -> None:
    row = RowState.begin(np.array([5]), 3, MASK)
    row = row.commit(np.array([3, 1]), np.array([8, 9]), np.array([0.5, 0.25], np.float32))
    row = row.commit(np.array([2]), np.array([7]), np.array([1], np.float32))
    found = [(c.step, c.position, c.token, c.confidence) for c in row.trace()]
    assert found == [(0, 1, 9, 0.25), (0, 3, 8, 0.5), (1, 2, 7, 1.0)]


# Packing


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


# The loop


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
def test_whatever_a_policy_answers_the_loop_stays_on_the_rails(positions: tuple[int, ...]) -> None:
    state = begin([[1, 2, 3]], 12, Answers(positions), Blocks(4), end=False)
    prompt = state.rows[0].ids[:3].copy()
    for after in decode(FakeEngine(MANIFEST), packer(), state):
        row = after.rows[0]
        assert row.step == after.forwards
        np.testing.assert_array_equal(row.ids[:3], prompt)
        decided = np.flatnonzero(row.commit_step == row.step - 1)
        assert decided.size >= 1
        assert decided.max() < 3 + 4 * (1 + (decided.min() - 3) // 4), "one block at a time"
    assert not row.masked.any()


def test_policy_sees_read_only_arrays() -> None:
    @dataclass(frozen=True)
    class Vandal(Policy):
        name: ClassVar[str] = "vandal"
        needs: ClassVar[Needs] = Needs(known_predictions=True, evidence="all", logits=True)

        def select(self, view: RowView) -> IntArray:
            arrays = (view.candidates, view.masked, view.tokens, view.confidence, view.attention)
            more = (view.attention_rows, view.attention_keys, view.predicted, view.logits)
            assert not any(array.flags.writeable for array in (*arrays, *more))
            return view.candidates

    assert step(FakeEngine(MANIFEST), packer(), begin([[1]], 4, Vandal(), Single(), end=False))


@pytest.mark.parametrize(
    ("needs", "predicted", "evidence", "logits"),
    [
        (Needs(), [3, 4, 5, 6], [], False),
        (Needs(evidence="candidates"), [3, 4, 5, 6], [3, 4, 5, 6], False),
        (Needs(known_predictions=True), [0, 1, 2, 3, 4, 5, 6], [], False),
        (Needs(evidence="all", logits=True), [3, 4, 5, 6], list(range(9)), True),
        (Needs(later_predictions=True), [3, 4, 5, 6, 7, 8], [], False),
        (Needs(later_predictions=True, known_predictions=True), list(range(9)), [], False),
    ],
)
def test_policy_gets_exactly_what_it_needs(
    needs: Needs, predicted: list[int], evidence: list[int], logits: bool
) -> None:
    seen = []

    class Spy(Policy):
        name = "spy"

        def select(self, view: RowView) -> IntArray:
            seen.append(view)
            return view.candidates

    Spy.needs = needs
    state = begin([[1, 2, 3]], 6, Spy(), Blocks(4), end=False)
    step(FakeEngine(MANIFEST), packer(), state)
    (view,) = seen
    assert view.predicted.tolist() == predicted
    assert view.attention_rows.tolist() == evidence
    assert view.attention.shape == (len(evidence), 9)
    assert np.flatnonzero(~np.isnan(view.confidence)).tolist() == predicted
    assert np.flatnonzero(view.tokens >= 0).tolist() == predicted
    assert (view.logits is not None) == logits
    assert view.memory is None
    if view.logits is not None:
        assert view.logits.argmax(axis=-1).tolist() == view.tokens[view.predicted].tolist()


def test_a_policy_sees_what_it_remembered_of_its_own_row_alone() -> None:
    seen = []

    @dataclass(frozen=True)
    class Diary(Policy):
        name: ClassVar[str] = "diary"
        needs: ClassVar[Needs] = Needs(history=True)

        def remember(self, view: RowView) -> tuple[int, ...]:
            return (*(view.memory or ()), view.decided)

        def select(self, view: RowView) -> IntArray:
            seen.append((len(view.masked), view.memory))
            return view.candidates[:2]

    run([[1], [1, 2]], [4, 3], Diary(), Single())
    assert seen == [(5, (0,)), (5, (0,)), (5, (0, 2)), (5, (0, 2))]


def test_logits_reach_only_the_rows_whose_policy_needs_them() -> None:
    seen = {}

    @dataclass(frozen=True)
    class Reader(Policy):
        name: ClassVar[str] = "reader"

        def select(self, view: RowView) -> IntArray:
            seen[self.name] = view.logits is not None
            return view.candidates

    class LogitsReader(Reader):
        name = "logits-reader"
        needs = Needs(logits=True)

    state = begin([[1], [2]], 4, Reader(), Single(), end=False)
    rules = (state.rules[0], replace(state.rules[1], policy=LogitsReader()))
    step(FakeEngine(MANIFEST), packer(), replace(state, rules=rules))
    assert seen == {"reader": False, "logits-reader": True}


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
@pytest.mark.parametrize("shift", [0, 1])
@given(
    prompts=st.lists(st.lists(st.integers(0, 28), min_size=1, max_size=7), min_size=2, max_size=4),
    data=st.data(),
)
@settings(max_examples=6, deadline=None)
def test_a_row_does_not_depend_on_its_neighbours_or_on_padding(
    policy: Policy, shift: int, prompts: list[list[int]], data: st.DataObject
) -> None:
    counts = data.draw(st.lists(st.integers(1, 14), min_size=len(prompts), max_size=len(prompts)))
    together = run(prompts, counts, policy, Blocks(5), end=True, shift=shift)
    for row, prompt, count in zip(together.rows, prompts, counts, strict=True):
        alone = run([prompt], count, policy, Blocks(5), end=True, shift=shift)
        assert same_row(row, alone.rows[0])
    assert together.forwards == max(row.step for row in together.rows)


@given(seed=st.integers(0, 1000), new=st.integers(1, 24), block=st.integers(1, 24))
@settings(max_examples=40, deadline=None)
def test_decoding_is_deterministic_and_ordered_by_blocks(seed: int, new: int, block: int) -> None:
    for policy in (OnePerStep(), Threshold(0.5), DAWN):
        first, second = (run([[4, 5]], new, policy, Blocks(block), seed=seed) for _ in range(2))
        assert same_row(first.rows[0], second.rows[0])
        steps = first.rows[0].commit_step[2:]
        pieces = [steps[i : i + block] for i in range(0, new, block)]
        for earlier, later in itertools.pairwise(pieces):
            assert earlier.max() < later.min()


def test_one_per_step_takes_as_many_forwards_as_tokens() -> None:
    state = run([[1, 2]], 17, OnePerStep())
    assert state.forwards == 17
    assert sorted(state.rows[0].commit_step[2:].tolist()) == list(range(17))


def test_all_masked_block_and_block_with_one_mask_both_advance() -> None:
    state = begin([[1, 2]], 5, Threshold(0.0), Blocks(4), end=False)
    after = step(FakeEngine(MANIFEST), packer(), state)
    assert np.flatnonzero(after.rows[0].masked).tolist() == [6], "the whole block at once"
    assert step(FakeEngine(MANIFEST), packer(), after).rows[0].finished


def test_finished_rows_leave_the_batch() -> None:
    class Recorder(FakeEngine):
        batches: ClassVar[list[int]] = []

        def run(self, inputs: StepInputs) -> StepOutputs:
            self.batches.append(len(inputs.input_ids))
            return super().run(inputs)

    state = begin([[1], [2], [3]], [1, 3, 2], OnePerStep(), Single(), end=False)
    states = list(decode(Recorder(MANIFEST), packer(), state))
    assert Recorder.batches == [3, 2, 1]
    assert [row.step for row in states[-1].rows] == [1, 3, 2]
    assert states[-1].rows[0] is states[0].rows[0], "a finished row is not touched again"


def test_row_stops_at_an_end_token_whose_left_is_decided() -> None:
    def model(tokens: IntArray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[np.arange(len(tokens)), [7, 7, 9, END, 11, 12, 13, 14][: len(tokens)]] = 20
        logits[4:] /= 8  # what follows the end token is unsure
        return logits, np.full((len(tokens), len(tokens)), 1 / len(tokens), dtype=np.float32)

    state = begin([[1, 2]], 6, Threshold(0.9), Blocks(6), end=True)
    (last,) = decode(FakeEngine(MANIFEST, model), packer(), state)
    row = last.rows[0]
    assert (row.answer.tolist(), row.end, row.finished) == ([9], 3, True)
    assert np.flatnonzero(row.masked).tolist() == [4, 5, 6, 7]


def test_predicted_mask_token_decides_nothing_while_there_is_another() -> None:
    def model(tokens: IntArray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, MASK] = [20.0, 20.0, 0.0]
        logits[2, 5] = 4.0
        return logits, np.full((len(tokens), len(tokens)), 1 / len(tokens), dtype=np.float32)

    state = begin([[1]], 2, Threshold(0.9), Blocks(6), end=False)
    first, second = decode(FakeEngine(MANIFEST, model), packer(), state)
    assert [(c.position, c.token) for c in first.rows[0].trace()] == [(2, 5)]
    assert second.rows[0].finished, "a model that knows nothing else still ends"


def test_window_without_an_undecided_position_is_refused() -> None:
    @dataclass(frozen=True)
    class Prompt(Window):
        name: ClassVar[str] = "prompt"

        def span(self, row: RowState) -> tuple[int, int]:
            return 0, row.start

    state = begin([[1, 2]], 2, OnePerStep(), Prompt(), end=False)
    with pytest.raises(OptionError, match=r"window 'prompt' spans \(0, 2\), where nothing is"):
        step(FakeEngine(MANIFEST), packer(), state)


def test_running_out_of_steps_is_an_error() -> None:
    state = begin([[1], [2]], [3, 1], OnePerStep(), Single(), end=False)
    with pytest.raises(DawnError, match=r"rows \[0\] are unfinished after 2 steps"):
        list(decode(FakeEngine(MANIFEST), packer(), state, max_steps=2))


def outputs(**changes: object) -> StepOutputs:
    good = StepOutputs(
        tokens=np.array([[3, 4]]),
        confidence=np.array([[0.5, 0.6]], dtype=np.float32),
        attention=np.zeros((1, 0, 3), dtype=np.float32),
    )
    return replace(good, **changes)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"confidence": np.array([[0.5, np.nan]])}, "output confidence holds NaN or infinity"),
        ({"confidence": np.array([[np.inf, 0.5]])}, "output confidence holds NaN or infinity"),
        ({"tokens": np.array([[1]])}, r"output tokens has shape \(1, 1\); expected \(1, 2\)"),
        ({"attention": np.zeros((1, 2, 3))}, r"output attention has shape \(1, 2, 3\)"),
    ],
)
def test_outputs_that_cannot_be_trusted_stop_decoding(
    broken: dict[str, object], message: str
) -> None:
    state = begin([[1]], 2, OnePerStep(), Single(), end=False)
    step(ReplayEngine(MANIFEST, [outputs()]), packer(), state)
    with pytest.raises(EngineError, match=f"fake: {message}"):
        step(ReplayEngine(MANIFEST, [outputs(**broken)]), packer(), state)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_attention_that_is_not_finite_stops_decoding(value: float) -> None:
    def model(tokens: IntArray, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        logits, attention = HashModel(32)(tokens, *rest)  # type: ignore[arg-type]
        attention[1, 1] = value
        return logits, attention

    state = begin([[1]], 4, DAWN, Single(), end=False)
    with pytest.raises(EngineError, match="output attention holds NaN or infinity"):
        step(FakeEngine(MANIFEST, model), packer(), state)


def test_logits_that_were_asked_for_must_come() -> None:
    @dataclass(frozen=True)
    class WantsLogits(Policy):
        name: ClassVar[str] = "wants-logits"
        needs: ClassVar[Needs] = Needs(logits=True)

        def select(self, view: RowView) -> IntArray:
            return view.candidates

    state = begin([[1]], 2, WantsLogits(), Single(), end=False)
    with pytest.raises(EngineError, match="logits were asked for and did not come"):
        step(ReplayEngine(MANIFEST, [outputs()]), packer(), state)
