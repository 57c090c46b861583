"""The seam between a way of decoding and the engine: what is asked, what comes back, what follows.

A scheme asks (`Ask`: tokens at positions, who sees whom, what is wanted back), the batch runs all
asks of all rows together, and the scheme decides (`Decision`: commit, take back, keep keys). It
never sees the batch, padding or the engine; whoever packs asks never sees a rule.

Four numberings meet here, and each has one word:

    position   where a token stands in the sequence, from 0; what RoPE turns by
    row        which of the S tokens fed in this ask, from 0, in the order they are fed
    slot       which kept key of this sequence, from 0, in the order they were first kept
    column     which key a row looks at: the N kept ones of the ask first, then the S fed rows

A sequence of ten tokens, six of them given, in blocks of four, `_` undecided:

    position   0  1  2  3  4  5  6  7  8  9
    token     11 12 13 14 15 16  _  _  _  _

The first step feeds everything and wants the four open positions predicted. Row and position are
the same number there. A model with `shift` 0 predicts position 6 in row 6; one with `shift` 1, such
as Dream, in row 5:

    tokens    11 12 13 14 15 16  _  _  _  _      positions 0 1 2 3 4 5 6 7 8 9
    predict   6 7 8 9 (shift 0)                  5 6 7 8 (shift 1)

Say it commits 17 at position 7, and that a cache keeps the keys of everything before the block:
`store` was rows 0 to 5, which now lie in slots 0 to 5. The next step feeds the block alone and
looks at the slots. Row 0 is position 6 now, and a model that predicts ahead needs position 5 fed
too, because the row of position 5 predicts position 6:

    shift 0   tokens     _ 17  _  _              positions 6 7 8 9        kept 0 1 2 3 4 5
              predict    0  2  3                 columns   6 + 4 = 10
    shift 1   tokens    16  _ 17  _  _           positions 5 6 7 8 9      kept 0 1 2 3 4
              predict    0  2  3                 columns   5 + 5 = 10, position 5 only once

`tests/runtime/decoding/test_ask.py` runs this example.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.policies.kernel import Selected


def nothing() -> IntArray:
    """Returns an empty list of numbers, int64 [0]."""
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """What one sequence feeds in a step and what it wants back.

    Attributes:
        tokens: int64 [S] ids fed, S >= 1.
        positions: int64 [S] where they stand, in any order; a position may be fed more than once.
        sees: bool [S, N+S], True where a row looks at a column; every row must see one. None lets
            every row see every column.
        kept: int64 [N] slots of kept keys that are looked at.
        predict: int64 [R] rows whose predictions are wanted, R >= 0.
        evidence: int64 [Q] rows whose attention is wanted.
        store: int64 [n] rows whose keys may be kept, at distinct positions; see `Decision.keep`.
        draft: int64 [n] rows to which the adapter for drafts is added, if the model has one; what
            they compute is no more than a guess, and their keys are not those of the text.
        logits: Whether the full logits of the predictions are wanted.
        entropy: Whether the entropy of the predictions is wanted.
        margin: Whether it is wanted how far the second best of each is below the best.
        note: The scheme's own; comes back with the answer.
    """

    tokens: IntArray
    positions: IntArray
    sees: BoolArray | None = None
    kept: IntArray = field(default_factory=nothing)
    predict: IntArray = field(default_factory=nothing)
    evidence: IntArray = field(default_factory=nothing)
    store: IntArray = field(default_factory=nothing)
    draft: IntArray = field(default_factory=nothing)
    logits: bool = False
    entropy: bool = False
    margin: bool = False
    note: Any = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What came back for one ask.

    Attributes:
        ask: The ask.
        tokens: int64 [R] most probable tokens.
        confidence: float32 [R] their probabilities.
        attention: float32 [Q, N+S] over the columns; [0, N+S] where a kernel has chosen already.
        logits: float32 [R, V]; None unless this ask or one beside it wanted them.
        selected: What the kernel on a GPU chose, if it was asked to; see `Scheme.kernel_view`.
        entropy: float32 [R] of the model's own distributions, in nats; None unless this ask wanted
            it.
        margin: float32 [R] how far the second best logit is below the best; None unless this ask
            wanted it.
    """

    ask: Ask
    tokens: IntArray
    confidence: FloatArray
    attention: FloatArray
    logits: FloatArray | None = None
    selected: Selected | None = None
    entropy: FloatArray | None = None
    margin: FloatArray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What a scheme makes of the answers. What is not allowed in it is left out; see `rails`.

    Attributes:
        commit: int64 [n] positions to decide, undecided ones or such as are in `revoke`.
        tokens: int64 [n] ids for them.
        confidence: float32 [n] their probabilities.
        revoke: int64 [m] decided positions to open again; one that is in `commit` too is written
            over.
        final: From now on nothing below this position changes; None is the decided prefix.
        keep: Numbers of the answers whose `store` rows are kept.
        layout: int64 [N] positions that have a slot from now on, in the order of the slots, and
            all keys kept so far are forgotten. None leaves the slots as they are; a position that
            is kept and has none gets the next.
        memory: What the scheme has to know in the next step of this row.
        linked: Whether a dependency graph had an edge; True where there is none to look at.
    """

    commit: IntArray
    tokens: IntArray
    confidence: FloatArray
    revoke: IntArray = field(default_factory=nothing)
    final: int | None = None
    keep: tuple[int, ...] = ()
    layout: IntArray | None = None
    memory: Any = None
    linked: bool = True
