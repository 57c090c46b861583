"""Adapters for drafts: what they compute, and that nothing else is taken for one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dawn_models import (
    Checkpoint,
    CheckpointError,
    ConfigError,
    Told,
    Transformer,
    load_transformer,
    make_transformer,
)
from dawn_models.config import DraftAdapter
from support.checkpoints import write_adapter, write_checkpoint
from support.drafts import run
from support.families import tame

Spoil = Callable[[dict[str, torch.Tensor]], object]

WITHOUT = Told(no_draft_adapter=True)
FIRST = "base_model.model.encoder.layers.0.self_attn.o_proj.lora_A.weight"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model", "nemotron", tame)


def merged(checkpoint: Checkpoint) -> Transformer:
    """The model whose o_proj has what the adapter adds, in every row."""
    weights = {name: tensor.float() for name, tensor in checkpoint}
    adapter = checkpoint.config.draft
    assert adapter is not None
    for i in range(checkpoint.config.num_layers):
        a, b = (weights[f"layers.{i}.draft_{name}.weight"] for name in "ab")
        weights[f"layers.{i}.o_proj.weight"] = (
            weights[f"layers.{i}.o_proj.weight"] + adapter.scale * b @ a
        )
    own = {name: tensor for name, tensor in weights.items() if ".draft_" not in name}
    return make_transformer(Checkpoint.open(checkpoint.folder, WITHOUT).config, own)


def test_an_adapter_is_read_beside_the_weights(folder: Path) -> None:
    plain = Checkpoint.open(folder)
    assert plain.config.draft is None
    assert any("linear_spec_lora: the adapter" in note for note in plain.notes)
    place = write_adapter(folder)
    found = Checkpoint.open(folder)
    assert found.config.draft == DraftAdapter(rank=5, scale=4.0)
    assert not any("linear_spec_lora" in note for note in found.notes)
    added = set(found.tensors) - set(plain.tensors)
    assert added == {f"layers.{i}.draft_{name}.weight" for i in range(2) for name in "ab"}
    assert {found.tensors[name].file.parent for name in added} == {place}


def test_it_can_be_left_out(folder: Path) -> None:
    write_adapter(folder, r="nothing of it is looked at")
    found = Checkpoint.open(folder, WITHOUT)
    assert found.config.draft is None
    assert not any("linear_spec_lora" in note for note in found.notes)


def test_a_family_without_adapters_is_told_so_and_looks_at_none(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "sdar")
    (folder / "linear_spec_lora").write_text("of no meaning here")
    assert Checkpoint.open(folder).config.draft is None
    with pytest.raises(ConfigError, match="sdar has no adapter for drafts; leave --no-draft"):
        Checkpoint.open(folder, WITHOUT)


def test_rows_that_draft_compute_with_the_sum_and_others_as_if_there_were_none(
    folder: Path,
) -> None:
    write_adapter(folder)
    checkpoint = Checkpoint.open(folder)
    model = load_transformer(checkpoint)
    ids = torch.arange(14).view(2, 7)
    sees = torch.ones(2, 7, 7, dtype=torch.bool)
    drafts = torch.tensor([True, False])[:, None].expand(2, 7)
    mixed = run(model, ids, sees, drafts)
    reference = run(merged(checkpoint), ids, sees)
    plain = run(load_transformer(Checkpoint.open(folder, WITHOUT)), ids, sees)
    torch.testing.assert_close(mixed.logits[0], reference.logits[0], atol=1e-4, rtol=0)
    for pair, expected in zip(mixed.present, reference.present, strict=True):
        torch.testing.assert_close(pair.key[0], expected.key[0], atol=1e-4, rtol=0)
    assert (plain.logits[0] - reference.logits[0])[plain.logits[0].isfinite()].abs().max() > 0.1
    assert torch.equal(mixed.logits[1], plain.logits[1])
    nobody = run(model, ids, sees, torch.zeros(2, 7, dtype=torch.bool))
    for found in (nobody, run(model, ids, sees)):
        assert torch.equal(found.logits, plain.logits)
        assert all(
            torch.equal(one.key, other.key)
            for one, other in zip(found.present, plain.present, strict=True)
        )


def test_keys_of_a_draft_are_not_those_of_the_text(folder: Path) -> None:
    """In the first layer nothing precedes them; from the second on they differ."""
    write_adapter(folder)
    model = load_transformer(Checkpoint.open(folder))
    ids, sees = torch.arange(6)[None], torch.ones(1, 6, 6, dtype=torch.bool).tril()
    drafted, text = (
        run(model, ids, sees, torch.full((1, 6), drafts)).present for drafts in (True, False)
    )
    assert torch.equal(drafted[0].key, text[0].key)
    assert (drafted[1].key - text[1].key).abs().max() > 0.01


def test_a_row_that_drafts_beside_text_sees_the_text_as_it_is(folder: Path) -> None:
    """What rows of text compute does not change where later rows draft."""
    write_adapter(folder)
    model = load_transformer(Checkpoint.open(folder))
    ids, sees = torch.arange(6)[None], torch.ones(1, 6, 6, dtype=torch.bool).tril()
    drafts = torch.arange(6)[None] >= 4
    found, text = (run(model, ids, sees, mask) for mask in (drafts, None))
    for one, other in zip(found.present, text.present, strict=True):
        torch.testing.assert_close(one.key[:, :, :4], other.key[:, :, :4], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peft_type": "LOHA"}, '\'peft_type\': got "LOHA", expected "LORA"'),
        ({"peft_type": ...}, "'peft_type': got nothing"),
        ({"target_modules": ["o_proj", "q_proj"]}, "'target_modules': got"),
        ({"target_modules": "all-linear"}, "'target_modules': got"),
        ({"target_modules": None}, "'target_modules': got nothing"),
        ({"use_rslora": True}, "'use_rslora': got true, expected LoRA without it"),
        ({"use_dora": True}, "'use_dora': got true"),
        ({"lora_bias": True}, "'lora_bias': got true"),
        ({"use_qalora": True}, "'use_qalora': got true"),
        ({"bias": "all"}, '\'bias\': got "all", expected "none" or null'),
        ({"fan_in_fan_out": True}, "'fan_in_fan_out': got true"),
        ({"init_lora_weights": "pissa"}, "'init_lora_weights': got \"pissa\""),
        ({"rank_pattern": {"layers.0": 3}}, "'rank_pattern': got"),
        ({"alpha_pattern": {"layers.0": 3}}, "'alpha_pattern': got"),
        ({"modules_to_save": ["lm_head"]}, "'modules_to_save': got"),
        ({"layers_to_transform": [0]}, "'layers_to_transform': got"),
        ({"layers_to_transform": 0}, "'layers_to_transform': got 0"),
        ({"layer_replication": [[0, 1]]}, "'layer_replication': got"),
        ({"not_invented_yet": 1}, "'not_invented_yet': got 1, expected LoRA without it"),
        ({"r": 0}, "'r': got 0, expected an integer of at least 1"),
        ({"r": 10**9}, "'r': got 1000000000, expected an integer of at most"),
        ({"r": True}, "'r': got true"),
        ({"r": ...}, "'r': got nothing"),
        ({"r": 5.0}, r"'r': got 5\.0"),
        ({"r": 6}, r"lora_A\.weight' has shape \[5, 24\], adapter_config.json asks for \[6, 24"),
        ({"lora_alpha": 0}, "'lora_alpha': got 0, expected a finite number above 0"),
        ({"lora_alpha": -4}, "'lora_alpha': got -4"),
        ({"lora_alpha": "512"}, "'lora_alpha': got \"512\""),
        ({"lora_alpha": ...}, "'lora_alpha': got nothing"),
        ({"lora_alpha": 1e300}, "'lora_alpha': got 1e.300, expected .* times r, which is 5"),
        ({"lora_alpha": 10**400}, "'lora_alpha': got 1000"),
    ],
)
def test_another_adapter_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    write_adapter(folder, **changes)
    assert_refused(folder, message)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.pop(FIRST), "lora_A.weight' is missing"),
        (lambda t: [t.pop(name) for name in list(t) if "layers.1" in name], "missing .and 1 more"),
        (lambda t: t.update(more=torch.zeros(2)), "unexpected tensor 'more'; expected the two of"),
        (
            lambda t: t.update({FIRST.replace("layers.0", "layers.2"): torch.zeros(5, 24)}),
            "unexpected tensor 'base_model.*layers.2.*lora_A",
        ),
        (
            lambda t: t.update({FIRST.replace("o_proj", "q_proj"): torch.zeros(5, 16)}),
            "unexpected tensor .*q_proj",
        ),
        (
            lambda t: t.update({"encoder.norm.weight": torch.zeros(16)}),
            "unexpected tensor 'encoder.norm.weight'",
        ),
        (lambda t: t.update({FIRST: torch.zeros(24, 5)}), r"has shape \[24, 5\]"),
        (lambda t: t.update({FIRST: torch.zeros(5, 24, 1)}), r"has shape \[5, 24, 1\]"),
        (lambda t: t.update({FIRST: torch.zeros(5, 24, dtype=torch.int8)}), "is I8, expected one"),
    ],
)
def test_other_tensors_are_refused(folder: Path, spoil: Spoil, message: str) -> None:
    write_adapter(folder, spoil)
    assert_refused(folder, message)


def test_factors_among_the_weights_themselves_are_refused(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "nemotron")
    place = write_adapter(folder)
    (place / "adapter_model.safetensors").replace(folder / "model-extra.safetensors")
    tensors = {FIRST: torch.zeros(5, 24)}
    write_checkpoint(folder, "nemotron", lambda own: own.update(tensors))
    with pytest.raises(CheckpointError, match=r"unexpected tensor .*lora_A"):
        Checkpoint.open(folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
@pytest.mark.parametrize("how", ["missing", "linked", "broken", "folder"])
def test_files_that_cannot_be_trusted_are_refused(
    folder: Path, tmp_path: Path, name: str, how: str
) -> None:
    path = write_adapter(folder) / name
    outside = path.replace(tmp_path / name)
    if how == "linked":
        path.symlink_to(outside)
    elif how == "broken":
        path.write_bytes(outside.read_bytes()[:-7])
    elif how == "folder":
        path.mkdir()
    messages = {
        "missing": "file not found|is not in",
        "linked": f"links to {tmp_path}/{name}, outside its folder",
        "broken": "not readable as",
        "folder": "not readable as JSON: is not a regular file|is not in",
    }
    assert_refused(folder, messages[how])


def test_a_folder_that_lies_elsewhere_is_refused(folder: Path, tmp_path: Path) -> None:
    write_adapter(folder).rename(tmp_path / "elsewhere")
    (folder / "linear_spec_lora").symlink_to(tmp_path / "elsewhere")
    assert_refused(folder, "linear_spec_lora: links to .*elsewhere, outside its folder")
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    assert_refused(folder, "linear_spec_lora: links to .*elsewhere, outside its folder")


def test_a_pickle_is_not_read(folder: Path) -> None:
    place = write_adapter(folder)
    (place / "adapter_model.safetensors").rename(place / "adapter_model.bin")
    assert_refused(folder, "adapter_model.safetensors: file not found; only safetensors are read")


def test_a_huge_configuration_is_not_parsed(folder: Path) -> None:
    place = write_adapter(folder)
    text = json.dumps({"r": 5, "peft_version": "9" * 2**20})
    (place / "adapter_config.json").write_text(text, encoding="utf-8")
    assert_refused(folder, "bytes of JSON, at most")


def test_an_adapter_at_the_top_is_still_none(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", "nemotron")
    save_file({"x": torch.zeros(1)}, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="beside or in place of a model"):
        Checkpoint.open(folder)


def assert_refused(folder: Path, message: str) -> None:
    """One line, which says how the model can be had all the same."""
    with pytest.raises(CheckpointError, match=message) as caught:
        Checkpoint.open(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 700
    assert text.endswith("; --no-draft-adapter leaves the adapter out")
    assert Checkpoint.open(folder, WITHOUT).config.draft is None
