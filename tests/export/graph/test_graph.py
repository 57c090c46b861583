"""The files of an exported graph: inputs and outputs, operators, names, where the weights are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dawn_export import ExportOptions, export
from dawn_export.graph.step import StepGraph
from dawn_export.weights.data_file import ALIGNMENT
from dawn_models import Checkpoint
from dawn_runtime import Artifact, StepInputs, contract, open_engine
from dawn_runtime.contract import TensorSpec
from dawn_runtime.manifest import GRAPH_FILE, WEIGHTS_FILE, Manifest
from support.golden import GOLDEN

ARTIFACTS = [
    ("dream", "portable", "fp32"),
    ("dream", "fused", "fp32"),
    ("llada", "portable", "fp32"),
    ("llada", "fused", "fp32"),
    ("dream", "fused", "fp16"),
]
PLAIN = {
    *("Add", "ArgMax", "Cast", "Concat", "Cos", "Div", "Expand", "Gather", "GatherElements"),
    *(
        "MatMul",
        "Mul",
        "ReduceMax",
        "ReduceMean",
        "Reshape",
        "Sigmoid",
        "Sin",
        "Softmax",
        "Split",
    ),
    *("Squeeze", "Sub", "Transpose", "Unsqueeze", "Where"),
    # What is barred, the second best and the entropy.
    *("Clip", "Exp", "GatherND", "LogSoftmax", "Max", "Min", "Neg", "ReduceSum", "ScatterElements"),
    *("Slice", "TopK"),
}
OPERATORS = {
    "portable": PLAIN | {"Pow", "Sqrt"},
    "fused": PLAIN | {"Attention", "RMSNormalization", "RotaryEmbedding"},
}


@pytest.fixture(scope="module", params=ARTIFACTS, ids="-".join)
def folder(request: pytest.FixtureRequest, exported: Callable[..., Path]) -> Path:
    return exported(*request.param)


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Manifest:
    return Manifest.from_json((folder / "dawn.json").read_text())


@pytest.fixture(scope="module")
def model(folder: Path) -> onnx.ModelProto:
    return onnx.load(folder / GRAPH_FILE, load_external_data=False)


def described(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    dims = (dim.dim_param or dim.dim_value for dim in tensor.shape.dim)
    return TensorSpec(value.name, str(dtype), tuple(dims))


def is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def place(tensor: onnx.TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def members(name: str) -> list[str]:
    """The parameters that a stored weight is made of."""
    return [name.replace("qkv_proj", f"{one}_proj") for one in ("qkv" if "qkv" in name else "_")]


def test_inputs_and_outputs_are_the_tables_of_the_contract(
    model: onnx.ModelProto, manifest: Manifest
) -> None:
    assert tuple(map(described, model.graph.input)) == manifest.inputs
    assert tuple(map(described, model.graph.output)) == manifest.outputs


def test_opset_and_ir_version_belong_to_the_dialect(
    model: onnx.ModelProto, manifest: Manifest
) -> None:
    versions = {"portable": (20, 9), "fused": (23, 11)}
    (opset,) = model.opset_import
    assert (opset.domain, opset.version, model.ir_version) == ("", *versions[manifest.dialect])
    assert manifest.opset == opset.version


def test_operators_are_those_of_the_dialect(model: onnx.ModelProto, manifest: Manifest) -> None:
    used = {node.op_type for node in model.graph.node}
    assert used <= OPERATORS[manifest.dialect]
    assert ("Attention" in used) == (manifest.dialect == "fused")
    assert not model.functions
    assert {node.domain for node in model.graph.node} == {""}


def test_float32_graphs_cast_nothing_but_the_positions(
    model: onnx.ModelProto, manifest: Manifest
) -> None:
    casts = [node for node in model.graph.node if node.op_type == "Cast"]
    if manifest.precision == "fp32":
        assert len(casts) == 1


def test_no_weight_is_transposed_and_no_reshape_computes_its_sizes(model: onnx.ModelProto) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Transpose":
            assert node.input[0] not in constants, node.name
        if node.op_type == "Reshape":
            assert node.input[1] in constants, node.name


def test_the_checker_accepts_the_file_and_infers_its_shapes(folder: Path) -> None:
    onnx.checker.check_model(str(folder / GRAPH_FILE), full_check=True)


def test_no_name_of_the_exporter_is_left(model: onnx.ModelProto) -> None:
    weights = {tensor.name for tensor in model.graph.initializer if is_external(tensor)}
    assert {value.name for value in model.graph.value_info} == weights
    for node in model.graph.node:
        assert not node.doc_string
        assert not node.metadata_props
        assert node.name.startswith(("enter/", "layers.", "leave/", "embedding/", "norm/", "head/"))
    names = [node.name for node in model.graph.node]
    assert len(set(names)) == len(names)


def test_every_parameter_is_stored_once_in_the_data_file_and_nothing_else_is(
    model: onnx.ModelProto, folder: Path, manifest: Manifest
) -> None:
    stored = {tensor.name: tensor for tensor in model.graph.initializer if is_external(tensor)}
    checkpoint = Checkpoint.open(GOLDEN / f"{manifest.family}-random")
    assert sorted(member for name in stored for member in members(name)) == sorted(
        checkpoint.tensors
    )
    places = sorted(
        (int(place(tensor)["offset"]), int(place(tensor)["length"])) for tensor in stored.values()
    )
    assert all(offset % ALIGNMENT == 0 for offset, _ in places)
    ends = [0, *(offset + length for offset, length in places)]
    gaps = [offset - end for (offset, _), end in zip(places, ends, strict=False)]
    assert all(0 <= gap < ALIGNMENT for gap in gaps)
    assert ends[-1] == (folder / WEIGHTS_FILE).stat().st_size
    assert {place(tensor)["location"] for tensor in stored.values()} == {WEIGHTS_FILE}
    inline = [tensor for tensor in model.graph.initializer if not is_external(tensor)]
    assert max(len(tensor.raw_data) for tensor in inline) <= 64


def test_matrices_are_stored_as_products_read_them(
    model: onnx.ModelProto, folder: Path, manifest: Manifest
) -> None:
    checkpoint = Checkpoint.open(GOLDEN / f"{manifest.family}-random")
    data = (folder / WEIGHTS_FILE).read_bytes()
    for tensor in filter(is_external, model.graph.initializer):
        offset, length = (int(place(tensor)[key]) for key in ("offset", "length"))
        found = np.frombuffer(data[offset : offset + length], manifest.activation_dtype)
        parts = [checkpoint.tensor(name).float().numpy() for name in members(tensor.name)]
        source = np.concatenate(parts).astype(manifest.activation_dtype)
        if source.ndim == 2 and tensor.name != "embedding.weight":
            source = source.T
        np.testing.assert_array_equal(found.reshape(tensor.dims), source, err_msg=tensor.name)


def test_a_graph_that_is_not_written_yet_holds_no_weight(small_graph: StepGraph) -> None:
    names = {weight.name for weight in small_graph.weights}
    graph = small_graph.model.graph
    constants = [value for name, value in graph.initializers.items() if name not in names]
    assert max(value.const_value.nbytes for value in constants) <= 64
    assert names <= set(graph.initializers)


def test_a_tied_head_reads_the_embedding(small_graph: StepGraph) -> None:
    assert "head.weight" not in small_graph.model.graph.initializers
    embedding = small_graph.model.graph.initializers["embedding.weight"]
    assert sorted(node.op_type for node in embedding.consumers()) == ["Gather", "Gemm"]
    specs = contract.output_specs(2, 2, 4, "float32", 40)
    assert [value.name for value in small_graph.model.graph.outputs] == [s.name for s in specs]


def test_a_tied_head_computes_the_same_for_tensorrt(small: Path, tmp_path: Path) -> None:
    rows, mask = np.tile(np.arange(7), (2, 1)), np.ones((2, 1, 7, 7), dtype=bool)
    ids = np.random.default_rng(0).integers(0, 37, (2, 7))
    inputs, found = StepInputs(ids, rows, mask, rows[:, 2:], rows, want_logits=True), []
    for target, readers in (("cpu", ["Gather", "Gemm"]), ("tensorrt", ["Gather", "Transpose"])):
        export(small, tmp_path / target, ExportOptions(target, "fp32", "portable", 2))
        graph = onnx.load(tmp_path / target / GRAPH_FILE, load_external_data=False).graph
        reading = [node.op_type for node in graph.node if "embedding.weight" in node.input]
        assert sorted(reading) == readers
        engine = open_engine(Artifact.open(tmp_path / target), "onnxruntime-cpu", threads=1)
        found.append(engine.run(inputs))
        engine.close()
    np.testing.assert_allclose(found[0].logits, found[1].logits, atol=1e-6)
    np.testing.assert_array_equal(found[0].tokens, found[1].tokens)
