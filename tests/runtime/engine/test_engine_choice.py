"""Which engine `auto` takes, and what never runs on the CPU in silence."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from dawn_runtime import Artifact, EngineError, open_engine
from dawn_runtime.doctor import numbers
from dawn_runtime.engine.canary.onnx_writer import field, model_bytes, node_bytes
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.engine.operators import CPU_ONLY, cpu_only_in, left_on_cpu, nodes_by_provider
from dawn_runtime.engine.ort import session as ort_session
from dawn_runtime.engine.ort.session import CPU_PROVIDER, CUDA_PROVIDER, open_session
from dawn_runtime.manifest import GRAPH_FILE, FileEntry

WITH_CUDA = [CUDA_PROVIDER, CPU_PROVIDER]
OPENERS = {
    "onnxruntime-cpu": "dawn_runtime.engine.ort.cpu.open_cpu",
    "onnxruntime-cuda": "dawn_runtime.engine.ort.device.open_cuda",
    "tensorrt": "dawn_runtime.engine.tensorrt.engine.open_tensorrt",
}

Exported = Callable[..., Path]
Choose = Callable[[Artifact], str]


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Says what `auto` opens where onnxruntime was built for a GPU."""
    opened: list[str] = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    for name, function in OPENERS.items():
        monkeypatch.setattr(function, lambda *_, name=name, **__: opened.append(name))

    def choose(artifact: Artifact) -> str:
        open_engine(artifact)
        return opened.pop()

    return choose


def graph_of(*operators: str) -> bytes:
    """A graph of nodes that are never run."""
    nodes = [node_bytes(name, ["x"], ["y"], "com.microsoft", {}) for name in operators]
    return model_bytes(b"".join(field(1, node) for node in nodes), 23, 11, ["com.microsoft"])


def made(folder: Path, target: str | None, precision: str, *operators: str) -> Artifact:
    """An artifact in `folder`, of which nothing but the graph is there."""
    (folder / GRAPH_FILE).write_bytes(graph_of("MatMul", *operators))
    activations = precision if precision in ("fp16", "bf16") else "fp32"
    manifest = replace(
        fake_manifest(),
        target=target,
        precision=precision,
        activations=activations,
        files={GRAPH_FILE: FileEntry(1, "0" * 64)},
    )
    return Artifact(folder, manifest)


@pytest.mark.parametrize(
    ("target", "precision", "operators", "engine"),
    [
        ("cpu", "fp32", (), "onnxruntime-cuda"),
        ("cpu", "fp16", (), "onnxruntime-cuda"),
        ("cpu", "int8", ("DynamicQuantizeMatMul",), "onnxruntime-cpu"),
        ("cpu", "int8", ("MatMulIntegerToFloat",), "onnxruntime-cpu"),
        ("cpu", "int4", ("MatMulNBits",), "onnxruntime-cpu"),
        ("cuda", "bf16", (), "onnxruntime-cuda"),
        ("cuda", "int4", ("MatMulNBits",), "onnxruntime-cuda"),
        ("cuda", "int8-weights", ("MatMulNBits",), "onnxruntime-cuda"),
        ("tensorrt", "int8", ("DequantizeLinear",), "onnxruntime-cuda"),
        (None, "fp32", (), "onnxruntime-cuda"),
        (None, "int8", ("DynamicQuantizeMatMul",), "onnxruntime-cpu"),
        (None, "int8", ("QuantizeLinear", "MatMulIntegerToFloat"), "onnxruntime-cpu"),
        (None, "int4", ("MatMulNBits", "GatherBlockQuantized"), "onnxruntime-cuda"),
    ],
)
def test_auto_takes_what_an_artifact_was_made_for(
    target: str | None,
    precision: str,
    operators: tuple[str, ...],
    engine: str,
    tmp_path: Path,
    chosen: Choose,
) -> None:
    assert chosen(made(tmp_path, target, precision, *operators)) == engine


def test_a_plan_goes_before_the_target(tmp_path: Path, chosen: Choose) -> None:
    artifact = made(tmp_path, "cpu", "fp16")
    (tmp_path / "sm87.engine.json").write_text("{}")
    assert chosen(artifact) == "tensorrt"


def test_exported_integers_stay_on_the_cpu(exported: Exported, chosen: Choose) -> None:
    artifact = Artifact.open(exported("dream", "fused", "int8"))
    assert artifact.manifest.target == "cpu"
    assert cpu_only_in(artifact.path(GRAPH_FILE))
    old = Artifact(artifact.folder, replace(artifact.manifest, target=None))
    assert [chosen(one) for one in (artifact, old)] == ["onnxruntime-cpu"] * 2
    assert chosen(Artifact.open(exported("dream"))) == "onnxruntime-cuda"


