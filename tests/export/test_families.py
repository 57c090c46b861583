"""What is true of a family is said in its own file; everything else asks it."""

from dataclasses import replace
from pathlib import Path

import pytest

from dawn_export.describe import published_defaults
from dawn_export.quantization.fingerprint import fingerprint
from dawn_export.sources.aliases import ALIASES, ASK_THE_CARD, Alias, aliases_of
from dawn_export.text.tokenizer import read_tokenizer
from dawn_models import FAMILIES, Checkpoint, CheckpointError
from dawn_models.families.family import Release
from dawn_runtime.manifest import DecodingDefaults
from dawn_runtime.policies import POLICIES
from support.families import QWEN3, registered, write_sample
from support.qwen2 import write_qwen2_files

MODELS = Path(__file__).parent.parent.parent / "models"
FULL = replace(
    QWEN3,
    tokenizer_classes=("SampleTokenizer",),
    releases=(Release("sample", "somebody/sample"),),
)


@pytest.mark.parametrize(("family", "edge"), [("Dream", 0.10), ("llada", 0.07)])
def test_published_thresholds_are_options_of_dawn(family: str, edge: float) -> None:
    defaults = published_defaults(FAMILIES[family])
    assert isinstance(defaults, DecodingDefaults)
    assert (defaults.block_length, defaults.fallback_length) == (32, 32)
    policy = POLICIES.make(defaults.policy, defaults.options)
    assert (policy.options()["tau_high"], policy.options()["tau_edge"]) == (0.9, edge)


def test_a_family_without_published_thresholds_has_those_of_the_rule() -> None:
    defaults = published_defaults(QWEN3)
    assert POLICIES.make(defaults.policy, defaults.options) == POLICIES.make("dawn", {})


def test_a_family_brings_its_tokenizer_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, FULL.model_type, FULL)
    folder = write_qwen2_files(tmp_path, tokenizer_class="SampleTokenizer")
    found = read_tokenizer(folder)
    assert found is not None
    assert found.tokenizer.encode("ab").ids


def test_the_class_of_an_unknown_family_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    folder = write_qwen2_files(tmp_path, tokenizer_class="SampleTokenizer")
    with pytest.raises(CheckpointError, match="expected DreamTokenizer, Qwen2Tokenizer, Qwen2T"):
        read_tokenizer(folder)


def test_a_family_brings_its_short_names() -> None:
    found = aliases_of([FULL])
    assert found == {"sample": Alias("sample", "somebody/sample", "sample-qwen3", ASK_THE_CARD)}


def test_short_names_are_each_of_one_family() -> None:
    names = [one.name for family in FAMILIES.values() for one in family.releases]
    assert len(set(names)) == len(names)
    assert list(ALIASES) == names


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("tiny-dream", "78b676d033acab19ada1b40020687a30f9d18af607a1a8ee5eb863b017829350"),
        ("tiny-llada", "af78621c5e872b85fddd5f1d933c6bf0a4142101e75f113cee0ab4f5517970aa"),
    ],
)
def test_calibrations_of_older_versions_are_still_of_their_model(name: str, digest: str) -> None:
    """A switch that a later version adds must not change what tells models apart."""
    assert fingerprint(Checkpoint.open(MODELS / name)).config_sha256 == digest


def test_layers_that_differ_make_another_model(tmp_path: Path) -> None:
    with registered():
        checkpoint = Checkpoint.open(write_sample(tmp_path, QWEN3))
    config = checkpoint.config
    kinds = tuple(replace(config.kind(i), intermediate_size=64 + i) for i in range(3))
    other = Checkpoint(
        checkpoint.folder, checkpoint.family, config.of_layers(kinds), checkpoint.tensors
    )
    assert fingerprint(checkpoint).config_sha256 != fingerprint(other).config_sha256
