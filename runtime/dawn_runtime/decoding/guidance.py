"""Classifier-free guidance: predictions moved away from those without the prompt (LLaDA).

Each run has the row a second time, with all that was given behind masks. With the logits z of the
row, u of the other and strength s >= 0, what counts is

    u + (1 + s) (z - u)

whatever the policy: tokens, confidence, entropy and margin are those of these logits. A token that
is more probable for the prompt than without it gains, one that is as probable anywhere loses
against it. Attention and kept keys are those of the row itself.

    z, u       2.0, 1.0 for "Rome" and 2.2, 2.2 for "the"
    s = 0.5    1.0 + 1.5 = 2.5 for "Rome", 2.2 for "the"
"""

from dataclasses import replace

import numpy as np

from dawn_runtime.arrays import FloatArray, read_only
from dawn_runtime.decoding.ask import Answer, Ask, nothing
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.sampling import probability
from dawn_runtime.errors import EngineError
from dawn_runtime.measures import entropy_of, margin_of


def unprompted(row: RowState, ask: Ask) -> Ask:
    """Returns the same ask with a mask in the place of every given token.

    Args:
        row: The row.
        ask: What it asks, with logits and without kept keys.
    """
    given = ~row.masked & (row.commit_step < 0)
    tokens = np.where(given[ask.positions], row.mask_id, ask.tokens)
    return replace(ask, tokens=tokens, evidence=nothing(), entropy=False, margin=False)


def guided(prompted: Answer, without: Answer, strength: float) -> Answer:
    """Returns the answer for the row, as its guided logits have it.

    Args:
        prompted: Answer to what the row asked.
        without: To the same without what was given.
        strength: s of the module.

    Raises:
        EngineError: One of them has no logits.
    """
    if prompted.logits is None or without.logits is None:
        raise EngineError("guidance reads logits; run it on an engine that returns them")
    logits = read_only(_moved(prompted.logits, without.logits, strength))
    tokens = logits.argmax(axis=1)
    return replace(
        prompted,
        tokens=tokens,
        confidence=probability(logits, tokens),
        logits=logits,
        entropy=entropy_of(logits) if prompted.ask.entropy else None,
        margin=margin_of(logits) if prompted.ask.margin else None,
    )


def _moved(logits: FloatArray, without: FloatArray, strength: float) -> FloatArray:
    """Guided logits [n, V], minus infinity where either is."""
    barred = np.isneginf(logits) | np.isneginf(without)
    away = np.where(barred, np.float32(0), without)
    there = np.where(barred, np.float32(0), logits)
    moved = away + np.float32(1 + strength) * (there - away)
    found: FloatArray = np.where(barred, np.float32(-np.inf), moved)
    return found
