"""NVIDIA's own parser and builder take the graphs we make, and those of real size hold no more."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from dawn_export import ExportOptions, export
from dawn_export.describe import file_entry
from dawn_export.graph.step import build_graph
from dawn_export.options import OPSETS
from dawn_models import Checkpoint, read_config
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.tensorrt.plans import plan_files, read_plans
from make_random_checkpoint import GEOMETRIES
from support.calibrations import calibrate, made_up
from support.checkpoints import write_adapter, write_checkpoint

GATE = Path(__file__).parents[2] / "support" / "tensorrt_gate.py"
OPERATORS = Path(__file__).parents[2] / "data" / "tensorrt_10_3_operators.json"

FAMILIES = {"dream": "dream-7b", "llada": "llada-8b"}
"""Family -> the geometry of its real size."""

CASES = [
    ("portable", "fp16"),
    ("portable", "bf16"),
    ("portable", "fp32"),
    ("portable", "int8"),
    ("portable", "int8-weights"),
    ("portable", "int4"),
    ("portable", "int4-int8"),
    ("fused", "fp16"),
    ("fused", "int8"),
]
"""Dialect and precision of everything that is made for TensorRT."""

SAME_OPERATORS = ("bf16", "fp32")
"""Precisions whose graphs hold what those of fp16 do."""

TYPE_NAMES = {"fp16": "FP16", "bf16": "BF16", "fp32": "FP32"}
LOGICAL = {"BOOL", "INT64", "INT32"}
STORED = {"int8": "INT8", "int8-weights": "INT8", "int4": "INT4", "int4-int8": "INT4"}
"""Precision -> type of the integers that it stores, the narrowest if there are several."""

RANGED = ("int8", "int4-int8")
"""Precisions that need the ranges of activations."""

# Heads of 64: fused attention has kernels for few widths, and none for those of the other tests.
WIDE: dict[str, dict[str, Any]] = {
    "dream": {
        "hidden_size": 128,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "llada": {"d_model": 128, "mlp_hidden_size": 64, "n_heads": 2, "n_kv_heads": 2},
}

Made = Callable[[str, str, str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Artifacts of two layers, exported when first asked for."""
    root = tmp_path_factory.mktemp("gate")

    def artifact(family: str, dialect: str, precision: str) -> Path:
        folder = root / f"{family}-{dialect}-{precision}"
        if not folder.exists():
            checkpoint = write_checkpoint(root / family, family, **WIDE[family])
            ranges = calibrate(Checkpoint.open(checkpoint)) if precision in RANGED else None
            options = ExportOptions(
                "tensorrt", precision, dialect, evidence_layers=2, calibration=ranges
            )
            export(checkpoint, folder, options)
        return folder

    return artifact


def gate(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(GATE), str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def operators(graph: Path) -> set[str]:
    model = onnx.load(str(graph), load_external_data=False)
    return {node.op_type for node in model.graph.node}


def real_operators(family: str, dialect: str, precision: str, folder: Path) -> set[str]:
    """Those of the graph of a model of real size; it has no weights."""
    (folder / "config.json").write_text(json.dumps(GEOMETRIES[FAMILIES[family]]))
    config = read_config(folder)[1]
    ranges = made_up(config) if precision in RANGED else None
    options = ExportOptions("tensorrt", precision, dialect, calibration=ranges)
    return {node.op_type for node in build_graph(config, options).model.graph}


def listed() -> dict[str, list[str]]:
    table: dict[str, list[str]] = json.loads(OPERATORS.read_text(encoding="utf-8"))["operators"]
    return table


def assert_read_by_10_3(used: set[str], precision: str, activations: str) -> None:
    """TensorRT 10.3 knows every operator on the types that it has in our graphs."""
    table = listed()
    wanted = {TYPE_NAMES[activations], STORED.get(precision, TYPE_NAMES[activations])}
    for name in used:
        assert name in table, f"{name} is not in the list of TensorRT 10.3"
        types = set(table[name])
        assert types & wanted or types <= LOGICAL, f"{name} takes {types} alone"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("dialect", "precision"), CASES)
