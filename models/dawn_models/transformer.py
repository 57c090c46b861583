"""One torch module for every family: a pre-norm RoPE transformer with switches.

`Transformer` is what training and checks use. `Transformer.step` computes one run of the step
contract; exporting it gives the graph whose inputs and outputs the runtime knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses

from dawn_models.anatomy import Linear, Norm, Part, layer_parts
from dawn_models.config import LayerKind, ModelConfig

_LARGEST_BLOCK = 512
"""Most values that are searched one by one; about the root of a vocabulary."""

_IMPOSSIBLE = -104.0
"""Logarithm of a probability that is zero in float32; times minus infinity zero is no number."""


class KeyValue(NamedTuple):
    """Keys (already rotated) and values of one layer, each [B, Hkv, length, D]."""

    key: Tensor
    value: Tensor


class StepResult(NamedTuple):
    """What one run computes; shapes as in the step contract.

    Attributes:
        tokens: int64 [B, R], the most probable token of each asked row that may be predicted.
        confidence: float32 [B, R], its probability in the model's own distribution.
        attention: float32 [B, Q, P + S], mean over heads and evidence layers.
        logits: float32 [B, R, V], minus infinity for the mask and what else is never predicted.
        entropy: float32 [B, E], of the model's own distributions, where it was asked for; in nats.
        margin: float32 [B, R], how far the second best logit is below the best.
        present: keys and values of the S fed tokens alone, one entry a layer, as a cache keeps
            them.
    """

    tokens: Tensor
    confidence: Tensor
    attention: Tensor
    logits: Tensor
    entropy: Tensor
    margin: Tensor
    present: list[KeyValue]


class Joining(Protocol):
    """How a layer puts cached keys and values before those of the fed rows."""

    def __call__(self, past: KeyValue | None, new: KeyValue) -> tuple[KeyValue, KeyValue]:
        """Join the two.

        Args:
            past: what was returned for the cache before; None is P = 0.
            new: rotated keys and values of the S rows.

        Returns:
            What a cache keeps of the S rows; what attention reads, each [B, Hkv, P + S, D].
        """


def joined(past: KeyValue | None, new: KeyValue) -> tuple[KeyValue, KeyValue]:
    """Keep keys and values as they are; see `Joining`."""
    if past is None:
        return new, new
    return new, KeyValue(*(torch.cat(pair, dim=2) for pair in zip(past, new, strict=True)))


class RMSNorm(nn.Module):
    """Root mean square norm with a learned scale, over the last axis."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width], in the dtype of `x`."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.epsilon)


