"""Our own operator in the place of ONNX Runtime's: found where it fits, the same bits."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from dawn_runtime import Artifact, DependencyError, EngineError, StepInputs
from dawn_runtime.cli.build_operators import main
from dawn_runtime.doctor.operators import operator_findings
from dawn_runtime.engine.ort import session as ort_session
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.ort.operators import built_library, library_path, with_rows_products
from dawn_runtime.engine.ort.operators.build import build_library

ARTIFACT = Path(__file__).parents[4] / "models" / "tiny-dream-int8"
DEPTH, COLUMNS = 70, 50
"""Neither is a multiple of what kernels take at a time."""

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache in which the library is built."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        assert build_library() == built_library()
    return folder


@pytest.fixture
def library(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    return library_path()


def pattern(**changes: Any) -> onnx.ModelProto:
    """The nodes of a product whose rows are rounded one by one."""
    random = np.random.default_rng(0)
    arrays = {
        "w": random.integers(-127, 128, (DEPTH, COLUMNS), dtype=np.int8),
        "scale": (random.random(COLUMNS) * 0.01 + 0.001).astype(np.float32),
        "step": np.array(1 / 127, np.float32),
        "zero": np.array(128, np.uint8),
        "tiny": np.array(1e-30, np.float32),
        "last": np.array([-1], np.int64),
        **changes,
    }
    other = {"domain": "com.microsoft"}
    nodes = [
        helper.make_node("ReduceMax", ["x", "last"], ["high"], keepdims=1),
        helper.make_node("ReduceMin", ["x", "last"], ["low"], keepdims=1),
        helper.make_node("Neg", ["low"], ["opposite"]),
        helper.make_node("Max", ["high", "opposite", "tiny"], ["largest"]),
        helper.make_node("Div", ["x", "largest"], ["even"]),
        helper.make_node("QuantizeLinear", ["even", "step", "zero"], ["narrow"], **other),
        helper.make_node(
            "MatMulIntegerToFloat", ["narrow", "w", "step", "scale", "zero"], ["product"], **other
        ),
        helper.make_node("Mul", ["product", "largest"], ["y"]),
    ]
    axes = ["B", "S"]
    graph = helper.make_graph(
        nodes,
        "rows",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [*axes, DEPTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*axes, COLUMNS])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def opened(model: bytes, library: Path | None, threads: int = 1) -> Callable[..., Any]:
    """Runs a model, with the library if there is one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if library:
        options.register_custom_ops_library(str(library))
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


def some_rows(batch: int, length: int) -> NDArray[np.float32]:
    random = np.random.default_rng(batch * 100 + length)
    rows = random.standard_normal((batch, length, DEPTH)).astype(np.float32)
    return rows * np.float32(10) ** random.integers(-30, 30, (batch, length, 1)).astype(np.float32)


def test_the_operator_takes_the_place_of_the_pattern() -> None:
    model = with_rows_products(pattern().SerializeToString())
    assert model is not None
    assert operators(model) == ["RowsProduct"]
    found = onnx.load_model_from_string(model)
    onnx.checker.check_model(found)
    assert [tensor.name for tensor in found.graph.initializer] == ["w", "scale"]


