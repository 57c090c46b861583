"""The step contract: inputs and outputs of the one graph that every engine runs.

B rows of a batch, S tokens fed in this step, P cached keys, R head rows, Q evidence rows, E rows
of entropy, V vocabulary, Hkv key/value heads, D elements that a head keeps of a token (`kv_width`),
i a layer. One graph serves the full pass (P = 0) and the cached pass (P > 0), steps that predict
(R > 0) and steps that only make keys (R = 0).

=================  ========================  ====================================================
input              type, shape               meaning
=================  ========================  ====================================================
input_ids          int64 [B, S]              tokens fed in this step, in any order
position_ids       int64 [B, S]              their logical positions (RoPE)
attention_mask     bool [B, 1, S, P+S]       True where the query may look; cached keys come first
logit_rows         int64 [B, R]              rows of S for which the head is computed; R may be 0
attention_rows     int64 [B, Q]              rows of S whose evidence is wanted; Q = 0 costs nothing
entropy_rows       int64 [B, E]              which of the R predictions the entropy is wanted of;
                                             E = 0 costs nothing
draft_mask         bool [B, S]               True in rows to which the adapter for drafts is added;
                                             graphs of models without one lack it
past_key.i         kv dtype [B, Hkv, P, D]   cached keys, already rotated, in any order
past_value.i       kv dtype [B, Hkv, P, D]   cached values, in the order of the keys
=================  ========================  ====================================================

=================  ========================  ====================================================
output             type, shape               meaning
=================  ========================  ====================================================
tokens             int64 [B, R]              argmax of the logits, lowest id on ties
confidence         float32 [B, R]            its probability in the model's own distribution
attention          float32 [B, Q, P+S]       post-softmax attention, mean over heads and over the
                                             evidence layers
logits             float32 [B, R, V]         fetched only by the rules that need them
entropy            float32 [B, E]            of the model's own distribution, in nats
margin             float32 [B, R]            how far the second best logit is below the best
present_key.i      kv dtype [B, Hkv, S, D]   keys of the fed tokens alone, rotated
present_value.i    kv dtype [B, Hkv, S, D]   values of the fed tokens alone
=================  ========================  ====================================================

Ids that are never predicted, the mask among them (`SpecialTokens.forbidden`), have a logit of minus
infinity: `tokens`, `margin` and what is drawn are among the others. They keep their share of the
probability: the model's own distribution, which published thresholds were set on, is over all ids.
Graphs from before version 3 of the manifest bar the mask from `tokens` at most, and lack
`entropy_rows`, `entropy` and `margin`, as those for TensorRT do.

Keys and values are interleaved by layer: key.0, value.0, key.1, value.1, ... Kept as `float` they
have the dtype of the activations (`ACTIVATION_DTYPES`), whatever weights are stored as, and D is
the width of a head. Kept as `int8` they are uint8, and a row of D holds

    a byte for each number, two for the scale of each group of 32 channels, up to 3 of no meaning

which the graph alone writes and reads (`dawn_export.graph.packed_keys`); all others move rows.
Ids and evidence keep their types in every artifact.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from dawn_runtime.errors import OptionError

Dim = int | str
"""A fixed size, or the name of a dynamic axis: `B`, `S`, `P`, `R`, `Q`, `E` or `P+S`."""

ENTROPY_ROWS: Final = "entropy_rows"
"""The input that a graph with `MEASURES` has. ONNX Runtime runs every node of a graph, whatever is
fetched, so rows are what tells it how much of this is wanted."""

DRAFT_MASK: Final = "draft_mask"
"""The input that a graph with an adapter for drafts has. Where it is False, such a graph computes
what one without the adapter does, to the last bit."""

MEASURES: Final = ("entropy", "margin")
"""Outputs that not every graph has."""

ACTIVATION_DTYPES: Final = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
"""Activations of an artifact -> their dtype.

NumPy has no bfloat16, and neither ONNX Runtime's CPU provider nor its Python arrays do: artifacts
with activations `bf16` are for engines that keep keys and values on a GPU. The CPU engine refuses
them.
"""

PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8", "int8-weights", "int4", "int4-int8")
"""What weights are stored as, and products computed in. The first three name the activations too;
`int8` rounds what products read, `int8-weights` and `int4` widen weights before they multiply,
`int4-int8` does the first in the projections of the attention and the second in the MLP."""

KV_KINDS: Final = ("float", "int8")
"""What keys and values are kept as: in the type of the activations, or in bytes with scales."""

KV_PACKED: Final = "uint8"
"""Their dtype if they are kept as `int8`: the one type of a byte that TensorRT lets in and out of a
network without a scale that is known beforehand."""

KV_GROUP: Final = 32
"""Channels of a head that share a scale if keys are kept as `int8`, where a head is a multiple."""

_KV_WORD: Final = 4
"""Bytes that what a head keeps is a multiple of: what the kernels on a GPU copy at a time."""

TARGETS: Final = ("cpu", "cuda", "tensorrt")
"""What an artifact can be made for: providers of ONNX Runtime, and TensorRT."""

DIALECTS: Final = ("portable", "fused")
"""`portable`: opset <= 20, everything decomposed. `fused`: opset 23 with `Attention`."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, element type and shape of one graph input or output.

    Attributes:
        name: Name of the value in the graph.
        dtype: NumPy name of the element type: `int64`, `bool`, `float32`, `float16`, `uint8`; or
            `bfloat16`.
        shape: Fixed sizes and names of dynamic axes, outermost first.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]