class Rotation(NamedTuple):
    """Cosine and sine of the rotary angles, each float32 [B, 1, S, D / 2]."""

    cos: Tensor
    sin: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Rotate the two halves of each head of `x` [B, H, S, D], in float32."""
        low, high = x.float().chunk(2, dim=-1)
        rotated = (low * self.cos - high * self.sin, high * self.cos + low * self.sin)
        return torch.cat(rotated, dim=-1).to(x.dtype)


class Evidence(NamedTuple):
    """Which query rows attention evidence is wanted of, and where they may look.

    Attributes:
        rows: int64 [B, Q], indices of fed rows.
        mask: bool [B, Q, P + S], True where the row may look.
    """

    rows: Tensor
    mask: Tensor


class LayerResult(NamedTuple):
    """What one layer computes.

    Attributes:
        x: [B, S, hidden], the new residual stream.
        new: keys (rotated) and values of the S rows alone, as a cache keeps them.
        query: [B, H, S, D], rotated queries.
        keys: [B, Hkv, P + S, D], rotated keys, cached ones first.
    """

    x: Tensor
    new: KeyValue
    query: Tensor
    keys: Tensor


class Layer(nn.Module):
    """Attention and gated MLP, each behind a norm and beside a residual.

    Its modules are the parts of `dawn_models.anatomy`. Where queries and keys are not normed,
    q_norm and k_norm give back what they get; draft_a and draft_b are there with an adapter.
    """

    attention_norm: RMSNorm
    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    q_norm: nn.Module
    k_norm: nn.Module
    o_proj: nn.Linear
    draft_a: nn.Linear
    draft_b: nn.Linear
    mlp_norm: RMSNorm
    gate_proj: nn.Linear
    up_proj: nn.Linear
    down_proj: nn.Linear

    def __init__(self, config: ModelConfig, kind: LayerKind, join: Joining = joined) -> None:
        super().__init__()
        self.config = config
        self.join = join
        for part in layer_parts(config, kind):
            self.add_module(part.name, _module(part, config.norm_eps))
        if not kind.qk_norm:
            self.q_norm = self.k_norm = nn.Identity()

    def forward(
        self,
        x: Tensor,
        rotation: Rotation,
        mask: Tensor | None,
        past: KeyValue | None,
        drafts: Tensor | None = None,
    ) -> LayerResult:
        """Run the layer on [B, S, hidden].

        Args:
            x: [B, S, hidden], the residual stream.
            rotation: rotary angles of the S rows.
            mask: bool [B, 1, S, P + S], True where the query may look; None is everywhere.
            past: cached keys and values, as in `LayerResult.new`; None is P = 0.
            drafts: bool [B, S], the rows that the adapter is added to; None is none.
        """
        y = self.attention_norm(x)
        query = rotation.apply(self.q_norm(self._heads(self.q_proj(y), self.config.num_heads)))
        new = KeyValue(
            rotation.apply(self.k_norm(self._heads(self.k_proj(y), self.config.num_kv_heads))),
            self._heads(self.v_proj(y), self.config.num_kv_heads),
        )
        kept, (keys, values) = self.join(past, new)
        grouped = self.config.num_kv_heads != self.config.num_heads
        attended = F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, enable_gqa=grouped
        )
        x = x + self._projected(_side_by_side(attended), drafts)
        y = self.mlp_norm(x)
        x = x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))
        return LayerResult(x, kept, query, keys)

    def _projected(self, attended: Tensor, drafts: Tensor | None) -> Tensor:
        """[B, S, query_size] -> [B, S, hidden]; exactly o_proj in rows without the adapter."""
        projected: Tensor = self.o_proj(attended)
        if self.config.draft is None or drafts is None:
            return projected
        # What the factors read is multiplied, not what they give: zeros stay zeros, whatever they
        # are multiplied with, where what they give might overflow.
        share = drafts.unsqueeze(-1).to(attended.dtype) * self.config.draft.scale
        added: Tensor = self.draft_b(self.draft_a(attended * share))
        return projected + added

    def _heads(self, x: Tensor, heads: int) -> Tensor:
        """[B, S, heads * D] -> [B, heads, S, D]."""
        return x.view(*x.shape[:2], heads, self.config.head_dim).transpose(1, 2)


def _side_by_side(heads: Tensor) -> Tensor:
    """[B, heads, S, D] -> [B, S, heads * D]."""
    batch, count, length, width = heads.shape
    return heads.transpose(1, 2).reshape(batch, length, count * width)


def _module(part: Part, epsilon: float) -> nn.Module:
    """The module of a part, its weights made by torch."""
    if isinstance(part, Norm):
        return RMSNorm(part.width, epsilon)
    return nn.Linear(part.width, part.out, bias=isinstance(part, Linear) and part.bias)


def mean_attention(query: Tensor, keys: Tensor, evidence: Evidence) -> Tensor:
    """Post-softmax attention of the asked rows, mean over heads, in float32.

    Computed beside the fused kernel, which keeps its probabilities to itself.

    Args:
        query: [B, H, S, D], rotated.
        keys: [B, Hkv, P + S, D], rotated; each serves H / Hkv consecutive query heads.
        evidence: the rows asked for.

    Returns:
        float32 [B, Q, P + S].
    """
    batch, heads, _, width = query.shape
    kv_heads, rows = keys.shape[1], evidence.rows.shape[1]
    index = evidence.rows.unsqueeze(1).unsqueeze(3).expand(batch, heads, rows, width)
    asked = query.gather(2, index).float() * width**-0.5
    # Sizes are given in full: a -1 cannot be inferred beside an axis of length zero (Q = 0).
    grouped = asked.reshape(batch, kv_heads, heads // kv_heads * rows, width)
    scores = (grouped @ keys.float().transpose(2, 3)).reshape(batch, heads, rows, keys.shape[2])
    scores = torch.where(evidence.mask.unsqueeze(1), scores, float("-inf"))
    return torch.softmax(scores, dim=-1).mean(dim=1)


class Transformer(nn.Module):
    """A masked-diffusion language model.

    Args:
        config: its geometry and switches.
        join: how layers keep keys and values.
    """

    def __init__(self, config: ModelConfig, join: Joining = joined) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            Layer(config, config.kind(i), join) for i in range(config.num_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.norm_eps)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tied_head:
            self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Logits of every row: [B, S] -> [B, S, V]; row i predicts token i + shift.

        Args:
            input_ids: int64 [B, S].
            attention_mask: bool [B, 1, S, S], True where the query may look; None is everywhere.
        """
        logits: Tensor = self.head(self.hidden(input_ids, attention_mask))
        return logits

    def hidden(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
    ) -> Tensor:
        """Normed hidden rows, the head's input: [B, S] -> [B, S, hidden].

        Args:
            input_ids: int64 [B, S].
            attention_mask: as for `forward`.
            position_ids: int64 [B, S], logical positions; None is that of the row.
        """
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)
            position_ids = position_ids[None].expand_as(input_ids)
        rotation = self.rotation(position_ids)
        x = self.embedding(input_ids)
        for layer in self.layers:
            x = layer(x, rotation, attention_mask, None).x
        normed: Tensor = self.norm(x)
        return normed

    def step(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        logit_rows: Tensor,
        attention_rows: Tensor,
        entropy_rows: Tensor,
        past: Sequence[KeyValue | None],
        evidence_layers: int,
        draft_mask: Tensor | None = None,
    ) -> StepResult:
        """One run of the step contract.

        Args:
            input_ids: int64 [B, S], in any order.
            position_ids: int64 [B, S], logical positions.
            attention_mask: bool [B, 1, S, P + S]; every row must see at least one key.
            logit_rows: int64 [B, R], fed rows for which the head is computed.
            attention_rows: int64 [B, Q], fed rows whose attention is wanted.
            entropy_rows: int64 [B, E], which of the R predictions the entropy is wanted of.
            past: cached keys and values, one entry a layer, P may be 0; None is P = 0.
            evidence_layers: how many of the last layers the attention is the mean of.
            draft_mask: bool [B, S], rows to which the adapter for drafts is added; None is none.
        """
        x, rotation, seen = self.enter(input_ids, position_ids, attention_mask, attention_rows)
        evidence = Evidence(attention_rows, seen)
        first = self.config.num_layers - evidence_layers
        present: list[KeyValue] = []
        attention: list[Tensor] = []
        for i, (layer, cached) in enumerate(zip(self.layers, past, strict=True)):
            x, new, query, keys = layer(x, rotation, attention_mask, cached, draft_mask)
            present.append(new)
            attention += [mean_attention(query, keys, evidence)] if i >= first else []
        return StepResult(*self.leave(x, logit_rows, entropy_rows, attention), present)

    def enter(
        self,
        input_ids: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor,
        attention_rows: Tensor,
    ) -> tuple[Tensor, Rotation, Tensor]:
        """What comes before the layers; arguments as for `step`.

        Returns:
            The residual stream [B, S, hidden]; rotary angles of the S rows; where the asked rows
            may look, bool [B, Q, P + S].
        """
        seen = _gather_rows(attention_mask.squeeze(1), attention_rows)
        return self.embedding(input_ids), self.rotation(position_ids), seen

    def leave(
        self, x: Tensor, logit_rows: Tensor, entropy_rows: Tensor, attention: list[Tensor]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What comes after the layers.

        Args:
            x: [B, S, hidden], the residual stream.
            logit_rows: int64 [B, R], fed rows for which the head is computed.
            entropy_rows: int64 [B, E], which of the R predictions the entropy is wanted of.
            attention: float32 [B, Q, P + S], one entry for each evidence layer.

        Returns:
            Tokens, confidence, mean attention, logits, entropy and margin as in `StepResult`.
        """
        own = self.head(self.norm(_gather_rows(x, logit_rows))).float()
        logits = bar(own, logit_rows, self.config.barred_token_ids)
        tokens, margin = best_in_blocks(logits)
        # What is barred cannot be chosen, and keeps its share of the probability: published
        # thresholds were set on the model's own distribution. The golden models give the mask some
        # tenths of a percent, and without them positions less than 0.1 % apart change places.
        confidence = own.softmax(dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        mean = sum(attention[1:], attention[0]) / len(attention)
        entropy = entropy_of(_gather_rows(own, entropy_rows))
        return tokens, confidence, mean, logits, entropy, margin

    def rotation(self, position_ids: Tensor) -> Rotation:
        """Rotary angles ``position * theta ** (-2 k / D)`` for k < D / 2, in float32.

        With YaRN the slow frequencies are divided by a factor, and cosine and sine scaled.
        """
        config, yarn = self.config, self.config.yarn
        exponents = torch.arange(0, config.head_dim, 2, device=position_ids.device).float()
        frequencies = config.rope_theta ** (-exponents / config.head_dim)
        if yarn is not None:
            low, high = yarn.ramp(config.rope_theta, config.head_dim)
            divided = ((exponents / 2 - low) / (high - low)).clamp(0, 1)
            frequencies = frequencies * (1 - divided + divided / yarn.factor)
        angles = position_ids.unsqueeze(1).unsqueeze(3).float() * frequencies
        if yarn is None or yarn.scale == 1:
            return Rotation(angles.cos(), angles.sin())
        return Rotation(angles.cos() * yarn.scale, angles.sin() * yarn.scale)


def bar(logits: Tensor, rows: Tensor, barred: tuple[int, ...]) -> Tensor:
    """Gives ids that may never be predicted a logit of minus infinity.

    What is written, and where, comes from tensors that are there: a constant expanded to a computed
    shape is something that ONNX Runtime would leave on the CPU beside a GPU.

    Args:
        logits: [B, R, V].
        rows: int64 [B, R], any.
        barred: the ids.
    """
    zero = rows.unsqueeze(-1) * 0
    index = torch.cat([zero + number for number in barred], dim=-1)
    nothing = torch.full((), float("-inf"), device=logits.device)
    return logits.scatter(-1, index, torch.minimum(logits.gather(-1, index), nothing))


def best_in_blocks(logits: Tensor) -> tuple[Tensor, Tensor]:
    """First index of the largest value of each row, and how far the second largest is below it.

    The largest value of every block is found first: engines reduce with vector instructions and
    search one by one. 32 rows of 151,936 take 0.7 instead of 3.7 ms in ONNX Runtime on the CPU.
    The second largest value is in the block of the largest, or the largest of another block.

    Args:
        logits: [..., V], some of them finite.

    Returns:
        int64 [...]; float32 [...], infinity where there is no second finite value.
    """
    vocabulary = logits.shape[-1]
    block = max(size for size in range(1, _LARGEST_BLOCK + 1) if vocabulary % size == 0)
    blocks = logits.reshape(*logits.shape[:-1], vocabulary // block, block)
    tops = blocks.amax(dim=-1)
    best = tops.argmax(dim=-1)
    index = best[..., None, None].expand(*best.shape, 1, block)
    own = blocks.gather(-2, index).squeeze(-2)
    tokens = best * block + own.argmax(dim=-1)
    firsts = [part.topk(2, dim=-1).values for part in (tops, own) if part.shape[-1] > 1]
    if not firsts:
        return tokens, logits.squeeze(-1) - float("-inf")
    seconds = [first[..., 1] for first in firsts]
    second = torch.maximum(*seconds) if len(seconds) > 1 else seconds[0]
    return tokens, firsts[0][..., 0] - second


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy in nats of the distributions that logits stand for: [..., V] -> [...]."""
    logs = logits.log_softmax(dim=-1).clamp(min=_IMPOSSIBLE)
    return -(logs.exp() * logs).sum(dim=-1)


def _gather_rows(x: Tensor, rows: Tensor) -> Tensor:
    """[B, S, W] and int64 [B, R] -> [B, R, W]."""
    return x.gather(1, rows.unsqueeze(2).expand(rows.shape[0], rows.shape[1], x.shape[2]))