@pytest.mark.parametrize(
    "changes",
    [
        {"step": np.array(1 / 128, np.float32)},
        {"zero": np.array(127, np.uint8)},
        {"tiny": np.array(1e-6, np.float32)},
        {"last": np.array([1], np.int64)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_constants_stay_as_they_are(changes: dict[str, Any]) -> None:
    assert with_rows_products(pattern(**changes).SerializeToString()) is None


def test_a_product_that_something_else_reads_stays() -> None:
    model = pattern()
    model.graph.output.append(helper.make_tensor_value_info("product", TensorProto.FLOAT, None))
    assert with_rows_products(model.SerializeToString()) is None


def test_a_range_that_something_else_reads_is_still_computed() -> None:
    model = pattern()
    model.graph.output.append(helper.make_tensor_value_info("largest", TensorProto.FLOAT, None))
    found = with_rows_products(model.SerializeToString())
    assert found is not None
    assert operators(found) == ["ReduceMax", "ReduceMin", "Neg", "Max", "RowsProduct"]


def test_what_is_no_model_is_told() -> None:
    with pytest.raises(ValueError, match="a model without a graph"):
        with_rows_products(b"")
    with pytest.raises(ValueError, match="truncated"):
        with_rows_products(pattern().SerializeToString()[:-1])


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (2, 8), (3, 33), (2, 0)])
def test_it_gives_the_bits_of_the_pattern(
    shape: tuple[int, int], threads: int, library: Path
) -> None:
    model = pattern().SerializeToString()
    own = with_rows_products(model)
    assert own is not None
    rows = some_rows(*shape)
    if rows.size:
        rows[0, 0], rows[-1, -1] = np.abs(rows[0, 0]), 0
    expected = opened(model, None)(rows) if rows.size else np.zeros((*shape, COLUMNS))
    np.testing.assert_array_equal(opened(own, library, threads)(rows), expected)


@needs_compiler
def test_a_row_gives_the_bits_it_gives_alone(library: Path) -> None:
    own = with_rows_products(pattern().SerializeToString())
    assert own is not None
    run, rows = opened(own, library, 2), some_rows(3, 11)
    together = run(rows)
    for batch, place in np.ndindex(3, 11):
        alone = run(rows[batch : batch + 1, place : place + 1])
        np.testing.assert_array_equal(alone[0, 0], together[batch, place])


@needs_compiler
def test_weights_that_do_not_fit_are_refused(library: Path) -> None:
    own = with_rows_products(pattern(scale=np.ones(3, np.float32)).SerializeToString())
    assert own is not None
    with pytest.raises(Exception, match=r"expected w \[K, N\] and scale \[N\]"):
        opened(own, library)


# In the engine


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """What sessions are opened from: a path is the graph as it is, bytes are one of our own."""
    seen: Counter[str] = Counter()
    open_ = ort_session._open

    def counting(engine: str, model: Any, *rest: Any) -> Any:
        if isinstance(model, bytes) and b"RowsProduct" not in model:
            return open_(engine, model, *rest)  # a canary
        seen["own" if isinstance(model, bytes) else "plain"] += 1
        return open_(engine, model, *rest)

    monkeypatch.setattr(ort_session, "_open", counting)
    return seen


def a_step(length: int) -> StepInputs:
    ids = np.random.default_rng(length).integers(0, 100, (2, length))
    places = np.tile(np.arange(length), (2, 1))
    mask = np.ones((2, 1, length, length), dtype=bool)
    return StepInputs(ids, places, mask, places, places)


@needs_compiler
def test_an_engine_computes_the_same_with_and_without(
    library: Path, kinds: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    artifact = Artifact.open(ARTIFACT)
    with_own = OrtEngine(artifact.graph(), artifact.manifest, threads=1)
    assert kinds["own"]
    assert not kinds["plain"]
    kinds.clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    without = OrtEngine(artifact.graph(), artifact.manifest, threads=1)
    assert kinds == {"plain": 1}
    for length in (1, 9, 40):
        found, expected = with_own.run(a_step(length)), without.run(a_step(length))
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_array_equal(found.confidence, expected.confidence)
        np.testing.assert_array_equal(found.attention, expected.attention)
        for one, other in zip(found.present, expected.present, strict=True):
            np.testing.assert_array_equal(one, other)


@needs_compiler
def test_low_memory_goes_without(library: Path, kinds: Counter[str]) -> None:
    artifact = Artifact.open(ARTIFACT)
    OrtEngine(artifact.graph(), artifact.manifest, threads=1, low_memory=True)
    assert kinds == {"plain": 1}


@needs_compiler
def test_weights_behind_a_link_are_found(
    library: Path, kinds: Counter[str], tmp_path: Path
) -> None:
    for name in ("model.onnx", "model.onnx.data"):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / f"of-{name}").write_bytes((ARTIFACT / name).read_bytes())
        (tmp_path / name).symlink_to(tmp_path / "files" / f"of-{name}")
    manifest = Artifact.open(ARTIFACT).manifest
    engine = OrtEngine(tmp_path / "model.onnx", manifest, threads=1)
    assert kinds["own"]
    assert not kinds["plain"]
    assert engine.run(a_step(3)).tokens.shape == (2, 3)


def test_a_library_that_does_not_load_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    library_path().parent.mkdir()
    library_path().write_bytes(b"no library")
    artifact = Artifact.open(ARTIFACT)
    with pytest.raises(
        EngineError, match=r"cannot try own INT8 .*build it again with.* or delete .*so"
    ):
        OrtEngine(artifact.graph(), artifact.manifest, threads=1)


def test_the_doctor_says_whose_products_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (without,) = operator_findings(ARTIFACT / "model.onnx")
    assert "are ONNX Runtime's; python -m dawn_runtime.cli.build_operators" in without.found
    library_path().parent.mkdir()
    library_path().touch()
    (found,) = operator_findings(ARTIFACT / "model.onnx")
    assert found.found == f"INT8 products are our own, of {library_path()}"
    (tmp_path / "model.onnx").write_bytes(b"MatMulNBits")
    assert not operator_findings(tmp_path / "model.onnx")
    assert not operator_findings(tmp_path / "none")


# Building


def test_without_a_compiler_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(DependencyError, match=r"no C\+\+ compiler \(g\+\+, clang\+\+\); install"):
        build_library()
    assert main(["--compiler", "no-such"]) == 1
    assert "found no C++ compiler (no-such)" in capsys.readouterr().err


def test_another_processor_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(EngineError, match="got processor riscv64, expected x86_64 or aarch64"):
        build_library()


def test_a_compiler_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EngineError, match="failed with 1"):
        build_library("false")
    assert not list((tmp_path / "dawn-edge").iterdir()), "nothing is left behind"
