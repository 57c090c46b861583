"""What a layer is made of, said once: its parts in the order in which they compute.

    y = attention_norm(x)    q, k, v = q_proj(y), k_proj(y), v_proj(y)
    x = x + o_proj(attention(q, k, v))
    y = mlp_norm(x)
    x = x + down_proj(silu(gate_proj(y)) * up_proj(y))

With ``qk_norm`` every head of q and k passes q_norm and k_norm before it is rotated. With an
adapter for drafts, rows that draft add draft_b(draft_a(scale * z)) to o_proj(z). Names and
shapes of parameters, the modules of the torch layer, which products the graph fuses and which it
rounds, and where calibration looks all follow from `layer_parts`. Nothing here needs torch.

A part's name is that of its module in a layer; a parameter's is ``layers.3.q_proj.weight``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from dawn_models.config import LayerKind, ModelConfig

_LAYERS: Final = "layers."


@dataclass(frozen=True, slots=True)
class Norm:
    """A root mean square norm with a learned scale.

    Attributes:
        name: of its module.
        width: values that are normed together.
    """

    name: str
    width: int


@dataclass(frozen=True, slots=True)
class Linear:
    """A product ``x @ weight.T + bias``, its weight [out, width].

    Attributes:
        name: of its module.
        width: channels of what it reads.
        out: channels of what it gives.
        reads: the norm whose output it reads; None where what it reads comes from elsewhere and
            is read by it alone.
        bias: whether it has one.
        fused: the product of the graph that it becomes a part of; None where it stays alone. Those
            that are fused together read the same, and have a bias or none of them.
        rounded: whether its weight may be stored as integers.
        outliers: whether what it reads has the largest outliers of a layer, the weak spot of
            activations that are rounded by one scale.
        attention: whether it is a projection of the attention: to queries, keys or values, or back.
    """

    name: str
    width: int
    out: int
    reads: str | None = None
    bias: bool = False
    fused: str | None = None
    rounded: bool = True
    outliers: bool = False
    attention: bool = False


@dataclass(frozen=True, slots=True)
class Factor:
    """One of the two narrow matrices of an adapter for drafts, its weight [out, width].

    It is no `Linear`: it is never rounded nor fused, and has no range.

    Attributes:
        name: of its module.
        width: channels of what it reads.
        out: channels of what it gives.
    """

    name: str
    width: int
    out: int


Part = Norm | Linear | Factor
"""What a layer is made of."""


@dataclass(frozen=True, slots=True)
class Input:
    """What one or several products of a layer read.

    Attributes:
        name: of the norm that it comes from, or else of the one product that reads it.
        readers: those products.
        smoothed: whether a norm gives it, into which a factor for each channel can be folded.
    """

    name: str
    readers: tuple[Linear, ...]
    smoothed: bool

    @property
    def width(self) -> int:
        """Its channels."""
        return self.readers[0].width


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Widths of what flows through a layer."""

    hidden: int = 1
    queries: int = 1
    keys: int = 1
    head: int = 1
    mlp: int = 1


def layer_parts(config: ModelConfig, kind: LayerKind) -> tuple[Part, ...]:
    """The parts of a layer of this kind, in the order in which they compute."""
    sizes = _Sizes(
        config.hidden_size,
        config.query_size,
        config.key_value_size,
        config.head_dim,
        kind.intermediate_size,
    )
    rank = 0 if config.draft is None else config.draft.rank
    return _parts(sizes, qkv_bias=config.qkv_bias, qk_norm=kind.qk_norm, rank=rank)


def _parts(
    sizes: _Sizes, *, qkv_bias: bool = False, qk_norm: bool = False, rank: int = 0
) -> tuple[Part, ...]:
    hidden, wide = sizes.hidden, sizes.mlp
    factors = (Factor("draft_a", sizes.queries, rank), Factor("draft_b", rank, hidden))

    def projection(name: str, out: int) -> Linear:
        bound = {"bias": qkv_bias, "attention": True}
        return Linear(name, hidden, out, "attention_norm", fused="qkv_proj", **bound)

    # gate_proj and up_proj are not fused: the split of what comes out costs more than one product
    # saves (25 of 680 ms at INT8, 256 rows, 0.5B).
    return (
        Norm("attention_norm", hidden),
        projection("q_proj", sizes.queries),
        projection("k_proj", sizes.keys),
        projection("v_proj", sizes.keys),
        *((Norm("q_norm", sizes.head), Norm("k_norm", sizes.head)) if qk_norm else ()),
        Linear("o_proj", sizes.queries, hidden, attention=True),
        *(factors if rank else ()),
        Norm("mlp_norm", hidden),
        Linear("gate_proj", hidden, wide, "mlp_norm"),
        Linear("up_proj", hidden, wide, "mlp_norm"),
        Linear("down_proj", wide, hidden, outliers=True),
    )


