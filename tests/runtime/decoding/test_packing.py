"""Asks become graph inputs: padding, who sees whom, the shift of Dream, any order."""

from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from dawn_runtime import EngineError, OptionError, Policy, RowView, Single
from dawn_runtime.arrays import IntArray
from dawn_runtime.contract import MEASURES
from dawn_runtime.decoding import Ask, Kept, NoCache, Packer, RowState, Unmask
from dawn_runtime.decoding.schemes.plan import make_plan
from dawn_runtime.engine import StepOutputs
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.manifest import one_graph
from dawn_runtime.policies import Needs
from support.decoding import MANIFEST, MASK


def ask(tokens: list[int], positions: list[int], **rest: Any) -> Ask:
    arrays = {name: value if value is True else np.array(value) for name, value in rest.items()}
    return Ask(np.array(tokens), np.array(positions), **arrays)


def two() -> list[Ask]:
    return [
        ask([5, MASK, MASK], [0, 1, 2], predict=[1, 2], evidence=[1]),
        ask([6, 7, 8, MASK, MASK], [0, 1, 2, 3, 4], predict=[4], evidence=[0, 4]),
    ]


def test_asks_of_different_length_are_padded_and_the_padding_is_invisible() -> None:
    inputs = Packer(0).pack(two())
    assert inputs.input_ids.tolist() == [[5, MASK, MASK, 0, 0], [6, 7, 8, MASK, MASK]]
    assert inputs.position_ids.tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert inputs.logit_rows.tolist() == [[1, 2], [4, 0]]
    assert inputs.attention_rows.tolist() == [[1, 0], [0, 4]]
    assert inputs.attention_mask.shape == (2, 1, 5, 5)
    assert inputs.attention_mask[0, 0].tolist() == [[True] * 3 + [False] * 2] * 5
    assert inputs.attention_mask[1].all()
    assert inputs.attention_mask.any(axis=-1).all(), "every row sees at least one column"


def test_padding_may_stand_on_the_left() -> None:
    inputs = Packer(0, "left").pack(two())
    assert inputs.input_ids.tolist() == [[0, 0, 5, MASK, MASK], [6, 7, 8, MASK, MASK]]
    assert inputs.position_ids.tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4]]
    assert inputs.logit_rows.tolist() == [[3, 4], [4, 0]]
    assert inputs.attention_rows.tolist() == [[3, 0], [0, 4]]
    assert inputs.attention_mask[0, 0].tolist() == [[False] * 2 + [True] * 3] * 5
    assert inputs.attention_mask.any(axis=-1).all(), "every row sees at least one column"


