"""Sampling: what is drawn how often, and that the same seed draws the same everywhere."""

from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, OptionError, StepInputs, StepOutputs
from dawn_runtime.decoding.sampling import Sampling
from dawn_runtime.engine.fake import FakeEngine, fake_manifest

MASK = 7
LOGITS = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01, 1e-9, 0.5], dtype=np.float32))
DRAWS = 20_000


def shares(sampling: Sampling) -> np.ndarray:
    """How often each of eight tokens is drawn over many positions; the last one is the mask."""
    drawn = sampling.draw(np.tile(LOGITS, (DRAWS, 1)), np.arange(DRAWS), MASK)
    return np.bincount(drawn, minlength=8) / DRAWS


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.4, 0.3, 0.15, 0.1, 0.04, 0.01, 0, 0]),
        ({"top_k": 2}, [0.4, 0.3, 0, 0, 0, 0, 0, 0]),
        ({"top_k": 99}, [0.4, 0.3, 0.15, 0.1, 0.04, 0.01, 0, 0]),
        ({"top_p": 0.69}, [0.4, 0.3, 0, 0, 0, 0, 0, 0]),
        ({"top_p": 0.71}, [0.4, 0.3, 0.15, 0, 0, 0, 0, 0]),
        ({"top_p": 0.97}, [0.4, 0.3, 0.15, 0.1, 0.04, 0, 0, 0]),
        ({"top_p": 0.0}, [1, 0, 0, 0, 0, 0, 0, 0]),
        ({"top_k": 3, "top_p": 0.5}, [0.4, 0.3, 0, 0, 0, 0, 0, 0]),
        ({"top_k": 1}, [1, 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_probable(
    options: dict[str, Any], expected: list[float]
) -> None:
    wanted = np.array(expected) / sum(expected)
    found = shares(Sampling(1.0, seed=5, **options))
    assert (found[wanted == 0] == 0).all()
    np.testing.assert_allclose(found, wanted, atol=4 * np.sqrt(0.25 / DRAWS))


def test_temperature_sharpens_and_flattens() -> None:
    for temperature in (0.5, 2.0):
        powers = np.exp(LOGITS[:7].astype(np.float64)) ** (1 / temperature)
        found = shares(Sampling(temperature))
        np.testing.assert_allclose(found[:7], powers / powers.sum(), atol=0.015)
    assert shares(Sampling(0.01))[0] == 1


def test_numbers_of_neighbours_and_seeds_are_not_alike() -> None:
    chances = [Sampling(1.0, seed=seed).chances(np.arange(1000)) for seed in (0, 1, 2**63)]
    for number, one in enumerate(chances):
        assert (one >= 0).all()
        assert (one < 1).all()
        assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.1
        for other in chances[:number]:
            assert abs(np.corrcoef(one, other)[0, 1]) < 0.1


class Recorder(FakeEngine):
    def __init__(self) -> None:
        super().__init__(fake_manifest())
        self.seen: list[StepInputs] = []

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.seen.append(inputs)
        return super().run(inputs)


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(fake_manifest(), Recorder())


WARM: Any = {"max_new_tokens": 24, "stop_at_eos": False, "temperature": 1.0, "block_length": 8}


@pytest.mark.parametrize("policy", ["threshold", "dawn", "klass"])
def test_a_seed_draws_the_same_in_every_batch(policy: str, decoder: Decoder) -> None:
    prompts: list[Any] = [[1, 2, 3], [4], [1, 2, 3], [5, 6, 7, 8, 9]]
    rules: Any = {**WARM, "policy": policy, "seed": 3, "fallback_length": 0}
    together = decoder.generate_batch(prompts, **rules)
    for prompt, result in zip(prompts, together, strict=True):
        assert result.trace == decoder.generate(prompt, **rules).trace
    assert together[0].trace == together[2].trace
    other = decoder.generate(prompts[0], **{**rules, "seed": 4})
    assert other.tokens.tolist() != together[0].tokens.tolist()


def test_a_cache_draws_what_no_cache_draws(decoder: Decoder) -> None:
    exact, cached = (
        decoder.generate(input_ids=[1, 2], policy="threshold", cache=cache, **WARM)
        for cache in ("none", "dual:refresh=never")
    )
    assert exact.trace == cached.trace


def test_confidence_is_the_probability_the_model_gives_to_the_drawn_token() -> None:
    def model(tokens: Any, positions: Any, key_tokens: Any, *_: Any) -> Any:
        logits = np.full((len(tokens), 64), -30, dtype=np.float32)
        logits[:, [1, 2]] = np.log([0.75, 0.25])
        return logits, np.full((len(tokens), len(key_tokens)), 0.1, dtype=np.float32)

    decoder = Decoder(fake_manifest(), FakeEngine(fake_manifest(), model))
    result = decoder.generate(
        input_ids=[1], max_new_tokens=60, policy="threshold", temperature=5.0, top_k=2
    )
    assert {commit.token for commit in result.trace} == {1, 2}
    for commit in result.trace:
        assert commit.confidence == pytest.approx(0.75 if commit.token == 1 else 0.25, abs=1e-6)
    first = [commit.token for commit in result.trace if commit.step == 0]
    assert len(result.trace) == 60
    assert len(first) == 1, "nothing reaches the threshold, so one position in a step"


@pytest.mark.parametrize("temperature", [0, 5.0])
def test_an_answer_without_a_forbidden_token(temperature: float) -> None:
    """Of 0.6, 0.3 and 0.1 the first is forbidden: confidence 0.75 and 0.25 for the others."""

    def model(tokens: Any, positions: Any, key_tokens: Any, *_: Any) -> Any:
        logits = np.full((len(tokens), 64), -30, dtype=np.float32)
        logits[:, [1, 2, 3]] = np.log([0.6, 0.3, 0.1])
        return logits, np.full((len(tokens), len(key_tokens)), 0.1, dtype=np.float32)

    decoder = Decoder(fake_manifest(), FakeEngine(fake_manifest(), model))
    result = decoder.generate(
        input_ids=[1], max_new_tokens=40, policy="threshold", forbid=1, temperature=temperature
    )
    assert {commit.token for commit in result.trace} <= ({2} if temperature == 0 else {*range(64)})
    assert 1 not in {commit.token for commit in result.trace}
    for commit in result.trace:
        if commit.token in (2, 3):
            expected = 0.75 if commit.token == 2 else 0.25
            assert commit.confidence == pytest.approx(expected, abs=1e-6)


def test_several_tokens_can_be_forbidden_and_none_is_an_empty_list() -> None:
    assert Sampling(forbid=[7, 3, 7]).forbid == (3, 7)  # type: ignore[arg-type]
    assert Sampling(forbid=np.array([5])).forbid == (5,)  # type: ignore[arg-type]
    assert Sampling(forbid=()).forbid is None
    assert not Sampling(forbid=[]).reads_logits  # type: ignore[arg-type]
    found = Decoder(fake_manifest(), FakeEngine(fake_manifest())).generate(
        input_ids=[1], max_new_tokens=16, policy="threshold", forbid=list(range(2, 60))
    )
    assert {commit.token for commit in found.trace} <= {0, 1, 60, 61, 62, 63}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"forbid": 64}, "sampling: forbid is 64; expected an id of the vocabulary, 0 to 63"),
        ({"forbid": [3, 64]}, "sampling: forbid is 64; expected an id of the vocabulary, 0 to 63"),
        ({"forbid": [3, -1]}, "sampling: forbid is -1; expected an integer >= 0"),
        ({"forbid": [[3]]}, "sampling: forbid is \\[3\\]; expected an integer >= 0"),
        ({"forbid": {3}}, "sampling: forbid is \\{3\\}; expected an integer >= 0"),
        ({"forbid": [1] * 2000}, "sampling: forbid has 2000 entries; expected at most 1024"),
        ({"forbid": list(range(64))}, "sampling: forbid has all ids of the vocabulary; leave one"),
        ({"forbid": -1}, "sampling: forbid is -1; expected an integer >= 0"),
        ({"forbid": "end"}, "sampling: forbid is 'end'; expected an integer"),
        ({"forbid": 3, "policy": "wino"}, "scheme 'wino' forbids no token; leave forbid out"),
    ],
)
def test_what_cannot_be_forbidden_is_refused(given: dict[str, Any], message: str) -> None:
    decoder = Decoder(fake_manifest(), FakeEngine(fake_manifest()))
    with pytest.raises(OptionError, match=message):
        decoder.generate(input_ids=[1], max_new_tokens=4, **given)


