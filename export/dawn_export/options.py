"""What an export can be asked for, and which versions of ONNX that means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dawn_runtime.contract import DIALECTS, KV_DTYPES
from dawn_runtime.engine.ort import PRECISIONS as CPU_PRECISIONS
from dawn_runtime.errors import OptionError

if TYPE_CHECKING:
    from dawn_models import ModelConfig  # loads torch, which the command line does without

TARGET_PRECISIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "cpu": CPU_PRECISIONS,
    "cuda": ("fp32", "fp16", "bf16"),
    "tensorrt": ("fp16", "bf16", "fp32"),
}
"""Target -> precisions it can run."""

TARGETS: Final = tuple(TARGET_PRECISIONS)
"""What an artifact can be made for: ONNX Runtime's providers, or TensorRT."""

PRECISIONS: Final = tuple(KV_DTYPES)
"""Precisions of weights, keys and values."""

VERIFY_MODES: Final = ("all", "sample")
"""How much of the written weights is compared with the checkpoint."""

DEFAULT_DIALECTS: Final = {"cpu": "fused", "cuda": "fused", "tensorrt": "portable"}
"""Target -> dialect. Every TensorRT from 10.3 on reads `portable`. With ONNX Runtime 1.31 on the
CPU, `fused` was 4 to 24 % faster at 1024 tokens on every model tried; at 256 the larger ones were
level, a very narrow one up to 8 % slower."""

OPSETS: Final = {"portable": 20, "fused": 23}
"""Dialect -> opset. 20 is the newest that TensorRT 10.3 (JetPack 6) reads; `Attention` and
`RMSNormalization` came with 23."""

IR_VERSIONS: Final = {"portable": 9, "fused": 11}
"""Dialect -> IR version: the one published together with the opset's ONNX release (1.15 and 1.18),
so that no reader of the opset refuses the file. ONNX Runtime 1.20 reads up to 10."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export.

    Attributes:
        target: Device the artifact is made for, one of `TARGETS`.
        precision: Type of weights, keys and values, one of `PRECISIONS`.
        dialect: `portable` or `fused`; None takes the target's default.
        evidence_layers: How many of the last layers the attention evidence is the mean of.
        context_length: Longest sequence in tokens, prompt and answer together; None takes the
            model's.
        allow_overflow: Whether weights beyond the range of the precision become its largest
            number; otherwise they are refused.

    Raises:
        OptionError: A value is not one of the known ones, or the target cannot run the precision.
    """

    target: str = "cpu"
    precision: str = "fp32"
    dialect: str | None = None
    evidence_layers: int = 4
    context_length: int | None = None
    allow_overflow: bool = False

    def __post_init__(self) -> None:
        _check("target", self.target, TARGETS)
        _check("precision", self.precision, PRECISIONS)
        if self.dialect is not None:
            _check("dialect", self.dialect, DIALECTS)
        _check_positive("evidence layers", self.evidence_layers)
        if self.context_length is not None:
            _check_positive("context length", self.context_length)
        runs = TARGET_PRECISIONS[self.target]
        if self.precision not in runs:
            able = [name for name, known in TARGET_PRECISIONS.items() if self.precision in known]
            raise OptionError(
                f"precision: the target {self.target} cannot run {self.precision}; "
                f"use {' or '.join(runs)}, or the target {' or '.join(able)}"
            )

    @property
    def graph_dialect(self) -> str:
        """The dialect the graph is written in."""
        return self.dialect or DEFAULT_DIALECTS[self.target]

    @property
    def opset(self) -> int:
        """Version of the ONNX operators."""
        return OPSETS[self.graph_dialect]

    @property
    def ir_version(self) -> int:
        """Version of the ONNX file format."""
        return IR_VERSIONS[self.graph_dialect]

    def max_length(self, config: ModelConfig) -> int:
        """Longest sequence of an artifact of this model, in tokens."""
        return self.context_length or config.max_length

    def check_model(self, config: ModelConfig) -> None:
        """Compares the options with the model they are meant for.

        Raises:
            OptionError: The model has fewer layers than evidence is asked of, or a shorter
                context.
        """
        if self.evidence_layers > config.num_layers:
            raise OptionError(
                f"evidence layers: got {self.evidence_layers}, but the model has "
                f"{config.num_layers} layers; ask for {config.num_layers} or fewer"
            )
        if self.max_length(config) > config.max_length:
            raise OptionError(
                f"context length: got {self.context_length}, but the model was made for "
                f"{config.max_length} tokens; ask for {config.max_length} or fewer"
            )


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise OptionError(f"{name}: got {value}, expected at least 1")


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(f"{name}: got {value!r}, expected one of {', '.join(known)}")
