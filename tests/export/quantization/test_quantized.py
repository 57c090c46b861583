"""Artifacts of every scheme: put together, written, verified and run."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
import torch

from dawn_export import ExportOptions, VerificationError, export
from dawn_export.errors import CalibrationFileError
from dawn_export.exporter import write_artifact
from dawn_export.graph.step import build_graph
from dawn_export.preflight import artifact_bytes
from dawn_export.quantization.calibration_file import CALIBRATION_FILE, Calibration
from dawn_export.quantization.schemes import SCHEMES, Product
from dawn_export.verification.written_weights import check_values
from dawn_models import Checkpoint
from dawn_runtime import Artifact, OptionError
from dawn_runtime.contract import DIALECTS
from dawn_runtime.manifest import GRAPH_FILE, WEIGHTS_FILE
from support.calibrations import calibrate
from support.checkpoints import write_checkpoint

GEOMETRY = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "vocab_size": 512,
    "mask_token_id": 511,
}

CASES = [
    ("cpu", "int8", "fused", True, {"MatMulIntegerToFloat": 11, "QuantizeLinear": 9}),
    ("cpu", "int8", "portable", False, {"MatMulIntegerToFloat": 11, "QuantizeLinear": 9}),
    ("cpu", "int4", "fused", True, {"MatMulNBits": 11, "GatherBlockQuantized": 1}),
    ("cuda", "int8-weights", "portable", True, {"MatMulNBits": 11, "GatherBlockQuantized": 1}),
    ("cuda", "int4", "fused", False, {"MatMulNBits": 11, "GatherBlockQuantized": 1}),
    ("tensorrt", "int8", "portable", False, {"QuantizeLinear": 8, "DequantizeLinear": 19}),
    ("tensorrt", "int8-weights", "portable", True, {"DequantizeLinear": 10}),
    ("tensorrt", "int4", "portable", False, {"DequantizeLinear": 11}),
    ("tensorrt", "int4-int8", "portable", False, {"QuantizeLinear": 4, "DequantizeLinear": 15}),
]
"""Target, precision, dialect, tied head, how often the operators of the scheme are there: two
layers with four other products and one of queries, keys and values, and the head. What gate_proj
and up_proj read is rounded once."""

IDS = ["-".join(map(str, case[:3])) for case in CASES]


def tame(tensors: dict[str, torch.Tensor]) -> None:
    """Weights of the size that trained ones have."""
    for name, values in tensors.items():
        tensors[name] = 1 + values * 0.1 if "norm" in name else values * 0.1


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Tied or not -> folder."""
    base = tmp_path_factory.mktemp("checkpoints")
    return {
        tied: write_checkpoint(
            base / str(tied), "dream", tame, tie_word_embeddings=tied, **GEOMETRY
        )
        for tied in (False, True)
    }


@pytest.fixture(scope="module")
def calibration(checkpoints: dict[bool, Path]) -> Calibration:
    """Of the checkpoint with a head of its own."""
    return calibrate(Checkpoint.open(checkpoints[False]), smooth=True)


def options_of(target: str, precision: str, dialect: str, found: Calibration) -> ExportOptions:
    needed = SCHEMES[target, precision].calibration == "required"
    return ExportOptions(
        target=target,
        precision=precision,
        dialect=dialect,
        evidence_layers=1,
        calibration=found if needed else None,
    )


@pytest.mark.parametrize(("target", "precision", "dialect", "tied", "operators"), CASES, ids=IDS)
def test_every_scheme_is_verified_and_run(
    checkpoints: dict[bool, Path],
    calibration: Calibration,
    tmp_path: Path,
    target: str,
    precision: str,
    dialect: str,
    tied: bool,
    operators: dict[str, int],
) -> None:
    options = options_of(target, precision, dialect, calibration)
    folder = tmp_path / "out"
    report = export(checkpoints[tied], folder, options, verify="all")
    assert report.verification is not None
    assert report.verification.values.rounded in (14 + 1, 14 + 2, 14)
    assert report.verification.end_to_end.layers == 2
    assert report.verification.end_to_end.differences
    manifest = Artifact.open(folder, verify="full").manifest
    assert (manifest.precision, manifest.activations) == (precision, options.scheme.activations)
    assert manifest.target == target
    graph = onnx.load(folder / GRAPH_FILE, load_external_data=False).graph
    used = Counter(node.op_type for node in graph.node)
    assert {name: used[name] for name in operators} == operators
    size = (folder / WEIGHTS_FILE).stat().st_size
    assert size <= artifact_bytes(Checkpoint.open(checkpoints[tied]).config, options)


def test_only_standard_operators_are_there_for_tensorrt(
    checkpoints: dict[bool, Path], calibration: Calibration
) -> None:
    config = Checkpoint.open(checkpoints[False]).config
    for precision, opset in (
        *(("int8", 20), ("int8-weights", 20)),
        *(("int4", 21), ("int4-int8", 21)),
    ):
        options = options_of("tensorrt", precision, "portable", calibration)
        model = build_graph(config, options).model
        assert model.opset_imports == {"": opset}
        assert {node.domain for node in model.graph} == {""}