def activation_dtype(activations: str) -> str:
    """Returns the dtype of activations.

    Raises:
        OptionError: The activations are none that this version writes or reads.
    """
    try:
        return ACTIVATION_DTYPES[activations]
    except KeyError:
        known = ", ".join(ACTIVATION_DTYPES)
        raise OptionError(f"activations {activations!r} are unknown; use one of: {known}") from None


def kv_dtype(activations: str, kind: str) -> str:
    """Returns the dtype of cached keys and values.

    Args:
        activations: Activations of the artifact, a key of `ACTIVATION_DTYPES`.
        kind: One of `KV_KINDS`.

    Raises:
        OptionError: The activations are none that this version writes or reads.
    """
    return KV_PACKED if kind == "int8" else activation_dtype(activations)


def kv_kind(kv_dtype: str) -> str:
    """Returns the one of `KV_KINDS` whose keys and values have a dtype."""
    return "int8" if kv_dtype == KV_PACKED else "float"


def kv_groups(head_dim: int) -> int:
    """Returns how many groups of channels of a head have a scale of their own in `int8`."""
    return 1 if head_dim % KV_GROUP else head_dim // KV_GROUP


def kv_width(head_dim: int, kv_dtype: str) -> int:
    """Returns D, the elements that a head keeps of a token, of the key and of the value each.

    Args:
        head_dim: Width of one head.
        kv_dtype: Element type of cached keys and values.
    """
    if kv_kind(kv_dtype) == "float":
        return head_dim
    used = head_dim + 2 * kv_groups(head_dim)
    return -(-used // _KV_WORD) * _KV_WORD


@lru_cache(maxsize=16)  # engines ask in every step
def input_specs(
    layers: int,
    kv_heads: int,
    head_dim: int,
    kv_dtype: str,
    *,
    measures: bool = True,
    drafts: bool = False,
) -> tuple[TensorSpec, ...]:
    """Returns the graph inputs in order.

    Args:
        layers: Number of transformer layers, >= 1.
        kv_heads: Number of key/value heads.
        head_dim: Width of one head.
        kv_dtype: Element type of cached keys and values.
        measures: Whether the graph has `MEASURES`.
        drafts: Whether it has `DRAFT_MASK`.
    """
    past = (kv_dtype, ("B", kv_heads, "P", kv_width(head_dim, kv_dtype)))
    return (
        TensorSpec("input_ids", "int64", ("B", "S")),
        TensorSpec("position_ids", "int64", ("B", "S")),
        TensorSpec("attention_mask", "bool", ("B", 1, "S", "P+S")),
        TensorSpec("logit_rows", "int64", ("B", "R")),
        TensorSpec("attention_rows", "int64", ("B", "Q")),
        *([TensorSpec(ENTROPY_ROWS, "int64", ("B", "E"))] if measures else []),
        *([TensorSpec(DRAFT_MASK, "bool", ("B", "S"))] if drafts else []),
        *(TensorSpec(name, *past) for name in kv_names("past", layers)),
    )


def output_specs(
    layers: int,
    kv_heads: int,
    head_dim: int,
    kv_dtype: str,
    vocab_size: int,
    *,
    measures: bool = True,
) -> tuple[TensorSpec, ...]:
    """Returns the graph outputs in order; arguments as for `input_specs`, drafts or not.

    Args:
        layers: Number of transformer layers, >= 1.
        kv_heads: Number of key/value heads.
        head_dim: Width of one head.
        kv_dtype: Element type of present keys and values.
        vocab_size: Number of rows of the head.
        measures: Whether the graph has `MEASURES`.
    """
    present = (kv_dtype, ("B", kv_heads, "S", kv_width(head_dim, kv_dtype)))
    measured = [
        TensorSpec("entropy", "float32", ("B", "E")),
        TensorSpec("margin", "float32", ("B", "R")),
    ]
    return (
        TensorSpec("tokens", "int64", ("B", "R")),
        TensorSpec("confidence", "float32", ("B", "R")),
        TensorSpec("attention", "float32", ("B", "Q", "P+S")),
        TensorSpec("logits", "float32", ("B", "R", vocab_size)),
        *(measured if measures else []),
        *(TensorSpec(name, *present) for name in kv_names("present", layers)),
    )


@lru_cache(maxsize=16)
def kv_names(prefix: str, layers: int) -> tuple[str, ...]:
    """Returns `prefix_key.0, prefix_value.0, prefix_key.1, ...` for all layers.

    Args:
        prefix: `past` for inputs, `present` for outputs.
        layers: Number of transformer layers.
    """
    return tuple(f"{prefix}_{part}.{i}" for i in range(layers) for part in ("key", "value"))
