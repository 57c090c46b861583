"""Decoding on the fake engine: rows to begin with, runs to the end, rows to compare."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dawn_runtime import (
    Adjacent,
    Blocks,
    Dapd,
    Dawn,
    Dream,
    Eb,
    Factor,
    Klass,
    Llada,
    LocalLeap,
    NoCache,
    OnePerStep,
    Policy,
    RowView,
    Rpd,
    Threshold,
)
from dawn_runtime.decoding import Batch, Cache, Packer, Padding, RowState, Scheme, Unmask, Window
from dawn_runtime.engine import Engine
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.policies import Clad, Conv, Dico, Hierarchy, Lsp, Needs, Streaming

MANY = 1000 if sys.version_info >= (3, 11) else 100
"""Random states on which a rule has to equal its slow reference; Python 3.10 runs the same code."""

MANIFEST = fake_manifest(vocab_size=32, max_length=96)
OLDER = replace(MANIFEST, tokens=replace(MANIFEST.tokens, forbidden=()))
"""Of a graph from before the mask was barred in it; the rails are for those."""

END, MASK = MANIFEST.tokens.eos[0], MANIFEST.tokens.mask
DAWN = Dawn(tau_sink=0.5, tau_edge=0.03, tau_induce=0.3, tau_low=0.2)
SCALED = replace(DAWN, reference_length=16, length_exponent=0.5)
KLASS = Klass(threshold=0.2, kl_threshold=8.0)


@dataclass(frozen=True, slots=True)
class Measured(Policy):
    """Commits what is nearly certain by its entropy or far ahead by its margin."""

    name: ClassVar[str] = "measured"
    needs: ClassVar[Needs] = Needs(entropy=True, margin=True)

    def select(self, view: RowView) -> np.ndarray:
        assert view.entropy is not None
        assert view.margin is not None
        here = view.candidates
        return here[(view.entropy[here] < 0.7) | (view.margin[here] > 4)]


OLD_RULES = [
    *(OnePerStep(), Threshold(0.6), Factor(2.0), LocalLeap(0.7, 0.3), KLASS),
    Measured(),
    *(DAWN, SCALED, Dapd(tau_max=0.8), Dapd("direct", tau_certain=0.9)),
    *(Adjacent(0.5), Eb(2.0), OnePerStep("entropy"), Rpd(0.5)),
    *(Clad(0.3), Conv(5, 0.5), Dico(seed_threshold=0.05, dense=0.1), Hierarchy(0.5, 0.2)),
    *(Lsp(), Streaming(0.5, 0.5)),
]
"""Those that `support.old_loop` can ask: it counts no window."""

POLICIES = [
    *OLD_RULES,
    *(Dream("topk_margin", 12), Llada(12)),
]


class Steady:
    """The hash model, with predictions that stand whatever the context at most positions.

    With the hash model alone hardly a draft is ever right, as any token changes everything.

    Args:
        share: Of all (position, what is seen) pairs at which they do.
        seed: Another seed is another model.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._share, self._model = share, HashModel(32, seed)
        self._table = np.random.default_rng(seed).normal(size=(96, 32)).astype(np.float32) * 3

    def __call__(self, tokens: Any, positions: Any, *seen: Any) -> tuple[np.ndarray, np.ndarray]:
        logits, attention = self._model(tokens, positions, *seen)
        steady = (logits[:, 0] * 7919) % 1 < self._share
        logits[steady] = self._table[positions[steady]]
        return logits, attention


def begin(
    prompts: list[list[int]],
    new: int | list[int],
    *,
    end: bool = False,
    shift: int = 0,
) -> list[RowState]:
    """Rows of prompts that are to be continued."""
    counts = [new] * len(prompts) if isinstance(new, int) else new
    return [
        RowState.begin(np.array(prompt), count, MASK, (END,) if end else (), shift=shift)
        for prompt, count in zip(prompts, counts, strict=True)
    ]


def batch_of(
    engine: Engine, rows: list[RowState], schemes: Scheme | list[Scheme], padding: Padding = "right"
) -> Batch:
    """A batch that all rows have joined; their keys are 0, 1, ..."""
    each = schemes if isinstance(schemes, list) else [schemes] * len(rows)
    most = sum(scheme.most_asks() for scheme in each)
    longest = max(row.length for row in rows)
    packer = replace(Packer.for_engine(0, engine.describe()), padding=padding)
    batch = Batch(engine, packer, max_rows=most, max_tokens=most * longest)
    for row, scheme in zip(rows, each, strict=True):
        batch.admit(row, scheme)
    return batch


def run(
    prompts: list[list[int]],
    new: int | list[int],
    policy: Policy,
    window: Window | None = None,
    cache: Cache | None = None,
    *,
    end: bool = False,
    shift: int = 0,
    seed: int = 0,
) -> Batch:
    """Decodes to the end on the hash model."""
    scheme = Unmask(policy, window or Blocks(8), cache or NoCache())
    engine = FakeEngine(MANIFEST, HashModel(32, seed))
    return finished(batch_of(engine, begin(prompts, new, end=end, shift=shift), scheme))


def states(batch: Batch) -> Iterator[tuple[RowState, ...]]:
    """Yields all rows after every step until none is left to decode."""
    while batch.active:
        batch.step()
        yield tuple(batch.rows.values())


def finished(batch: Batch) -> Batch:
    """Decodes to the end."""
    while batch.active:
        batch.step()
    return batch


def commit(row: RowState, positions: Any, tokens: Any, confidence: Any) -> RowState:
    """The row one step later, with decisions at some positions."""
    nothing = np.zeros(0, dtype=np.int64)
    return row.advance(np.asarray(positions), tokens, confidence, nothing)


def same_row(left: RowState, right: RowState) -> bool:
    arrays = ("ids", "masked", "commit_step", "commit_confidence")
    return left.step == right.step and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=name[0] == "c")
        for name in arrays
    )
