"""What `--model_args` says, and answers of an artifact on the scheduler."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_eval import runner as module
from dawn_eval.likelihood import drawn_masks, every_mask, found, masked_request
from dawn_eval.runner import Arguments, Runner
from dawn_runtime import Decoder, OptionError, __version__
from dawn_runtime.artifact import sha256_of
from dawn_runtime.engine.fake import FakeEngine
from support.text import TEXT_MANIFEST

SHORT: dict[str, Any] = {"policy": "one-per-step", "max_new_tokens": 12, "stop_at_eos": False}


@pytest.fixture
def opened(artifact_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens a runner over a fake engine."""

    class OnFake(Decoder):
        @classmethod
        def open(cls, folder: Any, **options: Any) -> Decoder:
            return Decoder.open(folder, engine=FakeEngine(TEXT_MANIFEST), **options)

    monkeypatch.setattr(module, "Decoder", OnFake)
    return lambda **given: Runner(Arguments.of(str(artifact_folder), **given))


def test_arguments_go_where_they_belong() -> None:
    found = Arguments.of(
        "folder", threads=2, policy="dawn", cache="dual", tau_edge=0.05, batch_size=4, seed=3
    )
    assert found.engine == {"threads": 2}
    assert found.settings == {
        "policy": "dawn",
        "cache": "dual",
        "seed": 3,
        "options": {"tau_edge": 0.05},
    }
    assert (found.batch_size, found.seed, found.mc_samples) == (4, 3, 128)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"mc_samples": 100}, "mc_samples is 100 and mc_batch 32"),
        ({"check_greedy": 1}, "check_greedy is 1"),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Arguments.of("folder", **given)


@pytest.mark.parametrize(
    ("given", "message"), [({"no_such": 1}, "no_such"), ({"policy": "no"}, "unknown policy")]
)
def test_bad_settings_are_refused_before_any_question(
    opened: Any, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        opened(**{**SHORT, **given})


def test_answers_are_those_of_the_decoder_whatever_the_batch(opened: Any) -> None:
    asked = [(f"question {number}", {}) for number in range(7)]
    told: list[tuple[int, str]] = []
    answers = opened(**SHORT, batch_size=3).answer(asked, lambda *one: told.append(one))
    decoder = opened(**SHORT).decoder
    assert answers == [decoder.generate(text, **SHORT).text for text, _ in asked]
    assert told == list(enumerate(answers))
    assert opened(**SHORT).answer([]) == []


def test_answers_end_where_the_task_says(opened: Any) -> None:
    (whole,) = opened(**SHORT).answer([("question", {"until": []})])
    stop = whole[4:6]
    (cut,) = opened(**SHORT).answer([("question", {"until": ["", stop]})])
    assert cut == whole[: whole.find(stop)]
    assert opened(**SHORT).answer([("question", {"until": stop})]) == [cut]


def test_the_task_says_how_long_an_answer_may_be_unless_somebody_else_does(opened: Any) -> None:
    rules = {"policy": "one-per-step", "stop_at_eos": False}
    (five,) = opened(**rules).answer([("question", {"max_gen_toks": 5})])
    (twelve,) = opened(**SHORT).answer([("question", {"max_gen_toks": 5})])
    assert len(five) <= 5 < len(twelve)


def test_drawing_is_what_the_task_says(opened: Any) -> None:
    plain, cold, drawn = (
        opened(**SHORT).answer([("question", said)])
        for said in (
            {},
            {"do_sample": False, "temperature": 2.0},
            {"do_sample": True, "temperature": 2.0, "top_p": 0.9},
        )
    )
    assert plain == cold != drawn
    with pytest.raises(OptionError, match="'num_beams' is not known here"):
        opened(**SHORT).answer([("question", {"num_beams": 3})])


def test_results_carry_the_hash_of_the_artifact(opened: Any, artifact_folder: Path) -> None:
    told = opened(**SHORT).information()
    assert told["artifact_sha256"] == sha256_of(artifact_folder / "dawn.json")
    assert told["dawn_edge_version"] == __version__
    assert told["decoding"] == SHORT


def test_an_estimate_is_the_mean_over_the_masks_that_are_drawn(opened: Any) -> None:
    own = opened(policy="one-per-step", mc_samples=6, mc_batch=3, seed=2, check_greedy=False)
    prompt, text = own.encode("ab"), own.encode("cde", special=False)
    got, greedy = own.log_likelihood(prompt, text)
    assert not greedy
    total = 0.0
    masks = list(drawn_masks(np.random.default_rng(2), 3, 6, 3))
    for mask in masks:
        request = masked_request(own.decoder, prompt, text, mask)
        with own.decoder.batch() as batch:
            key = batch.admit(request)
            batch.step()
            batch.leave(key)
        total += 3 / mask.sum() * found(request).log_probability
    assert got == pytest.approx(total / len(masks))
    assert len(list(every_mask(3))) == 7
    assert own.log_likelihood(prompt, text[:0]) == (0.0, True)


def test_a_text_that_decoding_would_give_is_greedy(opened: Any) -> None:
    own = opened(policy="one-per-step", mc_samples=2, mc_batch=2)
    prompt = own.encode("ab")
    likely = own.decoder.generate(input_ids=prompt, **{**SHORT, "max_new_tokens": 3}).tokens
    assert own.log_likelihood(prompt, likely)[1]
    assert not own.log_likelihood(prompt, likely[::-1] + 1)[1]
