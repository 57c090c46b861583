"""Which numbers a target multiplies at a precision: one row for each, and nothing elsewhere.

============  ===================================================================================
arithmetic    one matrix product ``x [.., in] @ w [in, out]``
============  ===================================================================================
plain         w in the type of the activations
rows          w INT8, one scale for each output channel; x UINT8, every row of it by a range of its
              own, found in every run: a row gives the same bits whatever else is in the batch
static        w as above; x INT8 with one scale from a calibration (explicit Q/DQ)
weights       w INT8 with one scale for each output channel, or INT4 with one for each block of
              input channels; widened before the product (DQ on the weights alone)
blocks        w UINT8 or UINT4 around 128 or 8, one scale for each block of input channels, in
              ONNX Runtime's `MatMulNBits`
============  ===================================================================================

All weights are symmetric: zero stays zero, ``scale = max|w| / 127`` or ``/ 7``. Norms, biases,
residuals, RoPE, both products of the attention and the softmax keep the type of the activations.

Why these: ONNX Runtime 1.31 on the CPU (AVX-512 VNNI), one thread, [256, 896] x [896, 9728], takes
11.9 ms dynamic, 12.5 for the bare `MatMulInteger`, 25.4 in blocks of 128 at 8 bits, 26.8 at 4 bits,
37.3 in blocks of 32 at 4 bits, and 44.6 in FP32. TensorRT reads Q/DQ and nothing of the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from dawn_models import ModelConfig
from dawn_models.anatomy import Linear, linear_of

Arithmetic = Literal["plain", "rows", "static", "weights", "blocks"]


@dataclass(frozen=True, slots=True)
class Product:
    """How one kind of matrix is stored and multiplied.

    Attributes:
        arithmetic: A row of this module's table.
        bits: Of a stored weight, 8 or 4; means nothing for `plain`.
        block: Input channels that share a scale, a power of two; None is all of them. A matrix
            whose input is not a multiple of it gets the largest smaller one.

    Raises:
        ValueError: The table has no such arithmetic.
    """

    arithmetic: Arithmetic = "plain"
    bits: int = 8
    block: int | None = None

    def __post_init__(self) -> None:
        if self.bits not in (4, 8) or (self.bits == 4 and self.block is None):
            raise ValueError(f"{self.bits} bits in blocks of {self.block} are not stored")
        if (self.arithmetic == "blocks") != (self.block is not None) and self.bits == 8:
            raise ValueError(f"{self.arithmetic} at 8 bits in blocks of {self.block} is not built")

    @property
    def plain(self) -> bool:
        """Whether the matrix is stored as numbers of the activations' type."""
        return self.arithmetic == "plain"


PLAIN: Final = Product()
ROWS: Final = Product("rows")
STATIC: Final = Product("static")
WEIGHTS: Final = Product("weights")
BLOCKS: Final = Product("blocks", 8, 128)


@dataclass(frozen=True, slots=True)
class Scheme:
    """What is done at one precision on one target.

    Attributes:
        activations: `fp32`, `fp16` or `bf16`: type of activations, keys and values.
        linears: The matrices of a layer that may be rounded.
        down_proj: Those of them whose input has the largest outliers: down_proj.
        head: The head, if it is a matrix of its own; a tied head is stored as the embedding.
        embedding: The embedding: `plain`, `rows` (INT8, a scale for each token) or `blocks`.
        calibration: `unused`; `optional`, its smoothing is folded in; `required`, for ranges too.
        attention: The projections of the attention; None is as `linears`.
    """

    activations: str
    linears: Product = PLAIN
    down_proj: Product = PLAIN
    head: Product = PLAIN
    embedding: Product = PLAIN
    calibration: Literal["unused", "optional", "required"] = "unused"
    attention: Product | None = None

    def product(self, parameter: str, config: ModelConfig) -> Product:
        """How one parameter of a model is stored, such as ``layers.0.q_proj.weight``."""
        if parameter in ("embedding.weight", "head.weight"):
            table = parameter == "embedding.weight" or config.tied_head
            return self.embedding if table else self.head
        linear = linear_of(config, parameter)
        return PLAIN if linear is None else self.linear(linear)

    def linear(self, linear: Linear) -> Product:
        """How one product of a layer is stored."""
        if not linear.rounded:
            return PLAIN
        if linear.attention and self.attention is not None:
            return self.attention
        return self.down_proj if linear.outliers else self.linears

    def in_blocks(self, size: int) -> Scheme:
        """The scheme with `size` input channels to a scale wherever it stores 4 bits."""
        parts = ("linears", "down_proj", "head", "embedding", "attention")
        products: dict[str, Any] = {name: getattr(self, name) or PLAIN for name in parts}
        narrow = {n: replace(p, block=size) for n, p in products.items() if p.bits == 4}
        return replace(self, **narrow)

    @property
    def products(self) -> tuple[Product, ...]:
        """All products of the scheme."""
        always = (self.linears, self.down_proj, self.head, self.embedding)
        return always if self.attention is None else (*always, self.attention)

    @property
    def quantized(self) -> bool:
        """Whether anything is stored as integers."""
        return not all(product.plain for product in self.products)

    @property
    def int4_operators(self) -> bool:
        """Whether the graph holds values of ONNX's INT4; `MatMulNBits` takes bytes."""
        return any(p.arithmetic == "weights" and p.bits == 4 for p in self.products)


def _everywhere(activations: str, product: Product, rest: Product) -> Scheme:
    return Scheme(activations, product, product, rest, rest)


_INT4 = Product("blocks", 4, 32)
_INT4_DQ = Product("weights", 4, 128)

SCHEMES: Final[Mapping[tuple[str, str], Scheme]] = {
    ("cpu", "fp32"): Scheme("fp32"),
    ("cpu", "fp16"): Scheme("fp16"),
    ("cpu", "int8"): Scheme("fp32", ROWS, ROWS, ROWS, ROWS, "optional"),
    ("cpu", "int4"): _everywhere("fp32", _INT4, BLOCKS),
    ("cuda", "fp32"): Scheme("fp32"),
    ("cuda", "fp16"): Scheme("fp16"),
    ("cuda", "bf16"): Scheme("bf16"),
    ("cuda", "int8-weights"): _everywhere("fp16", BLOCKS, BLOCKS),
    ("cuda", "int4"): _everywhere("fp16", _INT4, BLOCKS),
    ("tensorrt", "fp32"): Scheme("fp32"),
    ("tensorrt", "fp16"): Scheme("fp16"),
    ("tensorrt", "bf16"): Scheme("bf16"),
    ("tensorrt", "int8"): Scheme("fp16", STATIC, WEIGHTS, WEIGHTS, calibration="required"),
    ("tensorrt", "int8-weights"): Scheme("fp16", WEIGHTS, WEIGHTS, WEIGHTS),
    ("tensorrt", "int4"): Scheme("fp16", _INT4_DQ, _INT4_DQ, WEIGHTS),
    ("tensorrt", "int4-int8"): Scheme(
        "fp16", _INT4_DQ, _INT4_DQ, WEIGHTS, calibration="required", attention=STATIC
    ),
}
"""(target, precision) -> what is done. TensorRT has no integer `Gather`: its embedding is plain,
and so is a head tied to it."""
