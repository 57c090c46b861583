"""The default that an artifact records: policy or scheme, with window, cache and guard."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import ArtifactError, Blocks, Decoder, Dual, NoCache, OptionError, Single, Unmask
from dawn_runtime.decoding.schemes import Verify
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import DecodingDefaults, DefaultRule, Manifest, Measured, Score
from dawn_runtime.settings import make_plan

MEASURED = Measured(
    *("lines of data.jsonl", 96, "agreement", "fewest forwards", "onnxruntime-cpu, fp32"),
    Score(0.97, 3.1, 700.5, 9.5),
    Score(1.0, 33, 3300, 120),
)
RECORDED = DecodingDefaults(
    *("threshold", {"threshold": 0.8}),
    block_length=8,
    window="single",
    cache="dual",
    guard=("adjacent", "budget:nats=2"),
    measured=MEASURED,
)


def scheme(defaults: DecodingDefaults = RECORDED, **settings: Any) -> Any:
    return make_plan(settings, defaults).scheme


def guards(made: Unmask) -> list[str]:
    return [guard.text() for guard in made.guards]


@pytest.mark.parametrize("settings", [{}, {"policy": "threshold"}, {"policy": None}])
def test_all_of_it_is_taken_where_its_policy_is(settings: dict[str, Any]) -> None:
    made = scheme(**settings)
    assert made.policy.options() == {"threshold": 0.8}
    assert (made.window, made.cache) == (Single(), Dual())
    assert guards(made) == ["adjacent", "budget:nats=2.0"]


def test_nothing_of_it_is_taken_by_another_policy() -> None:
    made = scheme(policy="eb")
    assert (made.window, made.cache, made.guards) == (Blocks(8), NoCache(), ())


def test_the_published_rule_is_one_word_away_with_its_options() -> None:
    published = DefaultRule("dawn", {"tau_low": 0.8}, cache="prefix")
    defaults = replace(RECORDED, published=published)
    made = scheme(defaults, policy="dawn")
    assert made.policy.options()["tau_low"] == 0.8
    assert (made.window, made.cache.name, made.guards) == (Blocks(8), "prefix", ())
    assert scheme(defaults, policy="dawn", options={"tau_low": 0.5}).policy.tau_low == 0.5
    assert scheme(defaults).policy.name == "threshold"
    assert scheme(defaults, policy="eb").cache == NoCache()


def test_each_part_gives_way_to_what_is_given() -> None:
    made = scheme(options={"threshold": 0.5}, window="blocks", cache="none", guard="adjacent")
    assert made.policy.options() == {"threshold": 0.5}
    assert (made.window, made.cache) == (Blocks(8), NoCache())
    assert guards(made) == ["adjacent"]
    assert scheme(block_length=4).window == Blocks(4)


@pytest.mark.parametrize("none", ["none", ["none"], (), []])
def test_no_guard_can_be_asked_for(none: Any) -> None:
    assert scheme(guard=none).guards == ()


def test_none_is_no_guard_among_others() -> None:
    with pytest.raises(OptionError, match="unknown guard: 'none'"):
        scheme(guard=["none", "adjacent"])


def test_a_scheme_may_be_recorded() -> None:
    verify = DecodingDefaults("verify", {"tries": 2}, block_length=8, cache="dual")
    made = scheme(verify)
    assert isinstance(made, Verify)
    assert (made.tries, made.window, made.cache) == (2, Blocks(8), Dual())
    assert scheme(verify, options={"tries": 3}).tries == 3
    manifest = fake_manifest()
    recording = Decoder(replace(manifest, decoding=verify), FakeEngine(manifest))
    plain = Decoder(manifest, FakeEngine(manifest))
    asked: Any = {"input_ids": [1, 2, 3], "max_new_tokens": 16, "stop_at_eos": False}
    told = plain.generate(
        **asked, policy="verify", options={"tries": 2}, cache="dual", block_length=8
    )
    result = recording.generate(**asked)
    assert result.policy == "verify"
    np.testing.assert_array_equal(result.tokens, told.tokens)
    assert (result.forwards, result.rows_fed) == (told.forwards, told.rows_fed)


def test_a_setting_that_a_recorded_scheme_has_not_is_the_callers_fault() -> None:
    verify = DecodingDefaults("verify", {})
    with pytest.raises(OptionError, match=r"draws no tokens.*name a policy that does"):
        scheme(verify, temperature=0.7)
    assert isinstance(scheme(verify, temperature=0.7, policy="threshold"), Unmask)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"policy": "tomorrow"}, r"unknown policy: 'tomorrow'"),
        ({"options": {"tau": 1}}, "unknown option of policy 'threshold'"),
        ({"options": {"threshold": 7}}, "threshold is 7"),
        ({"window": "round"}, "unknown window: 'round'"),
        ({"cache": "dual:fresh=1"}, "unknown option of cache 'dual'"),
        ({"guard": ("fierce",)}, "unknown guard: 'fierce'"),
        ({"policy": "verify", "options": {}, "guard": ("adjacent",)}, "takes no guard"),
        ({"policy": "wino", "options": {}, "guard": (), "cache": "dual"}, "has no cache"),
    ],
)
def test_a_record_that_cannot_be_used_is_one_line_and_other_policies_go_on(
    record: dict[str, Any], message: str
) -> None:
    defaults = replace(RECORDED, **record)
    with pytest.raises(ArtifactError, match=message) as caught:
        scheme(defaults)
    assert str(caught.value).startswith("dawn.json: the decoding it records cannot be used here")
    assert "\n" not in str(caught.value)
    assert scheme(defaults, policy="eb").policy.name == "eb"


def document(**decoding: Any) -> str:
    made = json.loads(replace(fake_manifest(), decoding=RECORDED).to_json())
    made["decoding"].update(decoding)
    return json.dumps(made)


def test_a_record_is_read_as_it_was_written() -> None:
    published = DefaultRule("dawn", {"tau_low": 0.8}, cache="prefix")
    manifest = replace(fake_manifest(), decoding=replace(RECORDED, published=published))
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(document()).decoding == RECORDED


def test_a_manifest_without_a_record_has_none_of_its_fields() -> None:
    plain = json.loads(fake_manifest().to_json())["decoding"]
    assert set(plain) == {
        *("policy", "options", "block_length", "fallback_length", "max_new_tokens"),
    }


@pytest.mark.parametrize(
    ("decoding", "message"),
    [
        ({"window": 3}, "field 'decoding.window' is 3; expected a non-empty string"),
        ({"guard": "adjacent"}, "field 'decoding.guard' is 'adjacent'; expected a list"),
        ({"guard": [1]}, r"field 'decoding.guard\[0\]' is 1"),
        ({"measured": {}}, "field 'decoding.measured.prompts' is missing"),
        ({"measured": "much"}, "field 'decoding.measured' is 'much'; expected an object"),
        ({"sampling": 1}, "field 'decoding.sampling' is unknown"),
        ({"published": {"policy": "dawn", "options": {}, "window": ""}}, "published.window"),
    ],
)
def test_a_malformed_record_is_refused(decoding: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Manifest.from_json(document(**decoding))
