"""What is planned before a graph is traced is what the graph reads."""

from pathlib import Path

import pytest

from dawn_export import ExportOptions
from dawn_export.graph.step import build_graph
from dawn_export.quantization.integers import block_size
from dawn_export.quantization.schemes import SCHEMES
from dawn_export.weights.layout import Integers, Layout
from dawn_export.weights.plan import item_bytes, plan, stored_bytes
from dawn_models import ModelConfig, parameter_shapes, read_config
from support.checkpoints import write_config

FREE = [key for key, scheme in SCHEMES.items() if scheme.calibration != "required"]


def config_of(folder: Path, *, tied: bool) -> ModelConfig:
    # Wide enough for blocks of 32, and as narrow as heads allow.
    wide = {"hidden_size": 32, "intermediate_size": 64, "tie_word_embeddings": tied}
    write_config(folder, "dream", **wide)
    return read_config(folder)[1]


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(("target", "precision"), FREE)
def test_the_plan_is_what_the_graph_reads(
    tmp_path: Path, target: str, precision: str, tied: bool
) -> None:
    config = config_of(tmp_path, tied=tied)
    options = ExportOptions(target, precision, evidence_layers=1)
    weights = build_graph(config, options).weights
    assert plan(config, options.scheme) == {weight.name: weight.layout for weight in weights}


def test_by_hand(tmp_path: Path) -> None:
    config = config_of(tmp_path, tied=False)
    plain = plan(config, SCHEMES["cpu", "fp32"])
    assert plain["embedding.weight"] == Layout(("embedding.weight",))
    assert plain["head.weight"] == Layout(("head.weight",), True)
    assert plain["layers.1.mlp_norm.weight"] == Layout(("layers.1.mlp_norm.weight",))
    fused = tuple(f"layers.0.{name}_proj.weight" for name in "qkv")
    assert plain["layers.0.qkv_proj.weight"] == Layout(fused, True)
    assert not plain.keys() & set(fused)
    rounded = plan(config, SCHEMES["cpu", "int8"])
    assert rounded["layers.0.qkv_proj.weight"] == Layout(fused, True, Integers(8, 32))
    assert rounded["embedding.weight"] == Layout(("embedding.weight",), False, Integers(8, 32))
    blocks = plan(config, SCHEMES["cpu", "int4"])
    down = "layers.0.down_proj.weight"
    assert blocks[down] == Layout((down,), False, Integers(4, block_size(down, 64, 32), 8))


def test_bytes_by_hand(tmp_path: Path) -> None:
    config = config_of(tmp_path, tied=False)
    shapes = parameter_shapes(config)
    down = "layers.0.down_proj.weight"  # [32, 64]
    scheme = SCHEMES["cuda", "fp16"]
    assert item_bytes(scheme) == 2
    assert stored_bytes(Layout((down,)), shapes, 2) == [32 * 64 * 2]
    assert stored_bytes(Layout((down,), True, Integers(8, 64)), shapes, 4) == [32 * 64, 32 * 4]
    blocks = Layout((down,), False, Integers(4, 32, 8))
    assert stored_bytes(blocks, shapes, 2) == [32 * 64 // 2, 32 * 2 * 2]
