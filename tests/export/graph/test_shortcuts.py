"""What torch's exporter need not do is left out, and makes no difference."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import Mock

import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn
from torch.onnx._internal.exporter._registration import ONNXRegistry

from dawn_export import ExportOptions
from dawn_export.graph import shortcuts, tracing
from dawn_export.graph.pieces import Piece
from dawn_export.graph.step import build_graph
from dawn_export.graph.tracing import trace, weightless
from dawn_export.graph.translation_table import TranslationTable
from dawn_models import ModelConfig, read_config
from dawn_runtime.contract import TensorSpec


class Unknown(nn.Module):
    """Has an operator without a translation."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (torch.special.xlog1py(x, x),)


class InPlace(nn.Module):
    """Writes into what it has computed."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = x + 1.0
        y[:, :1].mul_(2.0)
        return (y,)


class Mixed(nn.Module):
    """Adds numbers of two types, one of them in a list."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        whole = x.to(torch.int64)
        return (torch.cat([x * whole, whole], dim=1),)


class Plain(nn.Module):
    """Has nothing to decompose or to convert."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return ((x * 2.0).relu(),)


def piece(module: type[nn.Module]) -> Piece:
    return Piece(module(), (TensorSpec("x", "float32", ("B", "S")),), ("y",), module)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Mock]:
    """Counts how often torch's passes run."""
    found = {name: Mock(wraps=getattr(shortcuts, name)) for name in ("_decompose", "_promote")}
    for name, counted in found.items():
        monkeypatch.setattr(shortcuts, name, counted)
    return found


@pytest.fixture(autouse=True)
def nothing_traced_yet() -> Iterator[None]:
    tracing._traced.cache_clear()
    yield
    tracing._traced.cache_clear()


@contextmanager
def everything(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside the block the exporter leaves nothing out."""
    tracing._traced.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(tracing, "_SHORTCUTS_OF", ())
        yield


def operators_of(module: type[nn.Module]) -> list[str]:
    with weightless():
        return [node.op_type for node in trace(piece(module), 23, "fused").graph]


def written(config: ModelConfig, options: ExportOptions) -> bytes:
    return ir.to_proto(build_graph(config, options).model).SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("module", "decomposed", "promoted"),
    [(Unknown, 1, 1), (InPlace, 1, 0), (Mixed, 0, 1), (Plain, 0, 0)],
)
def test_passes_run_where_they_have_something_to_do(
    module: type[nn.Module],
    decomposed: int,
    promoted: int,
    passes: dict[str, Mock],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = operators_of(module)
    assert passes["_decompose"].call_count == decomposed
    assert passes["_promote"].call_count == promoted
    with everything(monkeypatch):
        assert found == operators_of(module)


@pytest.mark.parametrize(
    "options",
    [
        ExportOptions(evidence_layers=2, kv="int8"),
        ExportOptions(evidence_layers=2, target="tensorrt", precision="fp16"),
    ],
    ids=["fused", "portable"],
)
def test_a_graph_needs_no_decomposition_and_has_the_same_bytes(
    options: ExportOptions,
    small: Path,
    passes: dict[str, Mock],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = read_config(small)[1]
    found = written(config, options)
    assert not passes["_decompose"].called
    with everything(monkeypatch):
        assert found == written(config, options)


def test_the_shortcuts_are_taken_with_the_releases_that_they_know(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not isinstance(tracing._shortcuts(), nullcontext)
    monkeypatch.setattr(torch, "__version__", "2.14.0+cpu")
    assert isinstance(tracing._shortcuts(), nullcontext)


def test_what_is_looked_up_is_what_the_whole_table_has() -> None:
    with tracing._without_noise():
        whole, table = ONNXRegistry.from_torchlib(20), TranslationTable(20)
    assert len(whole.functions) > 500
    for known in whole.functions.values():
        assert table.get_decomps(known[0].fx_target) == known
    assert table.get_decomps(torch.ops.aten.to.dtype) == []
    filled = TranslationTable(20)
    with tracing._without_noise():
        filled.fill()
    assert filled.functions == whole.functions
