"""NVIDIA's own parser takes the graphs of every family, and its builder those of every attention.

`test_tensorrt_gate` tries every precision on Dream and LLaDA; here is what other families add:
norms of queries and keys, YaRN, heads wider than the model, tied heads.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest

from dawn_export import ExportOptions, export
from dawn_export.graph.pieces import held_by_graphs
from dawn_export.graph.step import build_graph
from dawn_models import Checkpoint, family_named, read_config
from dawn_runtime.artifact import read_manifest
from support.calibrations import calibrate
from support.checkpoints import CONFIGS, told_of, write_checkpoint, write_config
from support.golden_families import TOLD
from support.shape_arithmetic import TIED_HEAD, shape_arithmetic

ExportedFamily = Callable[[str], Path]

GATE = Path(__file__).parents[2] / "support" / "tensorrt_gate.py"
OPERATORS = Path(__file__).parents[2] / "data" / "tensorrt_10_3_operators.json"

# Heads of 64, for which builders have kernels; those of Nemotron are wider than the model.
WIDE: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
}
OWN: dict[str, dict[str, Any]] = {
    "a2d-mdlm": {"tie_word_embeddings": True},
    "nemotron": {"num_attention_heads": 4, "num_key_value_heads": 2},
}
FAMILIES = [name for name in CONFIGS if name not in ("dream", "llada")]
ROUNDED = [("nemotron", "int8"), ("a2d-mdlm", "int4")]
PARSED = [*((family, "fp16") for family in FAMILIES), *ROUNDED]
BUILT = [
    ("sdar", "fp16"),  # block-causal
    ("fast-dllm-v2", "fp16"),  # the same, a token carried over
    ("wedlm", "fp16"),  # causal
    ("nemotron", "int8"),  # causal, blocks that see themselves whole
    ("a2d-mdlm", "int4"),  # full
]


def name_of(family: str, precision: str) -> str:
    return f"{family}-{precision}"


def exported(root: Path, family: str, precision: str) -> Path:
    source, told = root / family, told_of(family)
    if not source.exists():
        write_checkpoint(source, family, **WIDE | OWN.get(family, {}))
    ranges = calibrate(Checkpoint.open(source, told)) if precision == "int8" else None
    options = ExportOptions("tensorrt", precision, evidence_layers=2, calibration=ranges)
    folder = root / name_of(family, precision)
    export(source, folder, options, told=told)
    return folder


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An artifact of each family, and the rounded ones, by name."""
    root = tmp_path_factory.mktemp("families")
    return {name_of(*case): exported(root, *case) for case in PARSED}


@pytest.fixture(scope="module")
def passed(artifacts: dict[str, Path], exported_family: ExportedFamily) -> dict[str, int]:
    """Name -> layers of the network, or bytes of the plan; all of them in one process."""
    built = [artifacts[name_of(*case)] for case in BUILT]
    parsed = [folder for folder in artifacts.values() if folder not in built]
    golden = [exported_family(name) for name in TOLD]  # of the other dialect
    words = ["--parse", *parsed, *golden, "--build", *built]
    done = subprocess.run(
        [sys.executable, GATE, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-2000:])
    lines = (line.split() for line in done.stdout.splitlines())
    return {name: int(number) for name, number in lines}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_of_every_family_passes(family: str, passed: dict[str, int]) -> None:
    assert passed[name_of(family, "fp16")] > 100


@pytest.mark.parametrize(("family", "precision"), ROUNDED)
def test_rounded_graphs_pass(family: str, precision: str, passed: dict[str, int]) -> None:
    assert passed[name_of(family, precision)] > 100


@pytest.mark.parametrize("name", TOLD)
def test_the_fused_graph_of_every_family_passes(name: str, passed: dict[str, int]) -> None:
    assert passed[name] > 50


@pytest.mark.parametrize(("family", "precision"), BUILT)
def test_every_attention_is_built(
    family: str, precision: str, passed: dict[str, int], artifacts: dict[str, Path]
) -> None:
    name = name_of(family, precision)
    assert passed[name] > 10_000
    assert read_manifest(artifacts[name]).attention.kind == family_named(family).attention


def test_every_attention_is_tried() -> None:
    kinds = {family_named(family).attention for family, _ in BUILT}
    assert kinds == {family_named(family).attention for family in CONFIGS}


@pytest.mark.parametrize("case", [name_of(*case) for case in PARSED])
def test_tensorrt_10_3_knows_every_operator(case: str, artifacts: dict[str, Path]) -> None:
    listed = json.loads(OPERATORS.read_text(encoding="utf-8"))["operators"]
    model = onnx.load(str(artifacts[case] / "model.onnx"), load_external_data=False)
    assert {node.op_type for node in model.graph.node} <= set(listed)


def computes_of_shapes(folder: Path) -> list[str]:
    model = onnx.load(str(folder / "model.onnx"), load_external_data=False)
    return shape_arithmetic(model.graph)


def tied(folder: Path) -> bool:
    return bool(json.loads((folder / "config.json").read_text()).get("tie_word_embeddings"))


@pytest.mark.parametrize("case", [name_of(*case) for case in PARSED])
def test_no_family_computes_shapes(case: str, artifacts: dict[str, Path]) -> None:
    assert computes_of_shapes(artifacts[case]) == []


@pytest.mark.parametrize("name", TOLD)
def test_no_family_computes_shapes_in_the_fused_dialect(
    name: str, exported_family: ExportedFamily
) -> None:
    folder = exported_family(name)
    assert computes_of_shapes(folder) == (TIED_HEAD if tied(folder) else [])


def nodes_of(graph: onnx.GraphProto) -> list[bytes]:
    return [node.SerializeToString(deterministic=True) for node in graph.node]


def test_what_a_model_sees_is_in_no_graph(artifacts: dict[str, Path], tmp_path: Path) -> None:
    shared = onnx.load(str(artifacts["sdar-fp16"] / "model.onnx"), load_external_data=False)
    write_config(tmp_path, "wedlm", **WIDE)
    options = ExportOptions("tensorrt", "fp16", evidence_layers=2)
    own = ir.to_proto(build_graph(read_config(tmp_path)[1], options).model)
    assert nodes_of(own.graph) == nodes_of(shared.graph)


def test_what_is_never_predicted_is_in_a_graph(tmp_path: Path) -> None:
    write_config(tmp_path, "sdar")
    blocks = read_config(tmp_path)[1]
    write_config(tmp_path, "wedlm")
    causal = read_config(tmp_path)[1]
    assert blocks.attention != causal.attention
    assert held_by_graphs(blocks) == held_by_graphs(causal)
    assert held_by_graphs(blocks) != held_by_graphs(replace(blocks, mask_token_id=3))