@pytest.mark.parametrize(("side", "begin"), [("right", 3), ("left", 4)])
def test_each_row_looks_at_what_its_ask_says_kept_keys_included(side: Any, begin: int) -> None:
    """Two rows that look at slots 2 and 0 of three; beside them an ask of three rows."""
    sees = [[True, False, True, False], [True, True, False, True]]
    asks = [
        ask([7, 8], [4, 4], sees=sees, kept=[2, 0], predict=[1]),
        ask([1, 2, 3], [0, 1, 2], kept=[1]),
    ]
    past = (np.zeros((2, 1, 3, 2), dtype=np.float32),) * 2
    inputs = Packer(0, side).pack(asks, past)
    expected = np.zeros((3, 6), dtype=bool)
    expected[:, [2, 0, begin, begin + 1]] = True
    expected[begin - 3 : begin - 1, [2, 0, begin, begin + 1]] = sees
    assert inputs.attention_mask[0, 0].tolist() == expected.tolist()
    assert inputs.attention_mask[1, 0].tolist() == [[False, True, False, True, True, True]] * 3
    assert inputs.logit_rows.tolist() == [[begin - 3 + 1], [0]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_an_answer_has_the_columns_of_its_ask_in_their_order(side: Any) -> None:
    asks = [
        ask([7, 8], [4, 5], kept=[2, 0], predict=[1], evidence=[1, 0]),
        ask([1, 2, 3], [0, 1, 2], kept=[1], predict=[0, 2]),
    ]
    outputs = StepOutputs(
        tokens=np.array([[11, 12], [13, 14]]),
        confidence=np.array([[0.1, 0.2], [0.3, 0.4]], dtype=np.float32),
        attention=np.arange(24, dtype=np.float32).reshape(2, 2, 6),
        logits=np.zeros((2, 2, 32), dtype=np.float32),
    )
    answer = Packer(0, side).answer(asks[0], outputs, 0, 3)
    fed = [3, 4] if side == "right" else [4, 5]
    assert answer.attention.tolist() == [[2, 0, *fed], [8, 6, *(6 + column for column in fed)]]
    assert answer.tokens.tolist() == [11]
    assert answer.confidence.tolist() == [np.float32(0.1)]
    assert answer.logits is not None
    assert answer.logits.shape == (1, 32)
    assert not answer.attention.flags.writeable


class Curious(Policy):
    """Reads the predictions of known positions too."""

    name: ClassVar[str] = "curious"
    needs: ClassVar[Needs] = Needs(known_predictions=True, evidence="candidates")

    def select(self, view: RowView) -> IntArray:
        return view.candidates


def test_dream_reads_the_row_before_and_row_0_for_position_0() -> None:
    row = RowState.begin(np.array([5]), 2, MASK, shift=1)
    (asked,) = Unmask(Curious(), Single(), NoCache()).ask(row)
    inputs = Packer(0).pack([asked])
    assert inputs.logit_rows.tolist() == [[0, 0, 1]]
    assert inputs.attention_rows.tolist() == [[1, 2]], "evidence is not shifted"


def test_positions_may_come_in_any_order_and_twice() -> None:
    asked = ask([MASK, 5, MASK, 9], [2, 0, 1, 2], predict=[2, 3], evidence=[1])
    inputs = Packer(0).pack([asked])
    assert inputs.input_ids.tolist() == [[MASK, 5, MASK, 9]]
    assert inputs.position_ids.tolist() == [[2, 0, 1, 2]]
    assert inputs.logit_rows.tolist() == [[2, 3]]
    assert inputs.attention_rows.tolist() == [[1]]


def test_a_run_that_predicts_nothing_has_a_row_that_does_and_an_answer_without() -> None:
    """Graphs of older artifacts need one."""
    asked = ask([5, 6], [0, 1])
    inputs = Packer(0).pack([asked])
    assert inputs.logit_rows.tolist() == [[0]]
    outputs = FakeEngine(MANIFEST).run(inputs)
    assert Packer(0).answer(asked, outputs, 0, 0).tokens.shape == (0,)


def test_a_graph_that_may_predict_nothing_is_asked_for_nothing() -> None:
    asked = ask([5, 6], [0, 1])
    packer = Packer.for_engine(0, FakeEngine(MANIFEST).describe())
    inputs = packer.pack([asked])
    assert inputs.logit_rows.shape == (1, 0)
    outputs = FakeEngine(MANIFEST).run(inputs)
    assert packer.answer(asked, outputs, 0, 0).tokens.shape == (0,)


@pytest.mark.parametrize("padding", ["right", "left"])
def test_fed_tokens_are_filled_up_to_what_the_engine_wants_a_multiple_of(padding: Any) -> None:
    packer, asks = Packer(0, padding, multiple=8), two()
    inputs = packer.pack(asks)
    assert inputs.attention_mask.shape == (2, 1, 8, 8)
    assert inputs.attention_mask.sum(axis=-1).tolist() == [[[3] * 8], [[5] * 8]]
    for row, one in enumerate(asks):
        begin = packer.begin(one, 8)
        assert (
            inputs.input_ids[row, begin : begin + len(one.tokens)].tolist() == one.tokens.tolist()
        )
        columns = np.flatnonzero(inputs.attention_mask[row, 0, 0])
        assert np.arange(8)[packer.columns(one, 8, 0)].tolist() == columns.tolist()
    assert packer.pack([ask([1] * 8, list(range(8)), predict=[0])]).input_ids.shape == (1, 8)


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_measured_comes_from_the_graph_or_from_its_logits(name: str) -> None:
    """And only to the ask that wants it, whoever is beside it."""
    plain, wanting = two()
    asks = [plain, replace(wanting, **{name: True})]
    found = {}
    for manifest in (MANIFEST, replace(MANIFEST, graphs=one_graph(measures=False))):
        engine = FakeEngine(manifest)
        packer = Packer.for_engine(0, engine.describe())
        inputs = packer.pack(asks)
        wants = {other: getattr(inputs, f"want_{other}") for other in ("logits", *MEASURES)}
        measures = engine.describe().measures
        assert wants == dict.fromkeys(wants, False) | {name if measures else "logits": True}
        outputs = engine.run(inputs)
        none, some = (packer.answer(one, outputs, i, 0) for i, one in enumerate(asks))
        assert (none.entropy, none.margin) == (None, None)
        found[measures] = getattr(some, name)
    assert found[True].shape == (1,)
    np.testing.assert_array_equal(found[True], found[False])
    assert not found[True].flags.writeable


def test_an_engine_that_returns_neither_measures_nor_logits_is_told_so() -> None:
    asked = ask([5, MASK], [0, 1], predict=[1], entropy=True)
    engine = FakeEngine(MANIFEST)
    outputs = engine.run(Packer(0).pack([replace(asked, entropy=False)]))
    with pytest.raises(EngineError, match="neither entropy and margin nor the logits"):
        Packer(0).answer(asked, outputs, 0, 0)


@pytest.mark.parametrize(("side", "begin"), [("right", 0), ("left", 2)])
def test_rows_that_draft_are_told_to_engines_that_have_an_adapter(side: Any, begin: int) -> None:
    drafting = replace(ask([5, MASK], [0, 1], predict=[1]), draft=np.array([1]))
    asks = [ask([5, 6, 7, MASK], [0, 1, 2, 3], predict=[3]), drafting]
    mask = Packer(0, side, drafts=True).pack(asks).draft_mask
    assert mask is not None
    assert mask.dtype == bool
    assert np.argwhere(mask).tolist() == [[1, begin + 1]]
    assert Packer(0, side, drafts=True).pack(asks[:1]).draft_mask is None
    assert Packer(0, side).pack(asks).draft_mask is None


def test_rows_of_positions_that_are_not_fed_are_refused() -> None:
    """A cached step of position 2 alone has no row for position 1."""
    row = RowState.begin(np.array([5]), 2, MASK)
    plan = make_plan(row, Single(), NoCache(), Needs(), None)
    assert plan.rows(np.array([1, 2]))[0].tolist() == [1, 2]
    some = type(plan)(
        plan.window,
        *(np.array([2]),) * 2,
        *(plan.predicted, plan.evidence, *(plan.slots,) * 3),
        None,
    )
    assert [one.tolist() for one in some.rows(np.array([2]), np.array([2, 2]))] == [[0], [0, 0]]
    with pytest.raises(OptionError, match=r"feeds no row for positions \[1\]"):
        some.rows(np.array([1, 2]))


def test_kept_keys_get_the_next_slots_unless_they_have_one() -> None:
    kept = Kept.empty(6, np.array([4, 1])).renewed(np.array([1, 3]), np.array([7, 8]))
    assert kept.positions.tolist() == [4, 1, 3]
    assert kept.slots(np.array([3, 4])).tolist() == [2, 0]
    assert kept.ids.tolist() == [-1, 7, -1, 8, -1, -1]
    assert np.flatnonzero(kept.current(np.array([0, 7, 0, 9, 0, 0]))).tolist() == [1]
