"""Info-Gain against a plain reference in random states, and what holds of any answer of it."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder, EngineError, OptionError
from dawn_runtime.decoding import Answer, Ask, Blocks, RowState, Single, Window
from dawn_runtime.decoding.schemes import InfoGain
from dawn_runtime.decoding.schemes.info_gain import Outlook
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support.decoding import END, MANIFEST, MASK, batch_of, begin, states

BLOCK = 5
TEMPLATES = st.lists(st.sampled_from([1, 2, 3, END, MASK, MASK, MASK]), min_size=1, max_size=16)


def random_row(rng: np.random.Generator) -> RowState:
    ids = np.concatenate([[4, 5], np.where(rng.random(14) < 0.6, MASK, 1)])
    ids[rng.integers(2, 16)] = MASK
    return RowState.fill(ids, 2, MASK)


def random_answer(rng: np.random.Generator, ask: Ask, *, sure: bool) -> Answer:
    count = len(ask.predict)
    return Answer(
        ask,
        rng.integers(0, 20, count),
        rng.uniform(0.75 if sure else 0.1, 1, count).astype(np.float32),
        np.zeros((0, len(ask.tokens)), dtype=np.float32),
        entropy=rng.exponential(size=count).astype(np.float32),
    )


def plain_candidates(
    confidence: dict[int, float], temperature: float, uniform: np.ndarray
) -> list[int]:
    """Position by position: the most confident one, then one for each line of numbers."""
    found = [max(confidence, key=lambda position: confidence[position])]
    for line in uniform.tolist():
        keys = {
            position: p / temperature - math.log(-math.log(u + 1e-10) + 1e-10)
            for (position, p), u in zip(confidence.items(), line, strict=True)
        }
        best = max(keys, key=lambda position: keys[position])
        if best not in found:
            found.append(best)
    return found


def plain_choice(
    scheme: InfoGain, row: RowState, before: Outlook, answers: list[Answer]
) -> tuple[list[int], dict[int, int]]:
    """Candidates, and what is committed: position -> token."""
    begin_, end = scheme.window.span(row)
    at = {int(position): place for place, position in enumerate(before.positions)}
    block = [position for position in at if begin_ <= position < end]
    uniform = scheme.draws(row.step, np.array(block))
    sure = {position: float(before.confidence[at[position]]) for position in block}
    drawn = plain_candidates(sure, scheme.position_temperature, uniform)
    gains = []
    for position, answer in zip(drawn, answers, strict=True):
        assert answer.entropy is not None
        gain = -sum(answer.entropy.tolist()) / len(answer.entropy)
        if scheme.variant == "info-gain":
            gain -= float(before.entropy[at[position]])
        gains.append(gain)
    best = gains.index(max(gains))
    committed = {drawn[best]: int(before.tokens[at[drawn[best]]])}
    after = answers[best]
    left = [
        (int(position), int(token), float(p))
        for position, token, p in zip(after.ask.note, after.tokens, after.confidence, strict=True)
        if begin_ <= position < end
    ]
    if len(left) == 1 or all(p >= scheme.threshold for _, _, p in left):
        committed |= {position: token for position, token, _ in left}
    return drawn, committed


def test_it_chooses_what_a_plain_reference_chooses_in_a_thousand_states() -> None:
    rng = np.random.default_rng(5)
    looks, filled = set(), 0
    for number in range(1000):
        scheme = InfoGain(
            int(rng.integers(1, 7)),
            float(rng.uniform(0.05, 2)),
            0.8,
            ("info-gain", "lookum")[number % 2],
            number,
            Blocks(BLOCK),
        )
        row = random_row(rng)
        (opening,) = scheme.ask(row)
        before = random_answer(rng, opening, sure=False)
        made = scheme.decide(row, [before])
        row = row.advance(
            made.commit,
            made.tokens,
            made.confidence,
            np.zeros(0, dtype=np.int64),
            memory=made.memory,
        )
        if row.memory is None or row.finished:  # its block had a single position, or was sure
            assert len(made.commit)
            continue
        assert not len(made.commit)
        asks = scheme.ask(row)
        answers = [random_answer(rng, ask, sure=number % 3 == 0) for ask in asks]
        drawn, committed = plain_choice(scheme, row, row.memory, answers)
        expected = [row.memory.tokens[row.memory.positions == position][0] for position in drawn]
        for ask, position, token in zip(asks, drawn, expected, strict=True):
            assert np.flatnonzero(ask.tokens != row.ids).tolist() == [position]
            assert ask.tokens[position] == token
        decision = scheme.decide(row, answers)
        found = dict(zip(decision.commit.tolist(), decision.tokens.tolist(), strict=True))
        assert found == committed
        looks.add(len(asks))
        filled += len(committed) > 1
    assert looks == {1, 2, 3, 4, 5}
    assert 100 < filled < 600


@given(
    template=TEMPLATES,
    candidates=st.integers(1, 5),
    temperature=st.sampled_from([0.0, 0.2, 100.0]),
    threshold=st.floats(0, 1),
    variant=st.sampled_from(["info-gain", "lookum"]),
    window=st.sampled_from([Blocks(4), Blocks(32), Single()]),
    shift=st.sampled_from([0, 1]),
    seed=st.integers(0, 2**64 - 1),
)
@settings(max_examples=30)
def test_every_row_ends_in_time_and_keeps_what_is_given(
    template: list[int],
    candidates: int,
    temperature: float,
    threshold: float,
    variant: str,
    window: Window,
    shift: int,
    seed: int,
) -> None:
    ids = np.array([5, 6, *template, MASK])
    row = RowState.fill(ids, 2, MASK, shift=shift)
    scheme = InfoGain(candidates, temperature, threshold, variant, seed, window)
    engine = FakeEngine(MANIFEST, HashModel(32, seed % 1000))
    *_, (after,) = states(batch_of(engine, [row], scheme))
    assert after.finished
    assert after.step <= np.count_nonzero(ids == MASK)
    np.testing.assert_array_equal(after.ids[ids != MASK], ids[ids != MASK])
    assert MASK not in after.ids


def test_a_block_that_is_sure_throughout_needs_no_look(fake_decoder: Decoder) -> None:
    settings_: dict[str, Any] = {"max_new_tokens": 12, "block_length": 4, "stop_at_eos": False}
    result = fake_decoder.generate(
        input_ids=[1, 2], policy="info-gain", options={"threshold": 0.0}, **settings_
    )
    assert (result.forwards, result.rows_fed) == (3, 3 * 14)


def test_equal_seeds_draw_equal_candidates_and_others_do_not() -> None:
    def fed(seed: int) -> list[int]:
        scheme = InfoGain(4, position_temperature=1.0, threshold=1.0, seed=seed)
        engine = FakeEngine(MANIFEST, HashModel(32, 3))
        *_, (row,) = states(batch_of(engine, begin([[1, 2]], 12), scheme))
        return [row.fed, *row.ids.tolist()]

    assert fed(1) == fed(1)
    assert fed(1) != fed(2)


def test_what_it_cannot_do_is_refused_in_one_line(fake_decoder: Decoder) -> None:
    given_: dict[str, Any] = {"input_ids": [1], "max_new_tokens": 4, "policy": "info-gain"}
    with pytest.raises(OptionError, match="scheme 'info-gain' has no cache; leave it at 'none'"):
        fake_decoder.generate(**given_, cache="prefix")
    with pytest.raises(OptionError, match="'info-gain' decides block by block; use window"):
        fake_decoder.generate(**given_, window="sliding")
    with pytest.raises(OptionError, match="scheme 'info-gain' draws no tokens"):
        fake_decoder.generate(**given_, temperature=1.0)
    with pytest.raises(OptionError, match="variant is 'gain'; use one of info-gain, lookum"):
        fake_decoder.generate(**given_, options={"variant": "gain"})


def test_it_needs_an_engine_that_measures_entropy() -> None:
    (row,) = begin([[1]], 3)
    (ask,) = InfoGain().ask(row)
    none = np.zeros((0, 4), dtype=np.float32)
    answer = Answer(ask, np.ones(3, dtype=np.int64), np.ones(3, dtype=np.float32), none)
    with pytest.raises(EngineError, match="scheme 'info-gain' reads entropy"):
        InfoGain().decide(row, [answer])
