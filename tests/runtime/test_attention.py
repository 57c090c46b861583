"""What a model was trained to see: kept in the manifest; no scheme that shows it more decodes."""

import json
from dataclasses import replace
from typing import Any

import pytest

from dawn_runtime import ArtifactError, Decoder, Manifest, OptionError
from dawn_runtime.cli.generate import main
from dawn_runtime.decoding import SCHEMES
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import MANIFEST_FILE, Attention

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


RULES = ("dawn", "threshold", "one-per-step", "dream", "llada", *SCHEMES.names())


@pytest.mark.parametrize("policy", RULES)
@pytest.mark.parametrize("attention", SEEN, ids=Attention.words)
def test_no_scheme_of_today_decodes_a_model_that_must_see_less(
    attention: Attention, policy: str
) -> None:
    manifest = replace(fake_manifest(), attention=attention)
    engine = FakeEngine(manifest)
    decoder = Decoder(manifest, engine)
    with pytest.raises(OptionError) as caught:
        decoder.generate(input_ids=[1, 2, 3], max_new_tokens=4, policy=policy)
    assert str(caught.value) == (
        f"policy {policy!r} decodes models that attend to everything, and this one attends "
        f"{attention.words()}; this version has no scheme for that"
    )
    with pytest.raises(OptionError, match="attend to everything"):
        decoder.fill(input_ids=[1, manifest.tokens.mask, 2], policy=policy)
    with decoder.batch() as batch, pytest.raises(OptionError, match="attend to everything"):
        batch.admit(input_ids=[1, 2, 3], policy=policy)


def test_a_scheme_that_says_so_is_let_through_and_named_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = replace(fake_manifest(), attention=Attention("causal"))
    decoder = Decoder(manifest, FakeEngine(manifest))
    monkeypatch.setattr(SCHEMES.class_of("wino"), "attends", ("full", "causal"))
    assert len(decoder.generate(input_ids=[1, 2], max_new_tokens=4, policy="wino").tokens) <= 4
    with pytest.raises(OptionError, match=r"attends causally; use wino$"):
        decoder.generate(input_ids=[1, 2], max_new_tokens=4, policy="dawn")


def test_the_command_says_so_before_an_engine_is_opened(
    tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = replace(fake_manifest(), attention=Attention("block-causal", 4))
    (tmp_path / MANIFEST_FILE).write_text(manifest.to_json())
    assert main([str(tmp_path), "x"]) == 2
    err = capsys.readouterr().err
    assert "attends block by block, in blocks of 4; this version has no scheme for that" in err
    assert "Traceback" not in err
