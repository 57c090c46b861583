"""Recommended thresholds that cannot work at a length are told before anybody decodes with them."""

from dataclasses import replace
from typing import Any

import pytest

from dawn_runtime import Dawn
from dawn_runtime.doctor.decoding import decoding_findings
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.manifest import (
    Attention,
    DecodingDefaults,
    DefaultRule,
    Manifest,
    Measured,
    Score,
)


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


@pytest.mark.parametrize(
    ("policy", "options", "message"),
    [
        ("dawn", {"tau_sink": 7}, "tau_sink is 7"),
        ("verify", {"tries": 0}, "tries is 0"),
        ("verifly", {}, "unknown policy: 'verifly'; did you mean 'verify'"),
        ("threshold", {"tau": 1}, "unknown option of policy 'threshold'"),
    ],
)
def test_a_recommendation_that_cannot_be_made_is_a_problem(
    policy: str, options: Any, message: str
) -> None:
    (found,) = decoding_findings(recommending(policy, **options), 64)
    assert found.level == "problem"
    assert message in found.found


def test_a_recommended_scheme_is_told_with_what_it_was_chosen_for() -> None:
    manifest = recommending("verify", tries=2)
    (found,) = decoding_findings(manifest, 64)
    assert (found.level, found.topic) == ("ok", "decoding")
    assert "verify (tries=2, window blocks, cache none)" in found.found
    measured = Measured(
        *("tasks sort", 96, "right answers", "fewest forwards", "onnxruntime-cpu, fp32"),
        Score(0.97, 3.1, 700, 9.5),
        Score(0.98, 33, 3300, 120),
    )
    decoding = replace(manifest.decoding, measured=measured)
    (found,) = decoding_findings(replace(manifest, decoding=decoding), 64)
    assert "97.0 % right answers in 3.10 forwards, 98.0 in 33.00 one token per step" in found.found


@pytest.mark.parametrize(
    ("policy", "published", "why"),
    [
        ("dawn", None, "the usual rule of models like fake, not chosen by a measurement"),
        ("threshold", None, "how the authors of fake decode, not chosen by a measurement"),
        ("threshold", DefaultRule("dawn", {}), "recorded in place of dawn, and not said why"),
    ],
)
def test_why_a_rule_is_the_default_is_told_where_nothing_was_measured(
    policy: str, published: DefaultRule | None, why: str
) -> None:
    manifest = recommending(policy, **({"tau_sink": 0.03} if policy == "dawn" else {}))
    decoding = replace(manifest.decoding, published=published)
    (found,) = decoding_findings(replace(manifest, decoding=decoding, family="fake"), 64)
    assert (found.level, why in found.found) == ("ok", True), found.found


def test_window_and_cache_are_told_with_their_options() -> None:
    manifest = recommending("eb", gamma=0.2)
    decoding = replace(manifest.decoding, cache="dual:refresh=8", window="single")
    (found,) = decoding_findings(replace(manifest, decoding=decoding), 64)
    assert "eb (gamma=0.2, window single, cache dual:refresh=8)" in found.found
    decoding = replace(decoding, cache="d2:current_k=8,rollout_p=0")
    (found,) = decoding_findings(replace(manifest, decoding=decoding), 64)
    assert "cache d2:current_k=8,rollout_p=0.0)" in found.found


def test_a_cache_that_does_not_go_with_the_recorded_scheme_is_a_problem() -> None:
    manifest = recommending("verify", tries=2)
    kept = replace(manifest.decoding, cache="d2")
    (found,) = decoding_findings(replace(manifest, decoding=kept), 64)
    assert found.level == "problem"
    assert "use cache 'none', 'prefix' or 'dual', got 'd2'" in found.found


def test_a_scheme_that_cannot_decode_the_model_is_a_problem() -> None:
    shifted = replace(recommending("wino"), prediction_shift=1)
    (found,) = decoding_findings(shifted, 64)
    assert found.level == "problem"
    assert decoding_findings(replace(shifted, prediction_shift=0), 64)[0].level == "ok"


def test_a_rule_in_a_model_that_decides_block_by_block_is_judged_as_it_decodes() -> None:
    manifest = replace(recommending("sdar", threshold=0.9), attention=Attention("block-causal", 4))
    (found,) = decoding_findings(manifest, 64)
    assert found.level == "ok"
    assert "cache causal" in found.found
    (found,) = decoding_findings(replace(recommending("wino"), attention=Attention("causal")), 64)
    assert found.level == "problem"
