"""Linear speculation says, token for token, what greedy decoding of the same causal rows says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Dual, NoCache, OptionError
from dawn_runtime.decoding import Cache, Causal, RowState, Scheme
from dawn_runtime.decoding.schemes import Autoregressive, LinearSpeculation
from dawn_runtime.engine import StepInputs
from dawn_runtime.engine.fake import FakeEngine
from support.decoding import MANIFEST, MANY, MASK, OLDER, Steady, batch_of, finished, states

TEMPLATES = st.lists(st.sampled_from([1, 2, 3, MASK, MASK, MASK]), min_size=1, max_size=16)


def decode(row: RowState, scheme: Scheme, model: Any) -> RowState:
    return finished(batch_of(FakeEngine(MANIFEST, model), [row], scheme)).row(0)


def greedy(ids: list[int], model: Any) -> list[int]:
    """One token after the other, the whole text fed in every step."""
    engine, ids = FakeEngine(MANIFEST, model), list(ids)
    while MASK in ids:
        first = ids.index(MASK)
        rows = np.arange(first)[None]
        mask = np.tri(first, dtype=bool)[None, None]
        step = StepInputs(np.array([ids[:first]]), rows, mask, rows[:, -1:], rows[:, :0])
        ids[first] = int(engine.run(step).tokens[0, 0])
    return ids


@given(
    prompt=st.lists(st.integers(1, 20), min_size=1, max_size=6),
    template=TEMPLATES,
    draft=st.integers(2, 7),
    cache=st.sampled_from([NoCache(), Causal()]),
    shift=st.integers(0, 1),
    share=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 10000),
)
@settings(max_examples=MANY)
def test_it_is_lossless(
    prompt: list[int],
    template: list[int],
    draft: int,
    cache: Cache,
    shift: int,
    share: float,
    seed: int,
) -> None:
    ids, model = [*prompt, *template, MASK], Steady(share, seed)
    row = RowState.fill(np.array(ids), len(prompt), MASK, shift=shift)
    expected = greedy(ids, model)
    assert decode(row, Autoregressive(cache), model).ids.tolist() == expected
    assert decode(row, LinearSpeculation(draft, cache), model).ids.tolist() == expected


class Counting:
    """Both ways of predicting say the position, but the causal row of `wrong` says another token.

    Args:
        wrong: A position of which a draft is wrong.
    """

    def __init__(self, wrong: int) -> None:
        self.wrong = wrong

    def __call__(
        self, tokens: Any, positions: Any, keys: Any, places: Any, visible: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        for row, (token, position) in enumerate(zip(tokens, positions, strict=True)):
            said = position if token == MASK else position + 1
            logits[row, 20 if token != MASK and said == self.wrong else said] = 9
        return logits, visible / visible.sum(axis=1, keepdims=True)


def test_the_example_of_the_module() -> None:
    """Text of three, the seed decided by the prefill; the draft of position 6 is wrong."""
    scheme = LinearSpeculation(4, Causal())
    row = RowState.begin(np.array([1, 2, 3]), 8, MASK)
    found = []
    batch = batch_of(FakeEngine(MANIFEST, Counting(6)), [row], scheme)
    before = row
    for (after,) in states(batch):
        (ask,) = scheme.ask(before)
        commits = [commit.position for commit in after.last_commits()]
        found.append((ask.positions.tolist(), len(ask.kept), commits))
        before = after
    assert found == [
        ([0, 1, 2], 0, [3]),
        ([3, 4, 5, 6], 3, []),
        ([3, 4, 5, 6], 3, [4, 5, 6]),
        ([6, 7, 8, 9], 6, []),
        ([6, 7, 8, 9], 6, [7, 8, 9, 10]),
    ]
    assert after.ids.tolist() == [1, 2, 3, 3, 4, 5, 20, 7, 8, 9, 10]


def test_kept_keys_that_are_looked_at_are_those_of_the_text() -> None:
    for seed in range(30):
        scheme, row = LinearSpeculation(5), RowState.begin(np.array([1, 2]), 20, MASK)
        for (after,) in states(batch_of(FakeEngine(MANIFEST, Steady(0.8, seed)), [row], scheme)):
            if after.finished:
                break
            (ask,) = scheme.ask(after)
            assert after.kept is not None
            places = after.kept.positions[ask.kept]
            np.testing.assert_array_equal(after.kept.ids[places], after.ids[places])
            assert places.tolist() == list(range(ask.positions[0]))


@pytest.mark.parametrize("scheme", [Autoregressive(), LinearSpeculation(3)])
def test_a_model_that_predicts_the_mask_says_the_next_best_token(scheme: Scheme) -> None:
    row = RowState.begin(np.array([1, 2]), 6, MASK)
    after = finished(batch_of(FakeEngine(OLDER, Masks()), [row], scheme)).row(0)
    assert after.ids.tolist() == [1, 2, *[9] * 6]


class Masks:
    """Predicts the mask, and 9 next."""

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, [MASK, 9]] = [20, 10]
        visible = seen[-1]
        return logits, visible / visible.sum(axis=1, keepdims=True)


def test_another_cache_and_an_empty_prompt_are_refused() -> None:
    with pytest.raises(OptionError, match="use cache 'causal' or 'none', got 'dual'"):
        LinearSpeculation(cache=Dual())
    with pytest.raises(OptionError, match="draft is 1; expected an integer >= 2"):
        LinearSpeculation(1)
    with pytest.raises(OptionError, match="got an empty prompt"):
        Autoregressive().ask(RowState.begin(np.zeros(0, dtype=int), 3, MASK))
