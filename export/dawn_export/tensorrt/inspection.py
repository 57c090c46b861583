"""What TensorRT made of a graph: which of its nodes run together, and in which precision.

Read from the JSON of `EngineInspector`, whose layers carry `Name`, `LayerType`, `Metadata` (the
ONNX nodes a layer stands for) and `Outputs` with their data type. A fused layer names all its
nodes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime.engine.tensorrt.loading import LoadedEngine

_SOFTMAX = re.compile(r"layers\.(\d+)/(?:Softmax|Attention)_\d+")
"""Nodes in the middle of attention: `Softmax` in the portable dialect, `Attention` in the fused."""

_PRODUCT: Final = "layers.{layer}/MatMul_"
_FUSED_NAMES: Final = re.compile(r"mha|attention", re.IGNORECASE)
_TYPE_KEYS: Final = ("Datatype", "Format/Datatype")
"""Names of the data type of a tensor, newer releases first."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """A summary of the layers of an engine.

    Attributes:
        layers: How many there are.
        kinds: Kind of layer -> how many.
        types: Data type of a first output -> how many layers.
        fused: Model layers whose attention is one kernel.
        separate: Model layers whose scores, softmax and weighted sum are kernels of their own.
    """

    layers: int
    kinds: Mapping[str, int]
    types: Mapping[str, int]
    fused: tuple[int, ...]
    separate: tuple[int, ...]

    def line(self) -> str:
        """One line for people."""
        types = ", ".join(f"{count} {name}" for name, count in self.types.items())
        attention = f"attention fused in {len(self.fused)} layers"
        if self.separate:
            attention += f", not in layers {', '.join(map(str, self.separate))}"
        return f"{self.layers} kernels ({types}); {attention}"


def inspect(loaded: LoadedEngine) -> tuple[Inspection, str]:
    """Returns the summary of an engine, and the JSON it was read from."""
    inspector = loaded.engine.create_engine_inspector()
    kind = loaded.trt.module.LayerInformationFormat.JSON
    text = str(inspector.get_engine_information(kind))
    return summarise(json.loads(text)["Layers"]), text


def summarise(layers: Sequence[Any]) -> Inspection:
    """Summarises layers as the inspector describes them.

    Args:
        layers: One object for each; a text where the engine keeps nothing but names.
    """
    known = [layer if isinstance(layer, dict) else {"Name": layer} for layer in layers]
    attention = [(int(number), layer) for layer in known for number in _softmaxes(layer)]
    fused = {number for number, layer in attention if _is_fused(layer, number)}
    return Inspection(
        layers=len(known),
        kinds=dict(Counter(str(layer.get("LayerType", "unknown")) for layer in known)),
        types=dict(Counter(_first_type(layer) for layer in known)),
        fused=tuple(sorted(fused)),
        separate=tuple(sorted({number for number, _ in attention} - fused)),
    )


def _softmaxes(layer: Mapping[str, Any]) -> set[str]:
    return set(_SOFTMAX.findall(_text(layer)))


def _is_fused(layer: Mapping[str, Any], number: int) -> bool:
    """One kernel does the softmax and a product, or says by its kind that it is attention."""
    kind = f"{layer.get('LayerType', '')} {layer.get('TacticName', '')}"
    return _PRODUCT.format(layer=number) in _text(layer) or bool(_FUSED_NAMES.search(kind))


def _text(layer: Mapping[str, Any]) -> str:
    return f"{layer.get('Name', '')} {layer.get('Metadata', '')}"


def _first_type(layer: Mapping[str, Any]) -> str:
    outputs = layer.get("Outputs") or [{}]
    named = (outputs[0].get(key) for key in _TYPE_KEYS)
    return next((str(value) for value in named if value), "unknown")
