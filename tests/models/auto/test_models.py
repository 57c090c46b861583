"""transformers' Auto classes over our families: loading, masks, loss, saving, refusals."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dawn_models import Checkpoint, ConfigError, WeightsError, load_transformer, register
from dawn_models.auto.masks import positions, seen
from support.checkpoints import (
    CONFIGS,
    UNTOLD,
    told_of,
    write_adapter,
    write_checkpoint,
    write_config,
)
from support.families import tame
from support.hub_server import Hub, serving

pytestmark = pytest.mark.transformers

MODELS = Path(__file__).parents[3] / "models"
SHIPPED = ("tiny-dream", "tiny-llada")
OURS = tuple(name for name in CONFIGS if name != "open-dcoder")
"""Families of which transformers has no class; Open-dCoder says that it is a Qwen2."""


@pytest.fixture(autouse=True)
def _registered() -> None:
    register()


def words(family: str) -> dict[str, Any]:
    return {"dawn_family": family} if family in UNTOLD else {}


def load(folder: Path, **options: Any) -> Any:
    from transformers import AutoModel

    return AutoModel.from_pretrained(folder, **{"dtype": torch.float32, **options}).eval()


def ids(length: int = 12, below: int = 38) -> torch.Tensor:
    return torch.randint(below, (2, length), generator=torch.Generator().manual_seed(1))


def write(folder: Path, family: str, **changes: Any) -> Path:
    return write_checkpoint(folder, family, tame, **changes)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_model_computes_what_our_transformer_does(name: str) -> None:
    ours, theirs = load_transformer(Checkpoint.open(MODELS / name)), load(MODELS / name)
    tokens = ids(40, 1000)
    with torch.no_grad():
        assert torch.equal(theirs(tokens).logits, ours(tokens))


@pytest.mark.parametrize("family", OURS)
def test_every_family_is_loaded_and_saved_as_it_was(family: str, tmp_path: Path) -> None:
    source = write(tmp_path / "source", family)
    checkpoint = Checkpoint.open(source, told_of(family))
    ours, theirs = load_transformer(checkpoint), load(source, **words(family))
    tokens, square = ids(), torch.ones(1, 1, 12, 12, dtype=torch.bool).tril()
    with torch.no_grad():
        assert torch.equal(theirs(tokens, square).logits, ours(tokens, square))
    theirs.save_pretrained(tmp_path / "saved")
    again = Checkpoint.open(tmp_path / "saved", told_of(family))
    assert again.config == checkpoint.config
    assert {one.name for one in again.tensors.values()} == {
        one.name for one in checkpoint.tensors.values()
    }
    for parameter, tensor in checkpoint:
        assert torch.equal(again.tensor(parameter), tensor.float())


@pytest.mark.parametrize("family", ["llada", "sdar", "wedlm"])
def test_without_a_mask_rows_see_what_the_family_lets_them(family: str, tmp_path: Path) -> None:
    source = write(tmp_path, family)
    ours, theirs = load_transformer(Checkpoint.open(source)), load(source)
    tokens = ids()
    mask = seen(ours.config, positions(tokens, None), None)
    with torch.no_grad():
        assert torch.equal(theirs(tokens).logits, ours(tokens, mask))


def test_padding_changes_no_token(tmp_path: Path) -> None:
    model, tokens = load(write(tmp_path, "dream")), ids(8)
    padded = torch.cat([torch.full((2, 3), 38), tokens], dim=1)
    mask = (torch.arange(11) >= 3).long().expand(2, 11)
    with torch.no_grad():
        found = model(padded, mask).logits[:, 3:]
        torch.testing.assert_close(found, model(tokens).logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("family", "shift"), [("llada", 0), ("dream", 1)])
def test_the_loss_is_of_the_labelled_tokens_where_the_family_predicts_them(
    family: str, shift: int, tmp_path: Path
) -> None:
    model, tokens = load(write(tmp_path, family)), ids()
    labels = torch.full_like(tokens, -100)
    labels[0, 3], labels[1, 7] = 5, 6
    out = model(tokens, labels=labels)
    logs = out.logits.log_softmax(dim=-1)
    expected = -(logs[0, 3 - shift, 5] + logs[1, 7 - shift, 6]) / 2
    torch.testing.assert_close(out.loss, expected)
    assert model(tokens, labels=labels, return_dict=False)[0] == out.loss


@pytest.mark.parametrize("family", ["dream", "illada"])
def test_training_lowers_the_loss_and_what_is_saved_has_it(family: str, tmp_path: Path) -> None:
    model = load(write(tmp_path / "source", family)).train()
    tokens, masked = ids(), torch.arange(12) % 3 == 1
    noisy = torch.where(masked, model.config.mask_token_id, tokens)
    labels = torch.where(masked, tokens, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(6):
        optimizer.zero_grad()
        loss = model(noisy, labels=labels).loss
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    model.eval().save_pretrained(tmp_path / "trained")
    ours = load_transformer(Checkpoint.open(tmp_path / "trained"))
    with torch.no_grad():
        assert torch.equal(ours(noisy), model(noisy).logits)


@pytest.mark.parametrize("family", ["llada", "illada"])
def test_a_trainer_that_goes_on_has_the_weights_of_the_file(family: str, tmp_path: Path) -> None:
    """It reads the file itself, and insists on no name."""
    from transformers import AutoModelForMaskedLM

    model = load(write(tmp_path / "source", family))
    model.save_pretrained(tmp_path / "saved")
    other = AutoModelForMaskedLM.from_config(model.config)
    found = other.load_state_dict(load_file(tmp_path / "saved" / "model.safetensors"), strict=False)
    assert not found.unexpected_keys
    assert set(found.missing_keys) <= ({"transformer.head.weight"} if family == "illada" else set())
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
    again = AutoModelForMaskedLM.from_config(model.config)
    again.load_state_dict(other.state_dict())
    assert torch.equal(again.transformer.head.weight, model.transformer.head.weight)


def test_a_trained_model_is_exported_and_decodes_as_torch_does(tmp_path: Path) -> None:
    from dawn_export import ExportOptions, export

    load(MODELS / "tiny-llada").save_pretrained(tmp_path / "saved")
    report = export(
        tmp_path / "saved", tmp_path / "out", ExportOptions(evidence_layers=2), verify="sample"
    )
    assert report.verification is not None
    assert report.verification.accepted


def test_dtype_and_the_type_of_the_files(tmp_path: Path) -> None:
    assert load(MODELS / "tiny-dream", dtype="auto").dtype == torch.bfloat16
    assert load(MODELS / "tiny-dream").dtype == torch.float32


def test_a_new_model_is_made_of_a_configuration() -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    fields = {name: value for name, value in CONFIGS["dream"].items() if name != "model_type"}
    torch.manual_seed(0)
    model = AutoModelForMaskedLM.from_config(AutoConfig.for_model("Dream", **fields))
    weights = model.transformer.head.weight
    assert 0.01 < weights.std() < 0.03
    assert torch.equal(model.transformer.norm.weight, torch.ones(16))


def test_a_tied_head_stays_the_embedding(tmp_path: Path) -> None:
    model = load(write(tmp_path / "source", "illada"))
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    model.save_pretrained(tmp_path / "saved")
    assert "lm_head.weight" not in load_file(tmp_path / "saved" / "model.safetensors")


def test_where_no_field_says_it_the_files_say_whether_the_head_is_tied(tmp_path: Path) -> None:
    source = write(tmp_path, "coda", tie_word_embeddings=...)
    model = load(source)
    assert model.get_output_embeddings().weight is not model.get_input_embeddings().weight
    assert model.config.tie_word_embeddings is False


def test_a_model_and_its_configuration_survive_a_pickle(tmp_path: Path) -> None:
    model = load(write(tmp_path, "llada"))
    again = pickle.loads(pickle.dumps(model))
    assert type(again) is type(model)
    assert again.config.hidden_size == again.config.d_model == 16


def test_ids_of_other_files_are_kept_with_the_model(tmp_path: Path) -> None:
    source = write(tmp_path / "source", "dream")
    write_config(source, "dream", mask_token_id=...)
    beside = {"mask_token_id": 39, "eos_token_id": [37, 38], "expand_token_id": 36}
    (source / "generation_config.json").write_text(json.dumps(beside))
    model = load(source)
    assert model.config.mask_token_id == 39
    model.save_pretrained(tmp_path / "saved")
    saved = Checkpoint.open(tmp_path / "saved").config
    assert saved == Checkpoint.open(source).config
    assert saved.eos_token_ids == (37, 38)
    assert saved.barred_token_ids == (36, 39)


def test_no_code_of_a_checkpoint_runs_nor_is_it_asked_for_again(tmp_path: Path) -> None:
    auto = {"AutoModel": "modeling_dream.DreamModel", "AutoConfig": "modeling_dream.DreamConfig"}
    source = write(tmp_path / "source", "dream", auto_map=auto)
    (source / "modeling_dream.py").write_text("raise SystemExit('never run')")
    load(source).save_pretrained(tmp_path / "saved")
    assert "auto_map" not in json.loads((tmp_path / "saved" / "config.json").read_text())


def test_an_id_on_the_hub_is_fetched_without_its_code(tmp_path: Path) -> None:
    source = write(tmp_path / "source", "llada")
    (source / "modeling_llada.py").write_text("raise SystemExit('never run')")
    script = (
        "import dawn_models; dawn_models.register()\n"
        "from transformers import AutoModel\n"
        "print(AutoModel.from_pretrained('org/small').transformer.config.family)"
    )
    hub = Hub({"org/small": source})
    with serving(hub):
        home = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, **home, "HF_HUB_DISABLE_XET": "1"},
            capture_output=True,
            text=True,
        )
    assert done.stdout.strip() == "llada", done.stderr
    assert not [path for path in hub.served if path.endswith(".py")]


# What is refused


def test_what_transformers_has_stays_its_own(tmp_path: Path) -> None:
    from transformers import AutoConfig, Qwen2Config
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    served = register()
    assert served == register()
    assert not set(served) & set(CONFIG_MAPPING_NAMES)
    assert {"Dream", "llada", "sdar"} <= set(served)
    assert "qwen2" not in served
    source = write(tmp_path, "open-dcoder")
    assert type(AutoConfig.from_pretrained(source)) is Qwen2Config


def test_models_that_share_a_type_are_told_apart_by_their_fields(tmp_path: Path) -> None:
    from transformers import AutoConfig

    found = {}
    for family in ("dream", "dream-reasoner"):
        (tmp_path / family).mkdir()
        config = AutoConfig.from_pretrained(write(tmp_path / family, family))
        found[family] = config.family().name
    assert found == {name: name for name in found}


def test_a_type_that_names_two_models_asks_which(tmp_path: Path) -> None:
    source = write(tmp_path, "a2d-mdlm")
    with pytest.raises(ConfigError, match="--family is the argument dawn_family here"):
        load(source)
    assert load(source, dawn_family="a2d-bd3lm").config.family().name == "a2d-bd3lm"


def test_another_model_under_the_name_of_ours_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path, "llada")
    values = json.loads((source / "config.json").read_text()) | {"num_experts": 8}
    (source / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="LLaDA-MoE, a mixture of experts"):
        load(source)


def test_a_mask_that_no_file_names_is_an_argument(tmp_path: Path) -> None:
    source = write(tmp_path, "sdar")
    values = json.loads((source / "config.json").read_text())
    del values["mask_token_id"]
    (source / "config.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="--mask-token-id is the argument mask_token_id here"):
        load(source)
    assert load(source, mask_token_id=7).transformer.config.mask_token_id == 7


def test_a_missing_tensor_is_refused_and_not_made_up(tmp_path: Path) -> None:
    source = write(tmp_path, "dream")
    tensors = load_file(source / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(WeightsError, match=r"tensor 'model.norm.weight' is missing"):
        load(source)


def test_pickles_are_not_read(tmp_path: Path) -> None:
    source = write(tmp_path, "dream")
    torch.save(load_file(source / "model.safetensors"), source / "pytorch_model.bin")
    (source / "model.safetensors").unlink()
    with pytest.raises(WeightsError):
        load(source)


def test_a_configuration_of_another_geometry_is_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig

    source = write(tmp_path, "dream")
    config = AutoConfig.from_pretrained(source)
    config.num_hidden_layers = 1
    with pytest.raises((ConfigError, WeightsError), match=r"num_layers: got 1 .*, expected 2"):
        load(source, config=config)


def test_a_mask_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = load(write(tmp_path, "dream"))
    with pytest.raises(ValueError, match=r"got torch.float32 \[1, 1, 12, 12\], expected \[B, S\]"):
        model(ids(), torch.zeros(1, 1, 12, 12))
    with pytest.raises(TypeError, match="output_hidden_states"):
        model(ids(), output_hidden_states=True)


def test_the_adapter_for_drafts_is_left_out(tmp_path: Path) -> None:
    source = write(tmp_path / "source", "nemotron")
    plain = load(source)
    write_adapter(source)
    model = load(source)
    assert model.transformer.config.draft is None
    assert model.num_parameters() == plain.num_parameters()
