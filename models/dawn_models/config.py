"""What a model is, whatever its family: the switches of the one transformer we implement."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

FULL: Final = "full"
BLOCK_CAUSAL: Final = "block-causal"
CAUSAL: Final = "causal"
ATTENTIONS: Final = (FULL, BLOCK_CAUSAL, CAUSAL)
"""What a position may see: all; its own block and those before; what was fed before it."""

ORIGINS: Final = ("start", "prompt")
"""Where blocks are counted from: position 0, or the end of the prompt."""


@dataclass(frozen=True)
class Attention:
    """What a model was trained to see while it denoises; masks are an input of its graph.

    Attributes:
        kind: one of `ATTENTIONS`.
        block_length: positions that are denoised together; None where nothing fixes it. A causal
            model that has it denoises such a block under bidirectional attention.
        origin: where blocks begin, one of `ORIGINS`.
        carry: the first token of a block comes from the pass that finishes the one before.

    Raises:
        ValueError: a value is none of those.
    """

    kind: str = FULL
    block_length: int | None = None
    origin: str = "start"
    carry: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ATTENTIONS or self.origin not in ORIGINS:
            raise ValueError(f"attention {self.kind!r} with blocks from {self.origin!r}")
        length = self.block_length
        if self.kind == (BLOCK_CAUSAL if length is None else FULL) or (
            length is not None and length < 1
        ):
            raise ValueError(f"{self.kind} attention with blocks of {length}")


@dataclass(frozen=True)
class Yarn:
    """RoPE whose slow frequencies are divided by a factor (arXiv 2309.00071).

    Attributes:
        factor: what they are divided by; above 0.
        original_length: context of the training that they are taken from.
        beta_fast: turns within that context from which on a frequency stays as it is.
        beta_slow: turns up to which it is divided; between the two lies a ramp.
        scale: factor of cosine and sine.
    """

    factor: float
    original_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    scale: float = 1.0

    def ramp(self, theta: float, head_dim: int) -> tuple[float, float]:
        """First and last frequency of the ramp, between which the division sets in."""

        def place(turns: float) -> float:
            span = math.log(self.original_length / (turns * 2 * math.pi))
            return head_dim * span / (2 * math.log(theta))

        low = max(math.floor(place(self.beta_fast)), 0)
        high = min(math.ceil(place(self.beta_slow)), head_dim - 1)
        return float(low), high + 0.001 if low == high else float(high)


@dataclass(frozen=True)
class DraftAdapter:
    """LoRA on the o_proj of every layer, added to the rows of which drafts are made and no others.

    Attributes:
        rank: channels between its two factors.
        scale: what their product is multiplied with.
    """

    rank: int
    scale: float


@dataclass(frozen=True)
class LayerKind:
    """What may differ from layer to layer: layers of one kind differ in their weights alone.

    Attributes:
        intermediate_size: width of the gated MLP.
        qk_norm: an RMS norm over each head of queries and keys, before RoPE.
    """

    intermediate_size: int
    qk_norm: bool


@dataclass(frozen=True)
class ModelConfig:
    """Geometry and switches of a pre-norm RoPE transformer that denoises masked tokens.

    Attributes:
        family: name of the family that read it, for example ``dream``.
        vocab_size: rows of the embedding and of the head.
        hidden_size: width of the residual stream.
        intermediate_size: width of the gated MLP.
        num_layers: transformer blocks.
        num_heads: query heads.
        num_kv_heads: key and value heads; divides ``num_heads`` (grouped attention).
        head_dim: width of one head; even, because RoPE rotates halves.
        max_length: longest sequence in tokens, prompt and answer together.
        rope_theta: base of the rotary frequencies.
        norm_eps: epsilon of every RMS norm.
        qkv_bias: query, key and value projections have a bias.
        qk_norm: an RMS norm over each head of queries and keys, before RoPE.
        tied_head: the head is the embedding, transposed.
        shift: 0 if row i predicts token i, 1 if row i - 1 does (Dream).
        mask_token_id: the token that stands for "not yet known".
        eos_token_ids: tokens that end an answer.
        pad_token_id: token used for padding, or None.
        layers: the kind of every layer where they differ; empty where all of them are of the one
            that `intermediate_size` and `qk_norm` describe.
        forbidden_token_ids: tokens that are never predicted, the mask aside.
        attention: what a position may see.
        yarn: how the rotary frequencies are scaled; None where they are not.
        draft: the adapter for drafts; None where there is none.

    Raises:
        ValueError: `layers` are not as many as there are layers.
    """

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_length: int
    rope_theta: float
    norm_eps: float
    qkv_bias: bool
    qk_norm: bool
    tied_head: bool
    shift: int
    mask_token_id: int
    eos_token_ids: tuple[int, ...]
    pad_token_id: int | None
    forbidden_token_ids: tuple[int, ...] = ()
    layers: tuple[LayerKind, ...] = ()
    attention: Attention = field(default_factory=Attention)
    yarn: Yarn | None = None
    draft: DraftAdapter | None = None

    def __post_init__(self) -> None:
        if self.layers and len(self.layers) != self.num_layers:
            raise ValueError(f"kinds of {len(self.layers)} layers, expected {self.num_layers}")

    def kind(self, layer: int) -> LayerKind:
        """The kind of a layer."""
        if self.layers:
            return self.layers[layer]
        return LayerKind(self.intermediate_size, self.qk_norm)

    @property
    def kinds(self) -> tuple[LayerKind, ...]:
        """Every kind of layer once, in the order of their first layers."""
        return tuple(dict.fromkeys(map(self.kind, range(self.num_layers))))

    def of_layers(self, kinds: tuple[LayerKind, ...]) -> ModelConfig:
        """The same model with other layers."""
        return replace(self, num_layers=len(kinds), layers=kinds)

    def first_layers(self, layers: int) -> ModelConfig:
        """The same model without the layers that follow these."""
        return replace(self, num_layers=layers, layers=self.layers[:layers])

    @property
    def barred_token_ids(self) -> tuple[int, ...]:
        """The mask and the forbidden tokens, ascending: what no row may predict."""
        return tuple(sorted({self.mask_token_id, *self.forbidden_token_ids}))

    @property
    def query_size(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def key_value_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_kv_heads * self.head_dim
