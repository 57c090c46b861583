"""Models that differ in nothing a graph holds have one graph, traced once in a process.

What a model may see, which row predicts a token and what ends an answer are the runtime's. So the
graphs of several families differ in their names alone, and tracing is most of a small export.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from dawn_export import ExportOptions, exporter
from dawn_export.graph.step import StepGraph, build_graph
from dawn_models import Attention, ModelConfig

_GRAPHS: dict[tuple[ModelConfig, ExportOptions], StepGraph] = {}


def held_by_graphs(config: ModelConfig) -> ModelConfig:
    """A model without what no graph holds."""
    return replace(
        config, family="", shift=0, eos_token_ids=(), pad_token_id=None, attention=Attention()
    )


@contextmanager
def shared_graphs() -> Iterator[None]:
    """Inside the block exports take a graph that is there; not those with calibrated ranges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporter, "build_graph", _traced)
        yield


def _traced(config: ModelConfig, options: ExportOptions) -> StepGraph:
    if options.calibration is not None:
        return build_graph(config, options)
    key = (held_by_graphs(config), options)
    if key not in _GRAPHS:
        _GRAPHS[key] = build_graph(config, options)
    return _GRAPHS[key]
