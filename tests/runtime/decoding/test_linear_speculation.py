"""Linear speculation says, token for token, what greedy decoding of the same causal rows says."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Dual, NoCache, OptionError
from dawn_runtime.decoding import Batch, Cache, Causal, Packer, RowState, Scheme
from dawn_runtime.decoding.schemes import Autoregressive, LinearSpeculation
from dawn_runtime.engine import StepInputs
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.manifest import one_graph
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


class Guessing:
    """Says the position in rows of masks as `Counting` does, and another token with `wrong`."""

    def __init__(self, *, wrong: bool) -> None:
        self.wrong = wrong

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits, attention = Counting(-1)(tokens, positions, *seen)
        return (np.roll(logits, 1, axis=1) if self.wrong else logits), attention


class Counts:
    """Causal rows say the next position; rows of masks say nothing of use."""

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits, attention = Counting(-1)(tokens, positions, *seen)
        logits[np.asarray(tokens) == MASK] = np.eye(32, dtype=np.float32)[1]
        return logits, attention


@pytest.mark.parametrize("cache", [NoCache(), Causal()])
def test_an_adapter_changes_how_long_it_takes_and_never_the_text(cache: Cache) -> None:
    """Without one every draft is wrong; with a good one none is; a bad one does no harm."""
    drafting = replace(MANIFEST, graphs=one_graph(measures=True, drafts=True))
    engines = {
        "none": FakeEngine(MANIFEST, Counts()),
        "good": FakeEngine(drafting, Counts(), Guessing(wrong=False)),
        "bad": FakeEngine(drafting, Counts(), Guessing(wrong=True)),
    }
    steps = {}
    for name, engine in engines.items():
        row = RowState.begin(np.array([1, 2, 3]), 13, MASK)
        after = finished(batch_of(engine, [row], LinearSpeculation(4, cache))).row(0)
        assert after.ids.tolist() == [1, 2, 3, *range(3, 16)]
        steps[name] = after.step
    assert steps == {"none": 24, "good": 7, "bad": 24}


@given(
    prompts=st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=5), min_size=1, max_size=3),
    draft=st.integers(2, 6),
    caches=st.lists(st.sampled_from([NoCache(), Causal()]), min_size=3, max_size=3),
    padding=st.sampled_from(["right", "left"]),
    share=st.sampled_from([0.0, 0.5, 0.9]),
    seed=st.integers(0, 10000),
)
@settings(max_examples=MANY // 20)
def test_rows_that_draft_and_rows_that_do_not_share_a_run(
    prompts: list[list[int]], draft: int, caches: list[Cache], padding: Any, share: float, seed: int
) -> None:
    """They join a step after each other, so that one verifies while another drafts."""
    drafting = replace(MANIFEST, graphs=one_graph(measures=True, drafts=True))
    model, drafter = Steady(share, seed), Steady(0.9, seed + 1)
    engine = FakeEngine(drafting, model, drafter)
    packer = replace(Packer.for_engine(0, engine.describe()), padding=padding)
    batch, keys = Batch(engine, packer, max_rows=3, max_tokens=90), []
    for prompt, cache in zip(prompts, caches, strict=False):
        row = RowState.begin(np.array(prompt), 9, MASK)
        keys.append(batch.admit(row, LinearSpeculation(draft, cache)))
        batch.step()
    while batch.active:
        batch.step()
    for key, prompt in zip(keys, prompts, strict=True):
        row = RowState.begin(np.array(prompt), 9, MASK)
        alone = finished(batch_of(engine, [row], LinearSpeculation(draft))).row(0)
        assert batch.row(key).ids.tolist() == greedy([*prompt, *[MASK] * 9], model)
        assert batch.steps(key) == alone.step


def test_what_drafts_is_seed_and_masks_and_keeps_no_key() -> None:
    for cache in (NoCache(), Causal()):
        scheme, row = LinearSpeculation(4, cache), RowState.begin(np.array([1, 2, 3]), 12, MASK)
        drafts = 0
        for (after,) in states(batch_of(FakeEngine(MANIFEST, Counting(6)), [row], scheme)):
            if after.finished:
                break
            (ask,) = scheme.ask(after)
            if ask.draft.size:
                drafts += 1
                assert ask.positions[ask.draft].tolist() == list(
                    range(after.settled - 1, after.settled + len(ask.draft) - 1)
                )
                assert (ask.tokens[ask.draft[1:]] == MASK).all()
                assert not ask.store.size
            else:
                assert (ask.tokens != MASK).all()
        assert drafts


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
    with pytest.raises(OptionError, match="draft is 9, but the model decides blocks of 8; use 2 t"):
        LinearSpeculation(9, block_length=8)
    with pytest.raises(OptionError, match="got an empty prompt"):
        Autoregressive().ask(RowState.begin(np.zeros(0, dtype=int), 3, MASK))
