"""Recommended thresholds that cannot work at a length are told before anybody decodes with them."""

from dataclasses import replace
from typing import Any

import pytest

from dawn_runtime import Dawn, Decoder
from dawn_runtime.doctor.decoding import decoding_findings
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import Attention, DecodingDefaults, Manifest


def recommending(policy: str, **options: Any) -> Manifest:
    return replace(fake_manifest(), decoding=DecodingDefaults(policy=policy, options=options))


@pytest.mark.parametrize(("keys", "empty"), [(1, True), (99, True), (100, True), (101, False)])
def test_an_even_row_makes_every_key_a_sink_up_to_a_hundred_keys(keys: int, empty: bool) -> None:
    """The published tau_sink is 0.01."""
    assert (Dawn().doubt(keys) is not None) == empty


def test_thresholds_that_follow_the_length_can_do_their_work_at_any() -> None:
    scaled = Dawn(tau_sink=0.02, reference_length=100, length_exponent=1.0)
    assert [scaled.doubt(keys) for keys in (10, 100, 5000)] == [None] * 3


def test_the_doctor_notes_it_with_the_numbers() -> None:
    (found,) = decoding_findings(recommending("dawn", tau_sink=0.01, tau_low=0.8), 64)
    assert found.level == "note"
    assert "dawn at length 64: a row of 64 keys gives each 0.0156" in found.found
    assert "tau_low 0.8" in found.found
    assert "--policy threshold" in found.advice


def test_the_doctor_is_content_where_nothing_speaks_against_it() -> None:
    for manifest in (recommending("dawn", tau_sink=0.03), recommending("threshold")):
        (found,) = decoding_findings(manifest, 64)
        assert (found.level, found.topic) == ("ok", "decoding")


def test_a_recommended_scheme_is_not_judged_and_a_bad_option_is_a_problem() -> None:
    assert decoding_findings(recommending("wino"), 64) == []
    (found,) = decoding_findings(recommending("dawn", tau_sink=7), 64)
    assert found.level == "problem"
    assert "tau_sink is 7" in found.found


def test_a_result_says_that_its_graph_was_empty() -> None:
    manifest = fake_manifest()
    decoder = Decoder(manifest, FakeEngine(manifest))
    asked: Any = {"input_ids": [1, 2, 3], "max_new_tokens": 40, "policy": "dawn"}
    short = decoder.generate(**asked)
    assert short.doubt is not None
    assert "a row of 43 keys" in short.doubt
    assert short.to_dict()["doubt"] == short.doubt
    assert decoder.generate(**asked, options={"tau_sink": 0.1}).doubt is None
    assert decoder.generate(**{**asked, "max_new_tokens": 8}).doubt is None, (
        "the plain rule has none"
    )


def test_a_policy_is_not_called_fit_for_a_model_that_must_see_less() -> None:
    manifest = replace(recommending("threshold"), attention=Attention("block-causal", 4))
    (found,) = decoding_findings(manifest, 64)
    assert found.level == "note"
    assert "the model attends block by block, in blocks of 4: a policy alone" in found.found
