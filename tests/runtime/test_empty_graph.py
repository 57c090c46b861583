"""Whether the graph of `dawn` had an edge is counted from the run, and said in the result."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from dawn_runtime import Dawn, Decoder
from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.policies import RowView

ASKED: Any = {"input_ids": [1, 2, 3], "max_new_tokens": 40, "stop_at_eos": False}
NO_KEY_IS_LEFT: Any = {"tau_sink": 0.0}
EVERY_KEY_COUNTS: Any = {"tau_sink": 1.0, "tau_edge": 1e-6}


def decoder(model: Any = None) -> Decoder:
    manifest = fake_manifest()
    return Decoder(manifest, FakeEngine(manifest, model))


def test_an_answer_without_an_edge_says_so_and_is_that_of_a_threshold() -> None:
    result = decoder().generate(**ASKED, policy="dawn", options={**NO_KEY_IS_LEFT, "tau_low": 0.6})
    assert result.doubt == (
        f"its graph had not one edge in {result.forwards} steps: dawn chose as threshold at "
        "tau_low 0.6 would"
    )
    assert result.to_dict()["doubt"] == result.doubt
    plain = decoder().generate(**ASKED, policy="threshold", options={"threshold": 0.6})
    assert result.trace == plain.trace


def test_an_answer_with_an_edge_says_nothing() -> None:
    assert decoder().generate(**ASKED, policy="dawn", options=EVERY_KEY_COUNTS).doubt is None


class EdgeInOneStep(HashModel):
    """Looks evenly at all keys, but once."""

    def __init__(self, mask: int, edge_at: int | None) -> None:
        super().__init__(64)
        self.mask, self.edge_at, self.runs = mask, edge_at, 0

    def __call__(
        self,
        query_tokens: IntArray,
        query_positions: IntArray,
        key_tokens: IntArray,
        key_positions: IntArray,
        visible: BoolArray,
    ) -> tuple[FloatArray, FloatArray]:
        arguments = (query_tokens, query_positions, key_tokens, key_positions, visible)
        logits, _ = super().__call__(*arguments)
        size = visible.shape
        attention = np.full(size, 1e-3, np.float32)
        if self.runs == self.edge_at:
            undecided = np.flatnonzero(query_tokens == self.mask)
            attention[undecided[-1], undecided[0]] = 0.9
        self.runs += 1
        return logits, attention


@pytest.mark.parametrize("edge_at", [None, 0, 1])
def test_a_single_edge_in_a_single_step_is_enough(edge_at: int | None) -> None:
    manifest = fake_manifest(vocab_size=64)
    made = Decoder(manifest, FakeEngine(manifest, EdgeInOneStep(manifest.tokens.mask, edge_at)))
    options = {"tau_sink": 0.5, "tau_edge": 0.5, "tau_low": 0.95, "tau_high": 0.95}
    result = made.generate(**ASKED, policy="dawn", options=options, window="single")
    assert result.forwards > 2
    assert (result.doubt is None) == (edge_at is not None)


def test_a_rule_without_a_graph_and_the_plain_form_of_a_short_answer_say_nothing() -> None:
    assert decoder().generate(**ASKED, policy="threshold").doubt is None
    short = decoder().generate(**{**ASKED, "max_new_tokens": 8}, policy="dawn")
    assert short.fallback
    assert short.doubt is None
    nothing = decoder().generate(**ASKED, policy="dawn", options=NO_KEY_IS_LEFT, max_forwards=0)
    assert nothing.doubt is None, "there was no step"


def test_rows_of_a_batch_are_counted_apart() -> None:
    with decoder().batch(max_rows=2, max_tokens=256) as batch:
        keys = [
            batch.admit(input_ids=[1, 2], max_new_tokens=40, policy="dawn", options=options)
            for options in (NO_KEY_IS_LEFT, EVERY_KEY_COUNTS)
        ]
        while not all(batch.finished(key) for key in keys):
            batch.step()
        empty, full = (batch.leave(key) for key in keys)
    assert empty.doubt is not None
    assert full.doubt is None


@dataclass(frozen=True, slots=True)
class Mine(Dawn):
    """A rule of one's own on top, which chooses otherwise."""

    name: ClassVar[str] = "mine"

    def select(self, view: RowView) -> IntArray:
        return view.candidates[-1:]


def test_a_subclass_that_chooses_otherwise_is_asked_itself() -> None:
    result = decoder().generate(**ASKED, policy=Mine(**NO_KEY_IS_LEFT), block_length=8)
    assert result.trace[0].position == 10
    assert result.doubt is None


def test_the_edges_that_count_are_those_to_candidates_and_anchors() -> None:
    view = RowView(
        candidates=np.array([2, 3]),
        masked=np.array([False, False, True, True, True]),
        window=(2, 4),
        tokens=np.arange(5),
        confidence=np.array([0.5, 0.95, 0.1, 0.1, 0.1], np.float32),
        attention=np.zeros((5, 5), np.float32),
        attention_rows=np.arange(5),
        attention_keys=np.arange(5),
        step=0,
        predicted=np.arange(5),
    )
    rule = Dawn(tau_sink=0.9, tau_edge=0.5)
    expected = {0: False, 1: True, 2: False, 3: True, 4: False}
    for key, linked in expected.items():
        attention = np.zeros((5, 5), np.float32)
        attention[2, key] = 0.8  # of position 2: a known one that is unsure, an anchor, itself, ...
        assert rule.select_linked(replace(view, attention=attention))[1] == linked, key
