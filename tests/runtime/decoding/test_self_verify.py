"""What a block model accepts of its own drafts is what it says one token after the other."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Dual, NoCache, OptionError
from dawn_runtime.decoding import Cache, Causal, RowState
from dawn_runtime.decoding.schemes import SelfVerify
from dawn_runtime.engine import StepInputs
from dawn_runtime.engine.fake import FakeEngine
from support.decoding import MANIFEST, MANY, MASK, OLDER, Steady, batch_of, finished, states


def begun(scheme: SelfVerify, prompt: list[int], new: int) -> RowState:
    length = scheme.length(len(prompt), len(prompt) + new)
    return RowState.begin(np.array(prompt, dtype=int), new, MASK, length=length)


class Slow:
    """Each run from scratch; a check runs once for each position, with what is before it."""

    def __init__(self, scheme: SelfVerify, model: Any) -> None:
        self.scheme, self.engine = scheme, FakeEngine(MANIFEST, model)

    def predict(
        self, ids: list[int], start: int, *, alone: int = 0
    ) -> dict[int, tuple[int, float]]:
        """Position -> (token, confidence) of what is undecided.

        Positions from `alone` on, if it is not 0, are blocks of one each.
        """
        size = self.scheme.block_length
        offset = -start % size if self.scheme.origin == "prompt" else 0
        numbers = [
            position + len(ids) if alone and position >= alone else (position + offset) // size
            for position in range(len(ids))
        ]
        mask = np.array([[key <= query for key in numbers] for query in numbers])[None, None]
        rows = np.arange(len(ids))[None]
        found = self.engine.run(StepInputs(np.array([ids]), rows, mask, rows, rows[:, :0]))
        return {
            position: (int(found.tokens[0, position]), float(found.confidence[0, position]))
            for position, token in enumerate(ids)
            if token == MASK
        }

    def decode(self, ids: list[int], start: int, limit: int) -> tuple[list[int], int]:
        ids, steps, size = list(ids), 0, self.scheme.block_length
        offset = -start % size if self.scheme.origin == "prompt" else 0
        while MASK in ids[:limit]:
            steps += 1
            first = ids.index(MASK)
            begin = max((first + offset) // size * size - offset, 0)
            end = min((first + offset) // size * size - offset + size, len(ids))
            found = self.predict(ids[:end], start)
            span = first
            while span < end and ids[span] == MASK:
                span += 1
            expected, product = 0.0, 1.0
            for position in range(first, span):
                product *= found[position][1]
                expected += product
            if expected - self.scheme.cost <= self.scheme.least:
                sure = [p for p in found if found[p][1] > np.float32(self.scheme.threshold)]
                best = min(found, key=lambda position: (-found[position][1], position))
                for position in sure or [best]:
                    ids[position] = found[position][0]
                continue
            steps += 1
            for position in range(first, span):
                said = self.predict([*ids[:position], MASK], start, alone=begin)[position][0]
                ids[position] = said
                if said != found[position][0]:
                    break
        return ids, steps


@given(
    prompt=st.lists(st.integers(1, 20), max_size=9),
    new=st.integers(1, 14),
    block=st.integers(1, 6),
    origin=st.sampled_from(["start", "prompt"]),
    least=st.sampled_from([-1e6, 0.0, 0.8]),
    cache=st.sampled_from([NoCache(), Causal()]),
    share=st.sampled_from([0.0, 0.6, 0.9, 1.0]),
    seed=st.integers(0, 10000),
)
@settings(max_examples=MANY)
def test_it_decides_what_the_slow_reference_decides(
    prompt: list[int],
    new: int,
    block: int,
    origin: str,
    least: float,
    cache: Cache,
    share: float,
    seed: int,
) -> None:
    scheme = SelfVerify(0.7, 1.0, least, cache, block, origin)
    row, model = begun(scheme, prompt, new), Steady(share, seed)
    after = finished(batch_of(FakeEngine(MANIFEST, model), [row], scheme)).row(0)
    expected, steps = Slow(scheme, model).decode(row.ids.tolist(), row.start, row.limit)
    assert after.ids.tolist() == expected
    assert after.step == steps


def test_the_example_of_the_module() -> None:
    scheme = SelfVerify(least=-1e6, block_length=4, origin="prompt")
    row = begun(scheme, [1, 2], 4)
    batch = batch_of(FakeEngine(MANIFEST, Steady(1.0, 0)), [row], scheme)
    row = next(iter(states(batch)))[0]
    (ask,) = scheme.ask(row)
    assert ask.positions.tolist() == [2, 3, 4, 2, 3, 4, 5]
    assert ask.tokens[3:].tolist() == [MASK] * 4
    assert ask.predict.tolist() == [3, 4, 5, 6]
    assert ask.sees is not None
    assert ["".join(".x"[int(one)] for one in line) for line in ask.sees] == [
        "xxx......",
        "xxxx.....",
        "xxxxx....",
        "xx...x...",
        "xxx...x..",
        "xxxx...x.",
        "xxxxx...x",
    ]


class Masks:
    """Predicts the mask, and 9 next."""

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, [MASK, 9]] = [20, 10]
        visible = seen[-1]
        return logits, visible / visible.sum(axis=1, keepdims=True)


def test_a_model_that_predicts_the_mask_says_the_next_best_token() -> None:
    scheme = SelfVerify(least=-1e6, block_length=4)
    row = begun(scheme, [1, 2], 6)
    after = finished(batch_of(FakeEngine(OLDER, Masks()), [row], scheme)).row(0)
    assert after.ids.tolist() == [1, 2, *[9] * 6]


def test_what_it_cannot_follow_is_refused() -> None:
    with pytest.raises(OptionError, match="use cache 'causal' or 'none', got 'dual'"):
        SelfVerify(cache=Dual())
    with pytest.raises(OptionError, match="this model predicts the next token"):
        SelfVerify().suits(1)
    with pytest.raises(OptionError, match="threshold is 2"):
        SelfVerify(2)