@pytest.mark.parametrize("operator", CPU_ONLY)
@pytest.mark.parametrize(
    ("target", "words"), [("cpu", "the artifact was made for cpu and"), (None, "the artifact")]
)
def test_products_that_the_cpu_would_compute_are_refused_before_the_gpu_is_touched(
    target: str | None, words: str, operator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawn_runtime.engine.ort.device.CudaDevice", lambda: pytest.fail("touched"))
    artifact = made(tmp_path, target, "int8", operator)
    with pytest.raises(EngineError) as caught:
        open_engine(artifact, "onnxruntime-cuda")
    assert str(caught.value) == (
        f"onnxruntime-cuda: {words} multiplies int8 with {operator}, for which CUDA has no kernel: "
        "the CPU would compute it, with copies there and back; use engine='onnxruntime-cpu', or "
        "export again with --target cuda"
    )


def test_a_graph_that_cannot_be_read_has_no_operators(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert cpu_only_in(tmp_path / "empty") == cpu_only_in(tmp_path / "absent") == ()


# Nodes of an open session


@dataclass(frozen=True)
class Part:
    """Nodes that a session gave to one provider."""

    ep_name: str
    nodes: tuple[Any, ...]

    def get_nodes(self) -> tuple[Any, ...]:
        return self.nodes


class Split:
    """A session that names CUDA as its first provider; operators of `on_cpu` stay on the CPU."""

    on_cpu: frozenset[str] = frozenset()

    def __init__(self, model: str | bytes, sess_options: Any, **_: Any) -> None:
        self._session = REAL_SESSION(model, sess_options, providers=[CPU_PROVIDER])

    def get_providers(self) -> list[str]:
        return WITH_CUDA

    def get_provider_graph_assignment_info(self) -> Sequence[Part]:
        places: dict[str, list[Any]] = {name: [] for name in WITH_CUDA}
        for part in self._session.get_provider_graph_assignment_info():
            for node in part.get_nodes():
                places[WITH_CUDA[node.op_type in self.on_cpu]].append(node)
        return [Part(name, tuple(nodes)) for name, nodes in places.items()]

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._session, attribute)


REAL_SESSION = onnxruntime.InferenceSession
can_tell = pytest.mark.skipif(
    not hasattr(REAL_SESSION, "get_provider_graph_assignment_info"),
    reason="this onnxruntime cannot say where nodes are; none with CUDA that will do is so old",
)


@pytest.fixture
def split(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Split]]:
    """Sessions of a machine with a GPU."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: WITH_CUDA)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Split)
    monkeypatch.setattr(ort_session, "_tried", set())
    yield Split
    Split.on_cpu = frozenset()


def opened(folder: Path) -> Any:
    return open_session("onnxruntime-cuda", folder / GRAPH_FILE, WITH_CUDA, activations="fp32")


@can_tell
@pytest.mark.parametrize(
    ("operator", "count"), [("Attention", 28), ("MatMul", 145), ("Softmax", 5), ("ArgMax", 2)]
)
def test_nodes_that_a_session_left_on_the_cpu_are_an_error(
    operator: str, count: int, exported: Exported, split: type[Split]
) -> None:
    split.on_cpu = frozenset({operator, "Shape"})
    with pytest.raises(EngineError) as caught:
        opened(exported("dream"))
    message = str(caught.value)
    assert f"has no kernels of CUDAExecutionProvider for {count} x {operator} and" in message
    assert message.endswith("or use engine='onnxruntime-cpu'")
    assert "\n" not in message


@can_tell
@pytest.mark.parametrize("dialect", ["fused", "portable"])
def test_the_arithmetic_of_shapes_may_stay_on_the_cpu(
    dialect: str, exported: Exported, split: type[Split]
) -> None:
    split.on_cpu = frozenset({"Shape", "Concat"})
    assert opened(exported("dream", dialect)).get_providers() == WITH_CUDA


@can_tell
def test_nodes_are_counted_by_provider_and_operator(exported: Exported, split: type[Split]) -> None:
    split.on_cpu = frozenset({"Concat"})
    found = nodes_by_provider(opened(exported("dream")))
    assert list(found) == WITH_CUDA
    assert found[CPU_PROVIDER] == {"Concat": 56}
    assert found[WITH_CUDA[0]]["Attention"] == 28


def test_a_release_that_cannot_say_where_nodes_are_says_nothing() -> None:
    assert left_on_cpu(object()) == {}
    assert nodes_by_provider(object()) == {}


def test_canaries_that_cuda_does_not_compute_are_tried_on_the_cpu_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(numbers, "try_canary", lambda *_: "")
    on_cpu, on_cuda = (set(numbers.try_all(one).passed) for one in reversed(WITH_CUDA))
    assert on_cpu - on_cuda == {"dynamic INT8, fp32", "INT8 row by row, fp32"}
    assert {"fused operators, bf16", "integers in blocks, fp32"} <= on_cuda
