"""From a module to a graph, by the exporter of torch."""

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dawn_export import ExportError
from dawn_export.graph.pieces import Piece
from dawn_export.graph.tracing import Trace, trace
from dawn_runtime.contract import TensorSpec


class Project(nn.Module):
    """A linear layer and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.linear(x) + 1,)


class TakesNothingElse(nn.Module):
    """Works for one size alone."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x + torch.zeros(5, device=x.device),)


def traced(module: type[nn.Module], *shape: int | str) -> Trace:
    with FakeTensorMode():
        piece = Piece(module(), (TensorSpec("x", "float32", shape),), ("y",), module)
        return trace(piece, 20, "portable")


def test_weights_become_inputs_and_only_constants_stay(capfd: pytest.CaptureFixture[str]) -> None:
    found = traced(Project, "B", "S", 3)
    assert [value.name for value in found.graph.inputs] == ["x", "linear.weight", "linear.bias"]
    assert [value.name for value in found.weights] == ["linear.weight", "linear.bias"]
    assert [str(size) for size in found.graph.inputs[0].shape] == ["B", "S", "3"]
    assert max(v.const_value.size for v in found.graph.initializers.values()) == 1
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_an_axis_that_the_exporter_fixes_is_an_error() -> None:
    with pytest.raises(ExportError, match=r"TakesNothingElse: .*S"):
        traced(TakesNothingElse, "B", "S")


def test_an_equal_piece_is_traced_once_and_each_has_a_graph_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = traced(Project, "B", "S", 3)
    written = serialized(first)
    for node in list(first.graph):
        first.graph.remove(node)  # as passes do
    first.graph.inputs[0].shape = None
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: pytest.fail("traced again"))
    assert serialized(traced(Project, "B", "S", 3)) == written
    with pytest.raises(pytest.fail.Exception, match="traced again"):
        traced(Project, "B", "P", 3)


def serialized(found: Trace) -> bytes:
    return ir.to_proto(found.graph).SerializeToString(deterministic=True)
