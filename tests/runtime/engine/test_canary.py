"""Canaries: their graphs are valid, their answers right, and wrong numbers are refused."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime.artifact import Artifact
from dawn_runtime.doctor.finding import Finding
from dawn_runtime.doctor.numbers import Trials, needed_labels, number_findings, try_all
from dawn_runtime.engine import open_engine
from dawn_runtime.engine.canary import CANARIES, Canary, case_of, complaint, needed_canaries
from dawn_runtime.engine.canary.onnx_writer import encoded
from dawn_runtime.engine.ort import releases as ort_releases
from dawn_runtime.engine.ort import session as ort_session
from dawn_runtime.engine.ort.session import CPU_PROVIDER, try_canary
from dawn_runtime.errors import EngineError
from dawn_runtime.machine.providers import CPU, OnnxRuntime
from dawn_runtime.manifest import GRAPH_FILE

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

FUSED = next(canary for canary in CANARIES if "Attention" in canary.operators)
ALL = [(canary, activations) for canary in CANARIES for activations in canary.activations]
ON_CPU = [(canary, activations) for canary, activations in ALL if activations != "bf16"]


def name(given: object) -> str | None:
    return given.name.replace(" ", "-") if isinstance(given, Canary) else None


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has been tried in this process yet."""
    monkeypatch.setattr(ort_session, "_tried", set())


@pytest.fixture
def golden(exported: Callable[..., Path]) -> Path:
    return exported("dream")


@pytest.mark.parametrize(("canary", "activations"), ALL, ids=name)
def test_the_graph_of_a_canary_is_a_valid_model(canary: Canary, activations: str) -> None:
    case = case_of(canary, activations)
    model = onnx.load_from_string(case.model)
    onnx.checker.check_model(model, full_check=True)
    assert set(canary.operators) <= {node.op_type for node in model.graph.node}
    assert len(case.model) < 16_384


@pytest.mark.parametrize("canary", [c for c in CANARIES if "widened" in c.name or not c.operators])
def test_the_answers_are_those_of_the_reference_of_onnx(canary: Canary) -> None:
    from onnx.reference import ReferenceEvaluator

    case = case_of(canary, "fp32")
    found = ReferenceEvaluator(onnx.load_from_string(case.model)).run(None, case.inputs)
    assert complaint(case, dict(zip(case.expected, found, strict=True))) == ""


@pytest.mark.parametrize(("canary", "activations"), ON_CPU, ids=name)
def test_this_onnx_runtime_computes_every_canary(canary: Canary, activations: str) -> None:
    assert try_canary("tests", canary, activations, [CPU_PROVIDER]) == ""


def test_heads_and_lengths_differ_so_that_mistakes_of_indexing_show() -> None:
    inputs = case_of(FUSED, "fp32").inputs
    (batch, kv_heads, past, width), fed = inputs["past_key"].shape, inputs["x"].shape[1]
    heads = inputs["x"].shape[2] // width
    assert heads % kv_heads == 0
    assert heads // kv_heads not in (1, kv_heads)
    assert len({batch, fed, past, past + fed, heads, width}) == 6
    assert not np.array_equal(inputs["mask"][0], inputs["mask"][1])


def as_in_1_23_0(case: Any) -> np.ndarray:
    """The attention of release 1.23.0: head h reads key head h mod key heads."""
    from dawn_runtime.engine.canary import floats

    keys = np.concatenate([floats._PAST_KEY, floats._rotated(floats._NEW_KEY)], axis=2)
    query, values = floats._rotated(floats._in_heads(floats._normed())), case.inputs["value"]
    groups = query.shape[1] // keys.shape[1]
    tiled, mixed = (np.tile(one, (1, groups, 1, 1)) for one in (keys, values))
    scores = query @ tiled.transpose(0, 1, 3, 2) / np.sqrt(query.shape[-1])
    weights = np.exp(np.where(case.inputs["mask"], scores, -np.inf))
    found: np.ndarray = weights / weights.sum(axis=-1, keepdims=True) @ mixed
    return found


class Spoiled:
    """A session of ONNX Runtime that gives the attention of release 1.23.0."""

    def __init__(self, model: str | bytes, **options: Any) -> None:
        self._session = REAL_SESSION(model, **options)

    def run(self, names: list[str], inputs: Any) -> list[Any]:
        found = dict(zip(names, self._session.run(names, inputs), strict=True))
        if "Attention" in found:
            found["Attention"] = as_in_1_23_0(case_of(FUSED, "fp32"))
        return list(found.values())

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._session, attribute)


REAL_SESSION = onnxruntime.InferenceSession