def test_four_bits_with_eight_in_the_projections_of_the_attention(
    checkpoints: dict[bool, Path], calibration: Calibration
) -> None:
    config = Checkpoint.open(checkpoints[False]).config
    options = options_of("tensorrt", "int4-int8", "portable", calibration)
    graph = build_graph(config, options).model.graph
    bits, rounded = {}, set()
    for node in graph:
        weight = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if weight is not None and str(weight.name).endswith(".weight"):
            bits[str(weight.name)] = {"INT4": 4, "INT8": 8}[weight.dtype.name]  # type: ignore[union-attr]
            (product,) = node.outputs[0].consumers()
            producer = product.inputs[0].producer()  # type: ignore[union-attr]
            if producer is not None and producer.op_type == "DequantizeLinear":
                rounded.add(str(weight.name))
    attention = {f"layers.{i}.{name}.weight" for i in (0, 1) for name in ("qkv_proj", "o_proj")}
    mlp = ("gate_proj", "up_proj", "down_proj")
    assert rounded == attention
    assert {name for name, width in bits.items() if width == 8} == {*attention, "head.weight"}
    assert {name for name, width in bits.items() if width == 4} == {
        f"layers.{i}.{name}.weight" for i in (0, 1) for name in mlp
    }
    with pytest.raises(OptionError, match="rounds no activations of the MLP by calibrated scales"):
        replace(options, static_down_proj=True)
    assert replace(options, int4_block=32).scheme.linears.block == 32


def test_zero_points_are_zero_and_attention_is_not_rounded(
    checkpoints: dict[bool, Path], calibration: Calibration
) -> None:
    config = Checkpoint.open(checkpoints[False]).config
    graph = build_graph(config, options_of("tensorrt", "int8", "portable", calibration)).model.graph
    rounded = [node for node in graph if node.op_type == "QuantizeLinear"]
    for node in rounded:
        zero = node.inputs[2]
        assert zero is not None
        assert zero.const_value is not None
        assert zero.const_value.numpy() == 0
    products = [use for node in rounded for use in readers_of(node)]
    assert {product.op_type for product in products} == {"MatMul"}
    weights = [product.inputs[1].producer().inputs[0].name for product in products]
    assert sorted(weights) == sorted(
        f"layers.{i}.{name}.weight"
        for i in range(2)
        for name in ("qkv_proj", "o_proj", "gate_proj", "up_proj")
    )


def readers_of(rounded: ir.Node) -> tuple[ir.Node, ...]:
    """Who reads what was rounded and widened again."""
    (widened,) = rounded.outputs[0].consumers()
    return tuple(widened.outputs[0].consumers())


def test_down_proj_is_static_if_asked_for(
    checkpoints: dict[bool, Path], calibration: Calibration
) -> None:
    config = Checkpoint.open(checkpoints[False]).config
    options = ExportOptions(
        "tensorrt", "int8", evidence_layers=1, calibration=calibration, static_down_proj=True
    )
    graph = build_graph(config, options).model.graph
    scale = graph.initializers["layers.1.down_proj.input.scale"].const_value
    assert scale is not None
    expected = calibration.ranges["layers.1.down_proj"] / 127
    assert float(scale.numpy()) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("target", ["cpu", "tensorrt"])
def test_int4_comes_in_blocks_of_the_size_that_is_asked_for(
    checkpoints: dict[bool, Path], tmp_path: Path, target: str
) -> None:
    options = ExportOptions(target, "int4", evidence_layers=1, int4_block=16)
    report = export(checkpoints[False], tmp_path / "out", options, verify="all")
    assert report.verification is not None
    stored = build_graph(Checkpoint.open(checkpoints[False]).config, options).weights
    integers = [weight.layout.integers for weight in stored if weight.layout.integers]
    assert {found.block for found in integers if found.bits == 4} == {16}
    assert any(found.bits == 8 for found in integers)


def test_blocks_of_int4_are_refused_where_there_are_none() -> None:
    with pytest.raises(OptionError, match="int8 on cpu stores nothing in 4 bits; leave --int4-bl"):
        ExportOptions("cpu", "int8", int4_block=32)
    with pytest.raises(OptionError, match="int4 block: got 48, expected one of 16, 32, 64, 128"):
        ExportOptions("cpu", "int4", int4_block=48)


def test_a_calibration_is_asked_for_by_name_and_refused_where_it_means_nothing(
    calibration: Calibration,
) -> None:
    with pytest.raises(
        OptionError, match=r"int8 on tensorrt needs the ranges .* --calibration FILE"
    ):
        ExportOptions("tensorrt", "int8")
    with pytest.raises(OptionError, match="fp16 on tensorrt uses none; leave --calibration away"):
        ExportOptions("tensorrt", "fp16", calibration=calibration)
    with pytest.raises(OptionError, match="leave --static-down-proj away"):
        ExportOptions("cpu", "int8", static_down_proj=True)


