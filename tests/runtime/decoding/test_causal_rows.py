"""A window of masks behind a causal text decides what a loop decides that feeds all anew."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Blocks, Dual, NoCache, OnePerStep, OptionError, Single, Threshold
from dawn_runtime.decoding import Cache, Causal, RowState
from dawn_runtime.decoding.schemes.causal_rows import CausalRows
from dawn_runtime.engine import StepInputs
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.policies import Wedlm
from support.decoding import (
    DAWN,
    MANIFEST,
    MANY,
    MASK,
    POLICIES,
    Steady,
    batch_of,
    finished,
    states,
)


def begun(scheme: CausalRows, prompt: list[int], new: int) -> RowState:
    length = scheme.length(len(prompt), len(prompt) + new)
    return RowState.begin(np.array(prompt, dtype=int), new, MASK, length=length)


class Slow:
    """The rule as the authors tell it, everything fed in every step: text, filled, masks."""

    def __init__(self, scheme: CausalRows, model: Any) -> None:
        self.scheme, self.engine = scheme, FakeEngine(MANIFEST, model)

    def decode(self, ids: list[int], limit: int) -> tuple[list[int], int]:
        ids, steps = list(ids), 0
        width = getattr(self.scheme.window, "block_length", 0)
        while MASK in ids[:limit]:
            steps += 1
            end = min(ids.index(MASK) + width, len(ids))
            order = sorted(range(end), key=lambda position: (ids[position] == MASK, position))
            fed = np.array([[ids[position] for position in order]])
            rows = np.arange(end)[None]
            sees = np.tri(end, dtype=bool)[None, None]
            step = StepInputs(fed, np.array([order]), sees, rows, rows[:, :0], want_entropy=True)
            found = self.engine.run(step)
            assert found.entropy is not None
            here = {
                position: (row, float(found.confidence[0, row]), float(found.entropy[0, row]))
                for row, position in enumerate(order)
                if ids[position] == MASK
            }
            for position in self.chosen(here):
                ids[position] = int(found.tokens[0, here[position][0]])
        return ids, steps

    def chosen(self, here: dict[int, tuple[int, float, float]]) -> list[int]:
        rule = self.scheme.policy
        if isinstance(rule, Wedlm):
            first = min(here)
            sums = {p: h + rule.penalty * (p - first) for p, (_, _, h) in here.items()}
            return [p for p in sums if sums[p] < rule.tau] or [
                min(sums, key=lambda position: (sums[position], position))
            ]
        least = getattr(rule, "threshold", 2.0)
        best = min(here, key=lambda position: (-here[position][1], position))
        return [p for p in here if here[p][1] >= least] or [best]


@given(
    prompt=st.lists(st.integers(1, 20), max_size=9),
    new=st.integers(1, 14),
    width=st.integers(1, 6),
    policy=st.sampled_from([OnePerStep(), Threshold(0.6), Wedlm(1.0), Wedlm(0.0, 0.3)]),
    cache=st.sampled_from([NoCache(), Causal()]),
    share=st.sampled_from([0.0, 0.7, 1.0]),
    seed=st.integers(0, 10000),
)
@settings(max_examples=MANY)
def test_it_decides_what_the_slow_reference_decides(
    prompt: list[int], new: int, width: int, policy: Any, cache: Cache, share: float, seed: int
) -> None:
    scheme, model = CausalRows(policy, Blocks(width), cache), Steady(share, seed)
    row = begun(scheme, prompt, new)
    after = finished(batch_of(FakeEngine(MANIFEST, model), [row], scheme)).row(0)
    expected, steps = Slow(scheme, model).decode(row.ids.tolist(), row.limit)
    assert after.ids.tolist() == expected
    assert after.step == steps
    assert after.answer.tolist() == expected[len(prompt) : len(prompt) + new]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_every_policy_chooses_in_the_window_and_kept_keys_are_of_the_text(policy: Any) -> None:
    scheme = CausalRows(policy, Blocks(5), Causal())
    row, decided = begun(scheme, [1, 2, 3], 14), 0
    for (after,) in states(batch_of(FakeEngine(MANIFEST, Steady(0.5, 3)), [row], scheme)):
        assert after.decided > decided
        decided = after.decided
        if after.kept is not None:
            kept = after.kept.positions
            assert kept.tolist() == list(range(len(kept)))
            assert not after.masked[kept].any()
            np.testing.assert_array_equal(after.kept.ids[kept], after.ids[kept])
    assert after.finished
    assert len(after.answer) == 14


class Third:
    """Position 4 is decided first, then 2, then 3."""

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, 7] = np.select([positions == 4, positions == 2], [9, 6], 3)
        visible = seen[-1]
        return logits, visible / visible.sum(axis=1, keepdims=True)


def test_the_example_of_the_module() -> None:
    scheme = CausalRows(OnePerStep(), Blocks(3), Causal())
    row = begun(scheme, [1, 2], 3)
    found = []
    batch = batch_of(FakeEngine(MANIFEST, Third()), [row], scheme)
    for before in [row, *(after for (after,) in states(batch))][:3]:
        (ask,) = scheme.ask(before)
        assert ask.sees is not None
        np.testing.assert_array_equal(
            ask.sees, np.tri(len(ask.tokens), len(ask.kept) + len(ask.tokens), len(ask.kept))
        )
        found.append((ask.positions.tolist(), ask.kept.tolist(), ask.store.tolist()))
    assert found == [
        ([0, 1, 2, 3, 4], [], [0, 1]),
        ([4, 2, 3], [0, 1], []),
        ([2, 4, 3, 5], [0, 1], [0]),
    ]


@pytest.mark.parametrize(
    ("window", "cache", "message"),
    [
        (Single(), Causal(), "a window that moves with the text"),
        (Blocks(4), Dual(), "got 'dual'"),
    ],
)
def test_what_a_causal_model_cannot_do_is_refused(window: Any, cache: Cache, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        CausalRows(DAWN, window, cache)


def test_a_model_that_predicts_the_next_token_is_refused() -> None:
    scheme = CausalRows(DAWN, Blocks(4), Causal())
    with pytest.raises(OptionError, match="this one predicts the next token"):
        scheme.suits(1)
