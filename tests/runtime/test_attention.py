"""What a model was trained to see: in the manifest, and no scheme that shows it more decodes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from dawn_runtime import ArtifactError, Decoder, Manifest, OptionError
from dawn_runtime.cli.generate import main
from dawn_runtime.decoding import SCHEMES
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import MANIFEST_FILE, Attention
from dawn_runtime.policies import POLICIES
from dawn_runtime.settings import make_plan

SEEN = [
    Attention("block-causal", 4),
    Attention("block-causal", 32, "prompt"),
    Attention("block-causal", 32, carry=True),
    Attention("causal"),
    Attention("causal", 32, "prompt", carry=True),
]


def read(manifest: Manifest, **changes: Any) -> Manifest:
    document = json.loads(manifest.to_json())
    document["attention"] = document.get("attention", {}) | changes
    return Manifest.from_json(json.dumps(document))


@pytest.mark.parametrize("attention", SEEN)
def test_it_survives_a_round_trip(attention: Attention) -> None:
    manifest = replace(fake_manifest(), attention=attention)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_a_model_that_sees_everything_has_no_such_field_and_older_versions_read_it() -> None:
    assert "attention" not in json.loads(fake_manifest().to_json())
    assert Manifest.from_json(fake_manifest().to_json()).attention == Attention("full")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "sliding"}, "field 'attention.kind' is invalid; use one of"),
        ({"kind": 3}, "field 'attention.kind' is 3; expected a non-empty string"),
        (
            {"kind": "full"},
            "field 'attention.block_length' is invalid; expected 1 to 16777216 with",
        ),
        ({"block_length": None}, "field 'attention.block_length' is invalid"),
        ({"block_length": 0}, "field 'attention.block_length' is 0; expected an integer >= 1"),
        ({"block_length": 2**25}, "field 'attention.block_length' is invalid"),
        ({"origin": "middle"}, "field 'attention.origin' is invalid; use one of"),
        ({"carry": 1}, "field 'attention.carry' is 1; expected true or false"),
        ({"window": 16}, "field 'attention.window' is unknown"),
    ],
)
def test_a_malformed_one_is_named(changes: dict[str, Any], message: str) -> None:
    manifest = replace(fake_manifest(), attention=Attention("block-causal", 4))
    with pytest.raises(ArtifactError, match=message):
        read(manifest, **changes)


FULL_ONLY = [name for name in SCHEMES.names() if SCHEMES.class_of(name).attends == ("full",)]


def made(attention: Attention) -> Decoder:
    shift = int(attention.carry and attention.kind == "block-causal")
    manifest = replace(fake_manifest(prediction_shift=shift), attention=attention)
    return Decoder(manifest, FakeEngine(manifest))


@pytest.mark.parametrize("policy", POLICIES.names())
@pytest.mark.parametrize("attention", SEEN, ids=Attention.words)
def test_every_policy_decodes_every_model(attention: Attention, policy: str) -> None:
    result = made(attention).generate(
        input_ids=[1, 2, 3, 4, 5], max_new_tokens=6, policy=policy, stop_at_eos=False
    )
    assert len(result.tokens) == 6
    assert result.policy in (policy, "threshold")


@pytest.mark.parametrize("policy", FULL_ONLY)
@pytest.mark.parametrize("attention", SEEN, ids=Attention.words)
def test_a_scheme_that_looks_ahead_decodes_no_model_that_must_see_less(
    attention: Attention, policy: str
) -> None:
    decoder = made(attention)
    with pytest.raises(OptionError) as caught:
        decoder.generate(input_ids=[1, 2, 3], max_new_tokens=4, policy=policy)
    assert str(caught.value).startswith(
        f"policy {policy!r} decodes models that attend to everything, and this one attends "
        f"{attention.words()}; use threshold or another policy"
    )
    with pytest.raises(OptionError, match="attend to everything"):
        decoder.fill(input_ids=[1, decoder.manifest.tokens.mask, 2], policy=policy)
    with decoder.batch() as batch, pytest.raises(OptionError, match="attend to everything"):
        batch.admit(input_ids=[1, 2, 3], policy=policy)


@pytest.mark.parametrize(
    ("attention", "policy", "message"),
    [
        (Attention(), "self-verify", "attend block by block, and this one attends to everything"),
        (Attention(), "autoregressive", "attend causally, and this one attends to everything"),
        (Attention("block-causal", 4), "autoregressive", "use threshold or another policy, self-v"),
        (
            Attention("causal"),
            "linear-speculation",
            "attend causally and decide in blocks, and this one attends causally; use threshold or "
            "another policy, autoregressive",
        ),
    ],
)
def test_a_scheme_of_other_models_is_refused_and_those_that_do_are_named(
    attention: Attention, policy: str, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        made(attention).generate(input_ids=[1, 2], max_new_tokens=4, policy=policy)


@pytest.mark.parametrize(
    ("attention", "shift"),
    [*((one, shift) for one in SEEN for shift in (0, 1)), (Attention(), 0), (Attention(), 1)],
    ids=str,
)
def test_whatever_is_named_in_place_of_a_rule_decodes_the_model(
    attention: Attention, shift: int
) -> None:
    manifest = replace(fake_manifest(prediction_shift=shift), attention=attention)
    decoder = Decoder(manifest, FakeEngine(manifest))
    asked: dict[str, Any] = {"input_ids": [1, 2, 3], "max_new_tokens": 4, "stop_at_eos": False}
    other = "autoregressive" if attention.kind != "causal" else "freedave"
    with pytest.raises(OptionError, match="this one attends") as caught:
        decoder.generate(**asked, policy=other)
    named = str(caught.value).rpartition("; use ")[2].replace(" or another policy", "").split(", ")
    works = []
    for name in ["threshold", *SCHEMES.names()]:
        try:
            decoder.generate(**asked, policy=name)
        except OptionError:
            continue
        works.append(name)
    assert named == works


def test_a_draft_is_as_long_as_a_block_and_no_longer() -> None:
    decoder = made(Attention("causal", 4, "prompt", carry=True))
    asked: dict[str, Any] = {"input_ids": [1, 2], "max_new_tokens": 9, "stop_at_eos": False}
    rule = {"policy": "linear-speculation"}
    found = decoder.generate(**asked, **rule, record=True)
    same = decoder.generate(**asked, **rule, options={"draft": 4})
    assert found.tokens.tolist() == same.tokens.tolist()
    assert found.forwards == same.forwards
    with pytest.raises(OptionError, match="draft is 5, but the model decides blocks of 4; use 2"):
        decoder.generate(**asked, **rule, options={"draft": 5})


def test_a_hint_names_options_and_no_settings_of_their_own() -> None:
    decoder = made(Attention("causal", 4, "prompt", carry=True))
    for policy, known in (
        ("linear-speculation", "known: draft"),
        ("autoregressive", "there are none"),
    ):
        with pytest.raises(OptionError, match=rf"of scheme '{policy}': 'x'; {known}$"):
            decoder.generate(input_ids=[1], policy=policy, options={"x": 1})


@pytest.mark.parametrize("policy", ["self-verify", "threshold"])
def test_the_length_of_a_block_is_that_of_the_model(policy: str) -> None:
    decoder = made(Attention("block-causal", 4))
    with pytest.raises(OptionError, match="block_length"):
        decoder.generate(
            input_ids=[1], max_new_tokens=4, policy=policy, options={"block_length": 8}
        )


@pytest.mark.parametrize("attention", SEEN, ids=Attention.words)
def test_a_cache_is_exact_unless_another_is_asked_for(attention: Attention) -> None:
    decoder = made(attention)
    asked = {"input_ids": list(range(1, 40)), "max_new_tokens": 9, "policy": "threshold"}
    usual, anew = decoder.generate(**asked), decoder.generate(**asked, cache="none")
    assert usual.tokens.tolist() == anew.tokens.tolist()
    assert usual.rows_fed < anew.rows_fed
    with pytest.raises(OptionError, match="got 'prefix'"):
        decoder.generate(**asked, cache="prefix")


def test_the_command_says_so_before_an_engine_is_opened(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = replace(fake_manifest(), attention=Attention("block-causal", 4))
    (tmp_path / MANIFEST_FILE).write_text(manifest.to_json())
    assert main([str(tmp_path), "x", "--policy", "wino"]) == 2
    err = capsys.readouterr().err
    assert "attends block by block, in blocks of 4; use threshold" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("policy", [*POLICIES.names(), *FULL_ONLY])
def test_no_rule_that_looks_ahead_takes_a_cache_of_models_that_do_not(policy: str) -> None:
    with pytest.raises(OptionError, match="cache"):
        make_plan({"policy": policy, "cache": "causal"}, fake_manifest().decoding)
