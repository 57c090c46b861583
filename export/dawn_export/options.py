"""What an export can be asked for, and which versions of ONNX that means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from dawn_export.quantization.calibration_file import Calibration
from dawn_export.quantization.schemes import SCHEMES, Scheme
from dawn_models import ModelConfig
from dawn_models.config import FULL
from dawn_runtime.checks import LARGEST_INTEGER, is_integer, shown
from dawn_runtime.contract import DIALECTS, KV_KINDS, PRECISIONS, TARGETS
from dawn_runtime.errors import OptionError

TARGET_PRECISIONS: Final[Mapping[str, tuple[str, ...]]] = {
    target: tuple(precision for where, precision in SCHEMES if where == target)
    for target in TARGETS
}
"""Target -> precisions it can run."""

VERIFY_MODES: Final = ("all", "sample")
"""How much of the written weights is compared with the checkpoint."""

DEFAULT_DIALECTS: Final = {"cpu": "fused", "cuda": "fused", "tensorrt": "portable"}
"""Target -> dialect. TensorRT reads `portable` from 10.0 on, `fused` from 10.15 on. With ONNX
Runtime 1.31 on the CPU, `fused` was 4 to 24 % faster at 1024 tokens on every model tried; at 256
the larger ones were level, a very narrow one up to 8 % slower."""

INT4_BLOCKS: Final = (16, 32, 64, 128)
"""Input channels that may share a scale at 4 bits."""

OPSETS: Final = {"portable": 20, "fused": 23}
"""Dialect -> opset. 20 is the newest that TensorRT 10.3 (JetPack 6) names; `Attention` and
`RMSNormalization` came with 23."""

INT4_OPSET: Final = 21
"""First opset with INT4 and with blocks in `DequantizeLinear`. TensorRT reads both since 10.0, and
every other operator of `portable` means in 21 what it means in 20."""

IR_VERSIONS: Final = {20: 9, 21: 10, 23: 11}
"""Opset -> IR version: the one published with it in an ONNX release (1.15, 1.16, 1.18), so that no
reader of the opset refuses the file. ONNX Runtime 1.20 reads up to 10."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How to export.

    Attributes:
        target: Device the artifact is made for, one of `TARGETS`.
        precision: Of weights and products, one of `PRECISIONS`.
        dialect: `portable` or `fused`; None takes the target's default.
        evidence_layers: How many of the last layers the attention evidence is the mean of.
        context_length: Longest sequence in tokens, prompt and answer together; None takes the
            model's.
        allow_overflow: Whether weights beyond the range of the precision become its largest
            number; otherwise they are refused.
        calibration: Ranges of activations and smoothing, from `dawn-calibrate ranges`; the scheme
            says whether it may or must be there.
        static_down_proj: Whether the input of down_proj is rounded by a calibrated scale too; its
            outliers make that the weak spot of static INT8.
        int4_block: Input channels that share a scale at 4 bits, one of `INT4_BLOCKS`; None takes
            the scheme's. Smaller blocks are more exact, larger and slower.
        kv: What keys and values are kept as, `float` or `int8`: half the bytes of FP16, see
            `dawn_export.graph.packed_keys`.
        onnx_genai: Whether files are written beside the graph with which onnx-genai decodes, one
            token a step.

    Raises:
        OptionError: A value is not one of the known ones, or the target cannot run the precision.
    """

    target: str = "cpu"
    precision: str = "fp32"
    dialect: str | None = None
    evidence_layers: int = 4
    context_length: int | None = None
    allow_overflow: bool = False
    calibration: Calibration | None = None
    static_down_proj: bool = False
    int4_block: int | None = None
    kv: str = "float"
    onnx_genai: bool = False

    def __post_init__(self) -> None:
        _check("target", self.target, TARGETS)
        _check("precision", self.precision, PRECISIONS)
        _check("kv", self.kv, KV_KINDS)
        if self.dialect is not None:
            _check("dialect", self.dialect, DIALECTS)
        set_positive(self, "evidence_layers", optional=("context_length",))
        check_flag("allow overflow", self.allow_overflow)
        check_flag("static down_proj", self.static_down_proj)
        check_flag("onnx genai", self.onnx_genai)
        if not isinstance(self.calibration, Calibration | None):
            raise OptionError(
                f"calibration: got {shown(self.calibration)}, expected what read_calibration "
                "returns"
            )
        runs = TARGET_PRECISIONS[self.target]
        if self.precision not in runs:
            able = [name for name, known in TARGET_PRECISIONS.items() if self.precision in known]
            raise OptionError(
                f"precision: the target {self.target} cannot run {self.precision}; "
                f"use {' or '.join(runs)}, or the target {' or '.join(able)}"
            )
        self._check_int4_block()
        self._check_calibration()
        other = self.target == "tensorrt" or self.scheme.activations == "bf16" or self.kv == "int8"
        if self.onnx_genai and other:
            kept = ", keys in 8 bits" if self.kv == "int8" else ""
            raise OptionError(
                f"onnx genai: it runs graphs on ONNX Runtime, with keys in float32 or float16; got "
                f"{self.precision} on {self.target}{kept}; take another one, or leave --onnx-genai "
                "out"
            )

    def _check_int4_block(self) -> None:
        if self.int4_block is None:
            return
        if not is_integer(self.int4_block) or self.int4_block not in INT4_BLOCKS:
            known = ", ".join(map(str, INT4_BLOCKS))
            raise OptionError(f"int4 block: got {shown(self.int4_block)}, expected one of {known}")
        object.__setattr__(self, "int4_block", int(self.int4_block))
        if all(product.bits != 4 for product in self.scheme.products):
            raise OptionError(
                f"int4 block: {self.precision} on {self.target} stores nothing in 4 bits; "
                "leave --int4-block away"
            )

    def _check_calibration(self) -> None:
        """The scheme says whether there may or must be one."""
        what, use = f"{self.precision} on {self.target}", self.scheme.calibration
        if use == "required" and self.calibration is None:
            raise OptionError(
                f"calibration: {what} needs the ranges of activations; make them with "
                "dawn-calibrate ranges and give --calibration FILE"
            )
        if use == "unused" and self.calibration is not None:
            raise OptionError(f"calibration: {what} uses none; leave --calibration away")
        if self.static_down_proj and self.scheme.linears.arithmetic != "static":
            raise OptionError(
                f"static down_proj: {what} rounds no activations of the MLP by calibrated scales; "
                "leave --static-down-proj away"
            )

    @property
    def scheme(self) -> Scheme:
        """How weights are stored and multiplied."""
        scheme = SCHEMES[self.target, self.precision]
        if self.static_down_proj:
            scheme = replace(scheme, down_proj=scheme.linears)
        return scheme if self.int4_block is None else scheme.in_blocks(self.int4_block)

    @property
    def graph_dialect(self) -> str:
        """The dialect the graph is written in."""
        return self.dialect or DEFAULT_DIALECTS[self.target]

    @property
    def measures(self) -> bool:
        """Whether the graph returns entropy and margin.

        Those for TensorRT do not: a plan computes every output in every step, in memory set aside
        for the most rows there may be, 600 MB for each array of 1024 rows of logits.
        """
        return self.target != "tensorrt"

    @property
    def opset(self) -> int:
        """Version of the ONNX operators."""
        opset = OPSETS[self.graph_dialect]
        return max(opset, INT4_OPSET) if self.scheme.int4_operators else opset

    @property
    def ir_version(self) -> int:
        """Version of the ONNX file format."""
        return IR_VERSIONS[self.opset]

    def max_length(self, config: ModelConfig) -> int:
        """Longest sequence of an artifact of this model, in tokens."""
        return self.context_length or config.max_length

    def check_model(self, config: ModelConfig) -> None:
        """Compares the options with the model they are meant for.

        Raises:
            OptionError: The model has fewer layers than evidence is asked of, or a shorter
                context, or longer blocks, or looks only back where that is not implemented.
        """
        if self.onnx_genai and config.attention.kind != FULL:
            raise OptionError(
                f"onnx genai: got a model that attends {config.attention.kind}, expected one that "
                "attends to everything; leave --onnx-genai out"
            )
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
        blocks = config.attention
        if blocks.origin == "start" and self.max_length(config) < (blocks.block_length or 0):
            raise OptionError(
                f"context length: got {self.context_length}, but the model decides in whole blocks "
                f"of {blocks.block_length} tokens; ask for {blocks.block_length} or more"
            )


def set_positive(options: object, *names: str, optional: tuple[str, ...] = ()) -> None:
    """Makes fields of frozen options Python integers.

    Args:
        options: The options.
        names: Fields that hold an integer from 1 on.
        optional: Such fields that may be None too.

    Raises:
        OptionError: One holds something else, or more than native code can take.
    """
    for name in (*names, *optional):
        value, words = getattr(options, name), name.replace("_", " ")
        if value is None and name in optional:
            continue
        if not is_integer(value):
            raise OptionError(f"{words}: got {shown(value)}, expected a whole number")
        if not 1 <= value <= LARGEST_INTEGER:
            bound = "at least 1" if value < 1 else f"at most {LARGEST_INTEGER}"
            raise OptionError(f"{words}: got {shown(value)}, expected {bound}")
        object.__setattr__(options, name, int(value))


def check_flag(name: str, value: object) -> None:
    """Refuses anything but True and False.

    Raises:
        OptionError: It is something else, such as 0 or "no".
    """
    if not isinstance(value, bool):
        raise OptionError(f"{name}: got {shown(value)}, expected True or False")


def _check(name: str, value: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise OptionError(f"{name}: got {shown(value)}, expected one of {', '.join(known)}")