def linears(parts: Iterable[Part]) -> tuple[Linear, ...]:
    """The products among some parts."""
    return tuple(part for part in parts if isinstance(part, Linear))


def inputs(parts: Iterable[Part]) -> tuple[Input, ...]:
    """What the products of a layer read, each once, in the order of computation."""
    found = _grouped(linears(parts), lambda linear: linear.reads)
    return tuple(Input(name, group, group[0].reads is not None) for name, group in found.items())


def stored_products(parts: Iterable[Part]) -> dict[str, tuple[Linear, ...]]:
    """Product of the graph -> products of a layer it is made of; most are made of one alone."""
    return _grouped(linears(parts), lambda linear: linear.fused)


def _grouped(
    products: Iterable[Linear], group_of: Callable[[Linear], str | None]
) -> dict[str, tuple[Linear, ...]]:
    """Products by the name of their group; one without a group is a group of its own."""
    groups: dict[str, tuple[Linear, ...]] = {}
    for linear in products:
        name = group_of(linear) or linear.name
        groups[name] = (*groups.get(name, ()), linear)
    return groups


_NAMES: Final = _parts(_Sizes())
"""Names do not depend on sizes; every kind of layer that there is has these products."""

LINEARS: Final = tuple(linear.name for linear in linears(_NAMES))
"""Products of a layer, whose inputs have ranges."""

NORMS: Final[Mapping[str, tuple[str, ...]]] = {
    found.name: tuple(linear.name for linear in found.readers)
    for found in inputs(_NAMES)
    if found.smoothed
}
"""Norm of a layer -> products that read it, and share one smoothing."""


def linear_names(layers: int) -> tuple[str, ...]:
    """Names of all products of so many layers: ``layers.0.q_proj``, ..."""
    return tuple(full_name(i, name) for i in range(layers) for name in LINEARS)


def norm_names(layers: int) -> tuple[str, ...]:
    """Names of all norms that can be smoothed: ``layers.0.attention_norm``, ..."""
    return tuple(full_name(i, name) for i in range(layers) for name in NORMS)


def full_name(layer: int, name: str) -> str:
    """The name in the model of what is called `name` in a layer."""
    return f"{_LAYERS}{layer}.{name}"


def split_name(name: str) -> tuple[int | None, str]:
    """The opposite of `full_name`; the layer is None for what is in none."""
    if not name.startswith(_LAYERS):
        return None, name
    number, _, rest = name.removeprefix(_LAYERS).partition(".")
    return int(number), rest


def linear_of(config: ModelConfig, parameter: str) -> Linear | None:
    """The product of a layer that a parameter is the weight of; None if it is another one's."""
    layer, name = split_name(parameter)
    if layer is None:
        return None
    parts = layer_parts(config, config.kind(layer))
    return next((linear for linear in linears(parts) if name == f"{linear.name}.weight"), None)


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter of our transformer, weights of products as [out, in]."""
    table = (config.vocab_size, config.hidden_size)
    shapes: dict[str, tuple[int, ...]] = {
        "embedding.weight": table,
        "norm.weight": (config.hidden_size,),
    }
    if not config.tied_head:
        shapes["head.weight"] = table
    layers = {kind: _layer_shapes(layer_parts(config, kind)) for kind in config.kinds}
    for i in range(config.num_layers):
        own = layers[config.kind(i)]
        shapes |= {full_name(i, name): shape for name, shape in own.items()}
    return shapes


def _layer_shapes(parts: Iterable[Part]) -> dict[str, tuple[int, ...]]:
    weights: dict[str, tuple[int, ...]] = {}
    biases: dict[str, tuple[int, ...]] = {}
    for part in parts:
        if isinstance(part, Norm):
            weights[f"{part.name}.weight"] = (part.width,)
            continue
        weights[f"{part.name}.weight"] = (part.out, part.width)
        if isinstance(part, Linear) and part.bias:
            biases[f"{part.name}.bias"] = (part.out,)
    return {**weights, **biases}
