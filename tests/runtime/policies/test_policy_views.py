"""What a policy sees: exactly what it needs, read-only, of its own row."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from dawn_runtime import Blocks, Policy, RowView, Single
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import NoCache, Unmask
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.policies import Needs
from support.decoding import MANIFEST, batch_of, begin, run


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

    assert run([[1]], 4, Vandal(), Single()).is_finished(0)


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
    scheme = Unmask(Spy(), Blocks(4), NoCache())
    batch_of(FakeEngine(MANIFEST), begin([[1, 2, 3]], 6), scheme).step()
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

    schemes = [Unmask(policy, Single(), NoCache()) for policy in (Reader(), LogitsReader())]
    batch_of(FakeEngine(MANIFEST), begin([[1], [2]], 4), [*schemes]).step()
    assert seen == {"reader": False, "logits-reader": True}