def test_greedy_decoding_fetches_no_logits_and_sampling_does(decoder: Decoder) -> None:
    engine: Any = decoder._engine
    decoder.generate(input_ids=[1], max_new_tokens=8, policy="threshold", temperature=0, seed=9)
    assert not any(inputs.want_logits for inputs in engine.seen)
    engine.seen.clear()
    decoder.generate(input_ids=[1], max_new_tokens=8, policy="threshold", temperature=0.5)
    assert all(inputs.want_logits for inputs in engine.seen)


def test_a_low_temperature_is_greedy_decoding(decoder: Decoder) -> None:
    cold, greedy = (
        decoder.generate(
            input_ids=[1], max_new_tokens=24, policy="threshold", temperature=t, stop_at_eos=False
        )
        for t in (1e-4, 0)
    )
    assert cold.tokens.tolist() == greedy.tokens.tolist()
    assert cold.forwards == greedy.forwards


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": -0.1}, "sampling: temperature is -0.1; expected a number from 0 to 100"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1, "top_p": 1.1}, "top_p is 1.1; expected a number from 0 to 1"),
        ({"temperature": 1, "top_k": -1}, "top_k is -1; expected an integer >= 0"),
        ({"temperature": 1, "seed": 1.5}, "seed is 1.5; expected an integer >= 0"),
        ({"top_k": 3}, "top_p and top_k need a temperature above 0; got temperature 0"),
        ({"top_p": 0.9}, "top_p and top_k need a temperature above 0"),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str, decoder: Decoder) -> None:
    with pytest.raises(OptionError, match=message):
        decoder.generate(input_ids=[1], **options)


@pytest.mark.parametrize("temperature", [1e-30, 1e-300, 1e-310, 5e-324])
def test_a_temperature_however_small_takes_the_most_probable_token(temperature: float) -> None:
    logits = np.array([[1.0, 30.0, -30.0, 29.0], [-3.0, -2.0, -4.0, 9.0]], dtype=np.float32)
    drawn = Sampling(temperature=temperature).draw(logits, np.arange(2), mask_id=3)
    assert drawn.tolist() == [1, 1]