def test_the_graph_is_parsed_and_built(
    made: Made, tmp_path: Path, family: str, dialect: str, precision: str
) -> None:
    folder = made(family, dialect, precision)
    done = gate(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    (record,) = read_plans(folder)
    assert int(done.stdout) == record.file.size > 10_000
    used = operators(folder / "model.onnx")
    if dialect == "portable":
        assert_read_by_10_3(used, precision, read_manifest(folder).activations)
    if precision not in SAME_OPERATORS:
        assert real_operators(family, dialect, precision, tmp_path) <= used


def test_the_real_builder_stops_at_ctrl_c(made: Made, tmp_path: Path) -> None:
    source, folder = made("dream", *CASES[0]), tmp_path / "artifact"
    plans = plan_files(source)
    shutil.copytree(source, folder, ignore=lambda _, names: [n for n in names if n in plans])
    done = gate(folder, "interrupted")
    assert done.returncode == -signal.SIGINT, done.stderr[-2000:]
    assert "KeyboardInterrupt" in done.stderr
    assert not plan_files(folder)


def test_small_blocks_of_int4_are_built(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "dream", "dream", **WIDE["dream"])
    options = ExportOptions("tensorrt", "int4", evidence_layers=2, int4_block=32)
    export(checkpoint, tmp_path / "out", options)
    done = gate(tmp_path / "out")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("dialect", "precision"), [("portable", "fp16"), ("fused", "bf16")])
def test_keys_in_bytes_are_parsed_and_built(tmp_path: Path, dialect: str, precision: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "dream", "dream", **WIDE["dream"])
    options = ExportOptions("tensorrt", precision, dialect, evidence_layers=2, kv="int8")
    export(checkpoint, tmp_path / "out", options)
    done = gate(tmp_path / "out")
    assert done.returncode == 0, done.stderr[-2000:]
    if dialect == "portable":
        used = operators(tmp_path / "out" / "model.onnx")
        assert_read_by_10_3(used, precision, precision)
        assert "UINT8" in listed()["Cast"], "what bytes are turned into numbers by, and back"


def test_a_tied_head_is_no_second_embedding_in_a_plan(tmp_path: Path) -> None:
    size = {"vocab_size": 2**17, "tie_word_embeddings": True}
    checkpoint = write_checkpoint(tmp_path / "dream", "dream", **WIDE["dream"], **size)
    export(checkpoint, tmp_path / "out", ExportOptions("tensorrt", "fp16", evidence_layers=2))
    done = gate(tmp_path / "out")
    assert done.returncode == 0, done.stderr[-2000:]
    embedding = 2 * 2**17 * WIDE["dream"]["hidden_size"]
    assert embedding < int(done.stdout) < 2 * embedding


def test_the_gate_stays_shut_for_a_graph_that_the_parser_does_not_know(
    made: Made, tmp_path: Path
) -> None:
    model = onnx.load(str(made("dream", *CASES[0]) / "model.onnx"), load_external_data=False)
    next(node for node in model.graph.node if node.op_type == "Cos").op_type = "Det"
    folder = tmp_path / "artifact"
    folder.mkdir()
    for path in made("dream", *CASES[0]).glob("*[!e]"):
        (folder / path.name).write_bytes(path.read_bytes())
    onnx.save(model, str(folder / "model.onnx"))
    manifest = read_manifest(folder)
    files = {**manifest.files, "model.onnx": file_entry(folder / "model.onnx")}
    (folder / "dawn.json").write_text(replace(manifest, files=files).to_json())
    done = gate(folder)
    assert done.returncode != 0
    assert "ExportError" in done.stderr


def test_the_opset_of_the_portable_dialect_is_the_newest_that_10_3_reads() -> None:
    assert json.loads(OPERATORS.read_text(encoding="utf-8"))["opset"] == OPSETS["portable"]
    assert not {"Attention", "RMSNormalization", "RotaryEmbedding"} & set(listed())


def test_a_graph_that_measures_is_built_without_what_it_measures(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "dream", "dream", **WIDE["dream"])
    options = ExportOptions("cuda", "fp16", "portable", evidence_layers=2)
    export(checkpoint, tmp_path / "out", options)
    assert read_manifest(tmp_path / "out").step.measures
    done = gate(tmp_path / "out")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize(("dialect", "precision"), [("portable", "int4"), ("fused", "int8")])
def test_a_graph_with_an_adapter_for_drafts_is_built(
    tmp_path: Path, dialect: str, precision: str
) -> None:
    checkpoint = write_checkpoint(
        tmp_path / "model", "nemotron", **WIDE["dream"], head_dim=64, block_size=16
    )
    write_adapter(checkpoint)
    ranges = calibrate(Checkpoint.open(checkpoint)) if precision == "int8" else None
    options = ExportOptions("tensorrt", precision, dialect, evidence_layers=2, calibration=ranges)
    export(checkpoint, tmp_path / "out", options)
    manifest = read_manifest(tmp_path / "out")
    assert manifest.step.drafts
    done = gate(tmp_path / "out")
    assert done.returncode == 0, done.stderr[-2000:]
    if dialect == "portable":
        used = operators(tmp_path / "out" / "model.onnx")
        assert_read_by_10_3(used, precision, manifest.activations)
