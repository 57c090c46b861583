"""Torch's table of how operators become ONNX, of which an entry is made when it is looked up.

Filling the table parses the source of a thousand functions, which takes longer than tracing a
layer; a model needs some thirty of them.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from onnxscript.function_libs.torch_lib import registration
from torch.onnx._internal.exporter import _registration
from torch.onnx._internal.exporter._registration import OnnxDecompMeta, ONNXRegistry
from torch.onnx._internal.exporter._torchlib import _torchlib_registry


class TranslationTable(ONNXRegistry):
    """What `ONNXRegistry.from_torchlib` has, made as it is looked up.

    Args:
        opset_version: ONNX opset that is translated to.
    """

    def __init__(self, opset_version: int) -> None:
        super().__init__()
        self._opset_version = opset_version
        self._looked_up: set[Any] = set()

    def get_decomps(self, target: Any) -> list[OnnxDecompMeta]:
        """Returns the translations of an operator, those registered by hand first."""
        if target not in self._looked_up:
            self._looked_up.add(target)
            for translation in _translations(target, self.opset_version):
                self._register(target, translation)
        return super().get_decomps(target)

    def fill(self) -> None:
        """Looks everything up, for those who go through `functions`."""
        names, own = _known()
        for target in [*own, *map(_registration._get_overload, names)]:
            if target is not None:
                self.get_decomps(target)


@cache
def _translations(target: Any, opset_version: int) -> tuple[OnnxDecompMeta, ...]:
    """Torch's own translations of an operator and those of onnxscript, of the newest opset."""
    names, own = _known()
    entry = ONNXRegistry()
    entry._opset_version = opset_version
    for translation in own.get(target, ()):
        entry._register(target, translation)
    found = names.get(_qualified_name(target))
    if found is not None:
        for functions, is_complex in ((found.overloads, False), (found.complex, True)):
            for function in functions:
                made = OnnxDecompMeta(function, target, signature=None, is_complex=is_complex)
                entry._register(target, made)
    entry._cleanup_registry_based_on_opset_version()
    return tuple(translation for kept in entry.functions.values() for translation in kept)


@cache
def _known() -> tuple[dict[str, Any], dict[Any, list[OnnxDecompMeta]]]:
    """Name -> what onnxscript has; operator -> what torch has."""
    from onnxscript.function_libs.torch_lib import ops  # noqa: F401 - registers them

    own: dict[Any, list[OnnxDecompMeta]] = {}
    for translation in _torchlib_registry.get_torchlib_ops():
        own.setdefault(translation.fx_target, []).append(translation)
    found = registration.default_registry.items()
    return {name: it for name, it in found if not name.startswith("internal::")}, own


def _qualified_name(target: Any) -> str:
    """What onnxscript calls an operator of torch, or one of Python for arithmetic of sizes."""
    if isinstance(target, torch._ops.OpOverload):
        return str(target.name())  # type: ignore[no-untyped-call]
    return _of_python().get(target, "")


@cache
def _of_python() -> dict[Any, str]:
    """Operator of Python -> its name, of which there may be several, such as `lshift`."""
    names = (name for name in _known()[0] if name.partition("::")[0] in ("_operator", "math"))
    return {_registration._get_overload(name): name for name in names}