def test_a_calibration_too_narrow_is_named_as_the_cause(
    checkpoints: dict[bool, Path], calibration: Calibration, tmp_path: Path
) -> None:
    narrow = replace(
        calibration,
        ranges={name: value / 50 for name, value in calibration.ranges.items()},
        settings={**calibration.settings, "prompts": 2},
    )
    options = ExportOptions("tensorrt", "int8", evidence_layers=1, calibration=narrow)
    message = r"is accepted; the calibration saw 2 prompts, .*too narrow: run dawn-calibrate ranges"
    with pytest.raises(VerificationError, match=message):
        export(checkpoints[False], tmp_path / "out", options, verify="all")
    assert not (tmp_path / "out").exists()


def test_the_calibration_of_another_model_stops_the_export(
    checkpoints: dict[bool, Path], calibration: Calibration, tmp_path: Path
) -> None:
    options = ExportOptions("tensorrt", "int8", evidence_layers=1, calibration=calibration)
    with pytest.raises(CalibrationFileError, match="made for another model, config_sha256"):
        export(checkpoints[True], tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_int8_is_less_than_a_third_of_float32(
    checkpoints: dict[bool, Path], calibration: Calibration, tmp_path: Path
) -> None:
    sizes = {}
    for precision in ("fp32", "int8"):
        options = ExportOptions(precision=precision, evidence_layers=1)
        export(checkpoints[True], tmp_path / precision, options)
        sizes[precision] = (tmp_path / precision / WEIGHTS_FILE).stat().st_size
    assert sizes["int8"] <= 0.30 * sizes["fp32"]


def test_smoothing_is_folded_into_what_is_stored(
    checkpoints: dict[bool, Path], calibration: Calibration, tmp_path: Path
) -> None:
    options = ExportOptions(precision="int8", evidence_layers=1, calibration=calibration)
    report = export(checkpoints[False], tmp_path / "out", options, verify="all")
    assert report.verification is not None
    kept = (tmp_path / "out" / CALIBRATION_FILE).read_text()
    assert Calibration.from_json(kept) == calibration


@pytest.mark.parametrize("name", ["layers.1.gate_proj.weight", "layers.0.qkv_proj.weight.scale"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_changed_byte_is_found(
    checkpoints: dict[bool, Path], tmp_path: Path, precision: str, name: str
) -> None:
    checkpoint = Checkpoint.open(checkpoints[False])
    options = ExportOptions(precision=precision, evidence_layers=1)
    graph = build_graph(checkpoint.config, options)
    write_artifact(checkpoint, tmp_path, options, origin=None, verified=None, progress=False)
    stored = onnx.load(tmp_path / GRAPH_FILE, load_external_data=False).graph.initializer
    place = {e.key: e.value for t in stored if t.name == name for e in t.external_data}
    with (tmp_path / WEIGHTS_FILE).open("r+b") as file:
        file.seek(int(place["offset"]) + 3)
        byte = file.read(1)[0]
        file.seek(int(place["offset"]) + 3)
        file.write(bytes([byte ^ 0b00100000]))
    found = check_values(tmp_path / GRAPH_FILE, graph.weights, checkpoint, "float32", "all")
    assert list(found.differing) == [name.removesuffix(".scale")]


def test_products_that_no_reader_has_are_not_made() -> None:
    with pytest.raises(ValueError, match="4 bits in blocks of None are not stored"):
        Product("weights", 4)
    with pytest.raises(ValueError, match="static at 8 bits in blocks of 32 is not built"):
        Product("static", 8, 32)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_int8_product_of_the_cpu_rounds_rows_by_ranges_of_their_own(
    checkpoints: dict[bool, Path], dialect: str
) -> None:
    config = Checkpoint.open(checkpoints[False]).config
    options = ExportOptions(precision="int8", dialect=dialect, evidence_layers=1)
    graph = build_graph(config, options).model.graph
    products = [node for node in graph if node.op_type == "MatMulIntegerToFloat"]
    assert len(products) == 2 * 5 + 1
    assert not [node for node in graph if node.op_type.startswith("Dynamic")]
    for product in products:
        rounded = product.inputs[0].producer()
        divided = rounded.inputs[0].producer()
        (result,) = product.outputs[0].consumers()
        assert (divided.op_type, rounded.op_type, result.op_type) == (
            "Div",
            "QuantizeLinear",
            "Mul",
        )
        assert float(rounded.inputs[1].const_value.numpy()) == pytest.approx(1 / 127)
        largest = divided.inputs[1]
        assert result.inputs[1] is largest
        assert largest.producer().op_type == "Max"
