"""What a layer is made of is said once, and everything else follows."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import dawn_models
from dawn_models import LayerKind, ModelConfig, Transformer, parameter_shapes, read_config
from dawn_models.anatomy import (
    LINEARS,
    NORMS,
    Norm,
    full_name,
    inputs,
    layer_parts,
    linear_names,
    linear_of,
    linears,
    norm_names,
    split_name,
    stored_products,
)

PLAIN = ModelConfig(
    family="dream",
    vocab_size=40,
    hidden_size=16,
    intermediate_size=24,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_length=64,
    rope_theta=10000.0,
    norm_eps=1e-6,
    qkv_bias=False,
    qk_norm=False,
    tied_head=False,
    shift=0,
    mask_token_id=39,
    eos_token_ids=(38,),
    pad_token_id=38,
)
KINDS = st.builds(LayerKind, st.sampled_from([24, 40]), st.booleans())
CONFIGS = st.builds(
    lambda bias, tied, kinds: replace(PLAIN, qkv_bias=bias, tied_head=tied).of_layers(kinds),
    st.booleans(),
    st.booleans(),
    st.lists(KINDS, min_size=1, max_size=3).map(tuple),
)


def test_importing_the_package_does_not_load_torch() -> None:
    code = (
        "import sys, dawn_models, dawn_models.anatomy, dawn_export, dawn_export.cli; "
        "assert 'torch' not in sys.modules; dawn_models.Checkpoint; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_is_there_and_others_are_not() -> None:
    for name in dawn_models.__all__:
        assert name in dir(dawn_models)
        assert getattr(dawn_models, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Transformers'"):
        _ = dawn_models.Transformers


@given(CONFIGS)
@settings(max_examples=20)
def test_the_torch_module_has_exactly_the_parameters_of_the_anatomy(config: ModelConfig) -> None:
    with torch.device("meta"):
        model = Transformer(config)
    found = {name: tuple(values.shape) for name, values in model.named_parameters()}
    assert found == parameter_shapes(config)


@given(CONFIGS)
def test_products_that_are_fused_read_the_same_and_are_stored_alike(config: ModelConfig) -> None:
    for kind in config.kinds:
        products = stored_products(layer_parts(config, kind))
        assert [len(members) for members in products.values()] == [3, 1, 1, 1, 1]
        for members in products.values():
            alike = {(m.reads, m.width, m.bias, m.rounded, m.outliers) for m in members}
            assert len(alike) == 1


@given(CONFIGS)
def test_names_of_products_and_norms_are_those_of_every_kind(config: ModelConfig) -> None:
    found = [layer_parts(config, config.kind(i)) for i in range(config.num_layers)]
    names = [full_name(i, one.name) for i, parts in enumerate(found) for one in linears(parts)]
    assert names == list(linear_names(config.num_layers))
    norms = [
        full_name(i, one.name) for i, p in enumerate(found) for one in inputs(p) if one.smoothed
    ]
    assert norms == list(norm_names(config.num_layers))
    for parts in found:
        smoothed = [one for one in inputs(parts) if one.smoothed]
        assert {one.name: tuple(r.name for r in one.readers) for one in smoothed} == NORMS


def test_the_parts_of_a_layer_of_today() -> None:
    assert LINEARS == ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    assert NORMS == {
        "attention_norm": ("q_proj", "k_proj", "v_proj"),
        "mlp_norm": ("gate_proj", "up_proj"),
    }
    parts = layer_parts(PLAIN, PLAIN.kind(0))
    assert [(i.name, i.width, i.smoothed) for i in inputs(parts)] == [
        ("attention_norm", 16, True),
        ("o_proj", 32, False),
        ("mlp_norm", 16, True),
        ("down_proj", 24, False),
    ]
    assert [one.name for one in linears(parts) if one.outliers] == ["down_proj"]


def test_norms_of_queries_and_keys_are_as_wide_as_a_head_and_feed_no_product() -> None:
    parts = layer_parts(PLAIN, LayerKind(24, qk_norm=True))
    norms = {part.name: part.width for part in parts if isinstance(part, Norm)}
    assert norms == {"attention_norm": 16, "q_norm": 8, "k_norm": 8, "mlp_norm": 16}
    assert {"q_norm", "k_norm"}.isdisjoint(one.reads for one in linears(parts))


def test_names_are_put_together_and_taken_apart() -> None:
    assert split_name(full_name(12, "experts.3.up_proj.weight")) == (12, "experts.3.up_proj.weight")
    assert split_name("embedding.weight") == (None, "embedding.weight")
    wide = linear_of(PLAIN, "layers.1.down_proj.weight")
    assert wide is not None
    assert (wide.name, wide.width, wide.out) == ("down_proj", 24, 16)
    for other in ("head.weight", "layers.0.mlp_norm.weight", "layers.0.q_proj.bias"):
        assert linear_of(PLAIN, other) is None


def test_kinds_are_each_there_once_and_as_many_as_layers() -> None:
    narrow, normed = LayerKind(24, qk_norm=False), LayerKind(40, qk_norm=True)
    assert PLAIN.kinds == (narrow,)
    config = PLAIN.of_layers((normed, narrow, normed))
    assert (config.num_layers, config.kinds, config.kind(2)) == (3, (normed, narrow), normed)
    assert config.first_layers(1).kinds == (normed,)
    with pytest.raises(ValueError, match="kinds of 3 layers, expected 2"):
        replace(config, num_layers=2)


def test_a_shipped_model_has_one_kind_of_layers(tmp_path: Path) -> None:
    models = Path(__file__).parent.parent.parent / "models"
    for name in ("tiny-dream", "tiny-llada"):
        _, config = read_config(models / name)
        assert len(config.kinds) == 1
