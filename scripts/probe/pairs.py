"""Pairs of undecided positions: whether they are coupled, and what could have told so before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dawn_calibration.tasks import Item
from dawn_runtime import Decoder
from dawn_runtime.arrays import FloatArray, IntArray
from front.record import Conditions
from front.rules import Setting
from probe.coupling import LEAST, SURE, Predicted, coupling, predicted
from probe.engines import State, Watched
from probe.network import Network, mean_of_last

LABELS: Final[Mapping[str, float]] = {"moves by 0.1": 0.1, "moves by 0.3": 0.3, "changes": 1.0}
"""When a pair is coupled: j moves the distribution at i so far, or changes the best token there."""

TRAJECTORY: Final = Setting("threshold", "threshold", (("threshold", 0.9),))
"""The rule whose states are looked into."""

_MOST_STATES: Final = 4
"""Of an item."""

_MOST_PAIRS: Final = 40
"""Of a state; others are left out at random, so that no large state outweighs all the others."""

_LOWEST: Final = 1e-6
"""Added to attention before its logarithm is taken."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """N ordered pairs (i, j) of positions that a rule has to decide about.

    Attributes:
        item: int64 [N] number of the item, from 0 on.
        moved: float32 [N] total variation at i if j is revealed.
        changed: bool [N] whether the best token at i changes.
        mean: float32 [N] mean attention of i to j over all heads of the last layers.
        mean_either: float32 [N] the larger of that and of j's to i.
        distance: float32 [N] positions between them.
        entropies: float32 [N, 4] of i and j, the smaller one, and their product.
        heads: float32 [N, K] logarithms of attention of every head, both directions.
    """

    item: IntArray
    moved: FloatArray
    changed: NDArray[np.bool_]
    mean: FloatArray
    mean_either: FloatArray
    distance: FloatArray
    entropies: FloatArray
    heads: FloatArray

    def coupled(self, label: str) -> NDArray[np.bool_]:
        """Returns whether each pair is coupled, by a name of `LABELS`."""
        return self.changed if label == "changes" else self.moved >= LABELS[label]

    def both(self) -> FloatArray:
        """Returns heads and entropies beside each other, float32 [N, K + 4]."""
        return np.concatenate([self.heads, self.entropies], axis=1)

    @staticmethod
    def joined(parts: Sequence[Pairs], items: Sequence[int] | None = None) -> Pairs:
        """Puts pairs together; `items` is what is added to the numbers of the items of each."""
        columns = {
            column.name: np.concatenate([getattr(part, column.name) for part in parts])
            for column in fields(Pairs)
        }
        if items is not None:
            shifts = np.repeat(items, [len(part.item) for part in parts])
            columns["item"] = columns["item"] + shifts
        return Pairs(**columns)


def states_of(
    decoder: Decoder, watched: Watched, item: Item, conditions: Conditions
) -> list[State]:
    """Decodes an item; returns the states on the way.

    Args:
        decoder: Around `watched`.
        watched: Keeps the states.
        item: What is asked.
        conditions: How it is decoded.
    """
    watched.met.clear()
    given = TRAJECTORY.settings(conditions.max_new_tokens, conditions.block_length)
    decoder.generate_batch([[{"role": "user", "content": item.prompt}]], **given)
    return list(watched.met)


def pairs_of(
    network: Network, states: Sequence[State], item: int, rng: np.random.Generator
) -> Iterator[Pairs]:
    """Looks into the first states of an item that have pairs to decide about."""
    left = _MOST_STATES
    for state in states:
        now = predicted(network, state.sequence, state.positions)
        unsure = now.open_to(LEAST, SURE)
        if left and len(unsure) > 1:
            left -= 1
            yield _pairs(network, state, now, unsure, item, rng)


def _pairs(
    network: Network,
    state: State,
    now: Predicted,
    unsure: IntArray,
    item: int,
    rng: np.random.Generator,
) -> Pairs:
    true = coupling(network, state.sequence, state.positions, now, unsure)
    i, j = np.nonzero(~np.eye(len(unsure), dtype=np.bool_))
    kept = np.sort(rng.permutation(len(i))[:_MOST_PAIRS])
    i, j = i[kept], j[kept]
    positions = state.positions[unsure]
    own = network.attention(state.sequence, positions, positions)
    mean = mean_of_last(own)
    chosen = np.ix_(unsure, unsure)
    return Pairs(
        item=np.full(len(i), item),
        moved=true.moved[chosen][i, j],
        changed=true.changed[chosen][i, j],
        mean=mean[i, j],
        mean_either=np.maximum(mean, mean.T)[i, j],
        distance=np.abs(positions[i] - positions[j]).astype(np.float32),
        entropies=entropies(now.entropy[unsure])[i, j],
        heads=heads(network, state.sequence, positions)[i, j],
    )


def entropies(of: FloatArray) -> FloatArray:
    """What the entropies [n] of two positions tell of the pair, [n, n, 4]."""
    i, j = np.broadcast_arrays(of[:, None], of[None])
    return np.stack([i, j, np.minimum(i, j), i * j], axis=-1)


def heads(network: Network, sequence: IntArray, positions: IntArray) -> FloatArray:
    """What every head tells of each pair, both directions.

    The rows of the positions look, and where a model predicts ahead those that predict them too.

    Args:
        network: Whose heads.
        sequence: int64 [S].
        positions: int64 [n].

    Returns:
        float32 [n, n, K] logarithms of attention.
    """
    found = []
    for ahead in sorted({0, network.shift}):
        attention = network.attention(sequence, positions - ahead, positions)
        logs = np.log(attention.reshape(-1, *attention.shape[2:]) + _LOWEST)
        found += [logs.transpose(1, 2, 0), logs.transpose(2, 1, 0)]
    return np.concatenate(found, axis=-1)
