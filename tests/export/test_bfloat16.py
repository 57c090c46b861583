"""Artifacts in bfloat16: written for GPUs, so tried here in the reference evaluator of ONNX."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from dawn_export import ExportOptions, export
from dawn_models import Checkpoint, KeyValue, load_transformer
from dawn_runtime import Artifact, EngineError
from dawn_runtime.engine import open_engine
from dawn_runtime.manifest import GRAPH_FILE
from support.checkpoints import write_checkpoint

OPTIONS = ExportOptions(target="cuda", precision="bf16", dialect="portable", evidence_layers=2)


class GatherElements(OpRun):
    """The evaluator's own, of ONNX 1.23, refuses axis -1."""

    op_domain = ""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int) -> tuple[np.ndarray]:
        return (np.take_along_axis(data, indices, axis=axis),)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("bf16") / "checkpoint", "dream")


@pytest.fixture(scope="module")
def artifact(checkpoint: Path) -> Path:
    export(checkpoint, checkpoint.parent / "out", OPTIONS, verify="all")
    return checkpoint.parent / "out"


def test_weights_are_those_of_the_checkpoint_and_the_rest_is_said(artifact: Path) -> None:
    kept = json.loads((artifact / "verification.json").read_text())
    assert kept["values"]["differing"] == {}
    assert kept["end_to_end"]["layers"] == 0
    assert kept["end_to_end"]["reason"] == "the CPU, where this is tried, cannot run bf16"


def test_keys_and_values_are_bfloat16_in_graph_and_manifest(artifact: Path) -> None:
    manifest = Artifact.open(artifact, verify="full").manifest
    assert (manifest.precision, manifest.kv_dtype) == ("bf16", "bfloat16")
    graph = onnx.load(artifact / GRAPH_FILE, load_external_data=False).graph
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input}
    assert types["past_key.0"] == types["past_value.1"] == onnx.TensorProto.BFLOAT16
    assert types["input_ids"] == onnx.TensorProto.INT64


def test_the_engine_of_the_cpu_refuses_it_in_one_line(artifact: Path) -> None:
    message = "onnxruntime-cpu: cannot run bf16, it runs fp32 and fp16; export at one of them"
    with pytest.raises(EngineError, match=message):
        open_engine(Artifact.open(artifact))


def test_the_graph_computes_what_torch_computes_in_bfloat16(
    artifact: Path, checkpoint: Path
) -> None:
    model = load_transformer(Checkpoint.open(checkpoint), torch.bfloat16)
    length = 6
    ids = np.arange(length)[None] * 5
    rows = np.arange(length)[None]
    mask = np.ones((1, 1, length, length), dtype=bool)
    fixed = {"input_ids": ids, "position_ids": rows, "attention_mask": mask}
    feeds = fixed | {"logit_rows": rows, "attention_rows": rows, "entropy_rows": rows}
    empty = np.zeros((1, 2, 0, 4), dtype=ml_dtypes.bfloat16)
    past = [f"past_{part}.{i}" for i in range(2) for part in ("key", "value")]
    session = ReferenceEvaluator(str(artifact / GRAPH_FILE), new_ops=[GatherElements])
    names = ["confidence", "attention", "logits", "entropy", "margin"]
    with np.errstate(divide="ignore"):  # the reference takes the logarithm of what is barred
        found = session.run(names, feeds | dict.fromkeys(past, empty))
    none = torch.zeros(1, 2, 0, 4, dtype=torch.bfloat16)
    arrays = (torch.from_numpy(array) for array in feeds.values())
    result = model.step(*arrays, past=[KeyValue(none, none)] * 2, evidence_layers=2)
    for array, name in zip(found, names, strict=True):
        expected = np.nan_to_num(getattr(result, name).numpy(), neginf=0)
        array = np.nan_to_num(array, neginf=0)
        # bfloat16 keeps 8 bits, and sums are in another order.
        allowed = 0.06 if name == "margin" else 0.03  # that is the difference of two logits
        assert np.abs(array - expected).max() < allowed * max(1, np.abs(expected).max()), name