@pytest.mark.parametrize("low_memory", [False, True])
def test_an_artifact_is_not_opened_on_a_runtime_that_computes_its_operators_wrongly(
    golden: Path, low_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def session(model: str | bytes, **options: Any) -> Spoiled:
        opened.append(model)
        return Spoiled(model, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    monkeypatch.setattr(onnxruntime, "__version__", "1.23.0")
    with pytest.raises(EngineError) as caught:
        open_engine(Artifact.open(golden), "onnxruntime-cpu", low_memory=low_memory)
    message = str(caught.value)
    assert "onnxruntime-cpu: ONNX Runtime 1.23.0 computes Attention wrongly: got " in message
    assert ", expected " in message
    assert "heads share keys" in message
    assert "pip install 'onnxruntime" in message
    assert "\n" not in message
    assert all(isinstance(model, bytes) for model in opened), "the weights were not touched"


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_this_onnx_runtime_opens_artifacts_of_every_precision_of_the_cpu(
    precision: str, exported: Callable[..., Path]
) -> None:
    artifact = Artifact.open(exported("dream", "fused", precision))
    open_engine(artifact, "onnxruntime-cpu").close()


def test_a_graph_without_the_operator_opens_there(
    exported: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    portable = exported("dream", "portable")
    monkeypatch.setattr(onnxruntime, "InferenceSession", Spoiled)
    open_engine(Artifact.open(portable), "onnxruntime-cpu").close()


def test_canaries_are_tried_once_in_a_process(
    golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[object] = []

    def session(model: str | bytes, **options: Any) -> Any:
        models.append(model)
        return REAL_SESSION(model, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    for _ in range(3):
        open_engine(Artifact.open(golden), "onnxruntime-cpu").close()
    assert [isinstance(model, bytes) for model in models] == [True, True, False, False, False]
    started = time.perf_counter()
    for canary in needed_canaries(golden / GRAPH_FILE):
        try_canary("tests", canary, "fp32", [CPU_PROVIDER])
    assert time.perf_counter() - started < 1


def test_what_a_graph_needs_follows_from_its_operators(tmp_path: Path, golden: Path) -> None:
    assert [c.name for c in needed_canaries(golden / GRAPH_FILE)] == [
        "plain operators",
        "fused operators",
    ]
    for canary in CANARIES:
        path = tmp_path / "model.onnx"
        path.write_bytes(case_of(canary, "fp32").model)
        assert canary in needed_canaries(path)
    path.write_bytes(b"")
    assert needed_canaries(path) == needed_canaries(tmp_path / "nowhere") == ()


def test_a_canary_that_does_not_run_is_one_error() -> None:
    with pytest.raises(
        EngineError, match=r"tests: cannot try fused operators \(bf16\): "
    ) as caught:
        try_canary("tests", FUSED, "bf16", [CPU_PROVIDER])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spoil", ["sign", "nan", "shape"])
def test_wrong_numbers_are_named_with_what_was_expected(spoil: str) -> None:
    case = case_of(FUSED, "fp32")
    found = {operator: array.copy() for operator, array in case.expected.items()}
    assert complaint(case, found) == ""
    attention = found["Attention"]
    if spoil == "shape":
        found["Attention"] = attention[:1]
    else:
        attention[1, 2, 0, 3] = np.nan if spoil == "nan" else -attention[1, 2, 0, 3]
    text = complaint(case, found)
    assert text.startswith("Attention wrongly: got ")
    assert "expected" in text


def test_bfloat16_is_rounded_to_the_nearest_and_nibbles_lie_low_first() -> None:
    assert encoded(np.array([1.0, 1.00390625, -2.0, 1.01171875], np.float32), 16).hex() == (
        "803f" + "803f" + "00c0" + "823f"
    )
    assert encoded(np.array([[1, -1], [-8, 7]], np.int8), 22).hex() == "f178"


@pytest.mark.parametrize(
    ("machine", "python", "expected"),
    [
        ("x86_64", (3, 12), "pip install 'dawn-edge[cuda]' in place of onnxruntime"),
        ("aarch64", (3, 12), "pip install 'dawn-edge[cuda]' in place of onnxruntime"),
        ("aarch64", (3, 10), "'dawn-edge[cuda]' has no wheels for JetPack 6: build a TensorRT"),
    ],
)
def test_what_to_install_for_cuda_exists_on_the_machine(
    machine: str, python: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("sys.version_info", python)
    assert ort_releases.build_with_cuda().startswith(expected)
    assert ort_releases.tested() in ("1.23.2", "1.31.1")


# dawn-doctor

FOUND = OnnxRuntime("1.23.0", None, {CPU: ""})


def levels(findings: list[Finding]) -> list[str]:
    return [finding.level for finding in findings]


def test_the_doctor_tries_every_canary_that_the_provider_can_run() -> None:
    trials = try_all(CPU)
    assert set(trials.passed) == {f"{canary.name}, {kind}" for canary, kind in ON_CPU}
    assert (trials.wrong, trials.failed) == ({}, {})
    assert levels(number_findings(FOUND, {CPU: trials}, None, ())) == ["ok"]


def test_wrong_numbers_are_a_problem_where_they_are_needed(golden: Path) -> None:
    needed = needed_labels(golden / GRAPH_FILE, "fp32")
    assert needed == {"plain operators, fp32", "fused operators, fp32"}
    wrong = {"fused operators, fp32": "ONNX Runtime 1.23.0 computes Attention wrongly: got 1"}
    trials = {CPU: Trials(["plain operators, fp32"], wrong, {"dynamic INT8, fp32": "no kernel"})}
    for asked, on, expected in (
        (None, (), "ok problem note"),
        (needed, [CPU], "ok problem note"),
        (needed, [], "ok note note"),
        ({"plain operators, fp32"}, [CPU], "ok note note"),
        ({"dynamic INT8, fp32"}, [CPU], "ok note problem"),
    ):
        found = number_findings(FOUND, trials, asked, on)
        assert levels(found) == expected.split()
    assert found[1].advice.startswith("pip install 'onnxruntime")
