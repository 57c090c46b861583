"""The network with its attention open, head by head, which no graph gives out."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dawn_models import Transformer
from dawn_runtime.arrays import FloatArray, IntArray

EVIDENCE_LAYERS = 4
"""The last layers, whose attention the graph gives out as their mean."""


class Predictor(Protocol):
    """What predicts tokens at positions."""

    def distributions(self, sequences: IntArray, positions: IntArray) -> FloatArray:
        """Returns the model's own probabilities, 0 for what it may never predict.

        Args:
            sequences: int64 [B, S], each a whole sequence.
            positions: int64 [n] where tokens are predicted.

        Returns:
            float32 [B, n, V].
        """


class Network:
    """Predictions and attention of a model, over whole sequences without a cache.

    Args:
        model: The network.
        batch: Most sequences that run together.
    """

    def __init__(self, model: Transformer, batch: int = 32) -> None:
        self._model = model
        self._batch = batch
        self.shift = model.config.shift
        self.mask = model.config.mask_token_id

    @torch.inference_mode()
    def distributions(self, sequences: IntArray, positions: IntArray) -> FloatArray:
        """Does what `Predictor` says."""
        parts = np.split(sequences, range(self._batch, len(sequences), self._batch))
        return np.concatenate([self._predicted(part, positions) for part in parts])

    def _predicted(self, sequences: IntArray, positions: IntArray) -> FloatArray:
        rows = torch.from_numpy(positions - self.shift)
        hidden = self._model.hidden(torch.from_numpy(sequences))[:, rows]
        chances = self._model.head(hidden).float().softmax(dim=-1)
        chances[..., list(self._model.config.barred_token_ids)] = 0.0
        found: FloatArray = chances.numpy()
        return found

    @torch.inference_mode()
    def attention(self, sequence: IntArray, rows: IntArray, keys: IntArray) -> FloatArray:
        """Returns the attention of every head of every layer.

        Args:
            sequence: int64 [S].
            rows: int64 [n] which look.
            keys: int64 [m] that are looked at.

        Returns:
            float32 [layers, heads, n, m].
        """
        ids = torch.from_numpy(sequence)[None]
        everywhere = torch.ones(1, 1, len(sequence), len(sequence), dtype=torch.bool)
        asked = torch.from_numpy(rows)
        x, rotation, _ = self._model.enter(
            ids, torch.arange(len(sequence))[None], everywhere, asked[None]
        )
        found = []
        for layer in self._model.layers:
            x, _, query, heads_keys = layer(x, rotation, None, None)
            found.append(_by_head(query[0, :, asked], heads_keys[0]))
        attention: NDArray[np.float32] = torch.stack(found)[..., torch.from_numpy(keys)].numpy()
        return attention


def _by_head(query: Tensor, keys: Tensor) -> Tensor:
    """Rows [H, n, D] over keys [Hkv, S, D], each of which serves H / Hkv heads: [H, n, S]."""
    shared = keys.repeat_interleave(len(query) // len(keys), dim=0)
    scores = query.float() @ shared.float().transpose(1, 2) * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1)


def mean_of_last(attention: FloatArray) -> FloatArray:
    """Mean over heads and the last layers: [layers, heads, n, m] -> [n, m]."""
    mean: FloatArray = attention[-EVIDENCE_LAYERS:].mean(axis=(0, 1))
    return mean
