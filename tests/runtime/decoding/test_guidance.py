"""Guidance by hand, and that it is what an engine guided inside would give, whatever the policy."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, EngineError, OptionError, Policy
from dawn_runtime.decoding import Answer, Ask, Blocks, NoCache, RowState, Sampling, Unmask
from dawn_runtime.decoding.guidance import guided, unprompted
from dawn_runtime.engine import EngineInfo, StepInputs, StepOutputs
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.measures import entropy_of, margin_of
from dawn_runtime.policies import Threshold
from support.decoding import MANIFEST, MASK, POLICIES, batch_of, finished, same_row

STRENGTH, PROMPT = 0.7, [1, 2, 3]


def answer_of(logits: Any, **wanted: bool) -> Answer:
    """An answer with these logits."""
    given = np.asarray(logits, dtype=np.float32)
    count = len(given)
    ask = Ask(np.zeros(count, dtype=np.int64), np.arange(count), **wanted)
    none = np.zeros((0, count), dtype=np.float32)
    return Answer(ask, given.argmax(axis=1), np.ones(count, np.float32), none, logits=given)


def test_what_the_prompt_makes_more_probable_gains() -> None:
    """The example of the module: "the" is as probable anywhere."""
    found = guided(answer_of([[2.0, 2.2]]), answer_of([[1.0, 2.2]]), 0.5)
    assert found.logits is not None
    np.testing.assert_allclose(found.logits, [[2.5, 2.2]], rtol=1e-6)
    assert found.tokens.tolist() == [0]
    np.testing.assert_allclose(found.confidence, [1 / (1 + np.exp(-0.3))], rtol=1e-6)


def test_what_is_barred_stays_barred_and_measures_are_of_the_guided_logits() -> None:
    rng = np.random.default_rng(3)
    with_, without = rng.normal(size=(2, 300, 7)).astype(np.float32) * 4
    with_[:, 6] = without[:, 6] = -np.inf
    without[:9, 2] = -np.inf
    asked = answer_of(with_, entropy=True, margin=True)
    found = guided(asked, answer_of(without), 1.5)
    with np.errstate(invalid="ignore"):
        plain = without + 2.5 * (with_ - without)
    plain[np.isinf(with_) | np.isinf(without)] = -np.inf
    assert found.logits is not None
    assert found.entropy is not None
    assert found.margin is not None
    np.testing.assert_allclose(found.logits, plain, rtol=1e-4, atol=1e-5)
    shares = np.exp(plain - plain.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    assert found.tokens.tolist() == shares.argmax(axis=1).tolist()
    np.testing.assert_allclose(found.confidence, shares.max(axis=1), rtol=1e-4)
    plain_entropy = -(shares * np.log(np.where(shares > 0, shares, 1))).sum(axis=1)
    np.testing.assert_allclose(found.entropy, plain_entropy, rtol=1e-3, atol=1e-4)
    best = np.sort(plain, axis=1)
    np.testing.assert_allclose(found.margin, best[:, -1] - best[:, -2], rtol=1e-3, atol=1e-4)


def test_every_given_token_is_masked_beside_the_row_and_no_decided_one() -> None:
    row = RowState.fill(np.array([1, 2, MASK, 5, MASK, MASK]), 2, MASK)
    row = row.advance(*(np.array([value]) for value in (2, 9, 0.5)), np.zeros(0, dtype=np.int64))
    plain = Unmask(Threshold(), Blocks(), NoCache(), Sampling(guidance=1.0))
    asked, beside = plain.ask(row)
    assert asked.tokens.tolist() == [1, 2, 9, 5, MASK, MASK]
    assert beside.tokens.tolist() == [MASK, MASK, 9, MASK, MASK, MASK]
    assert unprompted(row, asked).predict is asked.predict
    assert plain.most_asks() == 2


class Guiding:
    """An engine that guides inside: runs everything twice and returns the guided outputs."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def describe(self) -> EngineInfo:
        return self._engine.describe()

    def close(self) -> None:
        self._engine.close()

    def run(self, inputs: StepInputs) -> StepOutputs:
        wanted = replace(inputs, want_logits=True)
        found = self._engine.run(wanted)
        masked = np.where(inputs.position_ids < len(PROMPT), MASK, inputs.input_ids)
        without = self._engine.run(replace(wanted, input_ids=masked)).logits
        assert found.logits is not None
        assert without is not None
        with np.errstate(invalid="ignore"):
            logits = without + np.float32(1 + STRENGTH) * (found.logits - without)
        logits[np.isnan(logits)] = -np.inf
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return replace(
            found,
            tokens=logits.argmax(axis=-1),
            confidence=1 / weights.sum(axis=-1),
            logits=logits if inputs.want_logits else None,
            entropy=entropy_of(logits) if inputs.want_entropy else None,
            margin=margin_of(logits) if inputs.want_margin else None,
        )


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.name)
def test_any_policy_decides_as_on_an_engine_that_is_guided_inside(policy: Policy) -> None:
    for shift in (0, 1):
        row = RowState.begin(np.array(PROMPT), 11, MASK, shift=shift)
        engine = FakeEngine(MANIFEST, HashModel(32, 4))
        scheme = Unmask(policy, Blocks(6), NoCache(), Sampling(guidance=STRENGTH))
        outside = finished(batch_of(engine, [row], scheme)).row(0)
        inside = finished(
            batch_of(Guiding(engine), [row], Unmask(policy, Blocks(6), NoCache()))
        ).row(0)
        assert same_row(outside, inside)
        assert outside.fed == 2 * inside.fed


def test_guidance_changes_the_answer_and_none_of_it_asks_for_nothing_more(
    fake_decoder: Decoder,
) -> None:
    given: dict[str, Any] = {"input_ids": [1, 2], "max_new_tokens": 16, "stop_at_eos": False}
    plain, none, some = (
        fake_decoder.generate(**given, guidance=strength) for strength in (None, 0.0, 2.0)
    )
    assert plain.tokens.tolist() == none.tokens.tolist() != some.tokens.tolist()
    assert plain.rows_fed == none.rows_fed
    assert some.rows_fed == 18 * 2 * some.forwards


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance": -1}, "guidance is -1; expected a number from 0 to 100"),
        ({"guidance": 1, "cache": "prefix"}, "guidance feeds the row .* cache to 'none', got 'pre"),
        ({"guidance": 1, "policy": "wino"}, "scheme 'wino' has no guidance; leave guidance at 0"),
    ],
)
def test_what_guidance_cannot_do_is_refused_in_one_line(
    fake_decoder: Decoder, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        fake_decoder.generate(input_ids=[1], max_new_tokens=4, **settings)


def test_it_needs_an_engine_that_returns_logits() -> None:
    answer = replace(answer_of([[1.0, 2.0]]), logits=None)
    with pytest.raises(EngineError, match="guidance reads logits"):
        guided(answer, answer, 1.0)
