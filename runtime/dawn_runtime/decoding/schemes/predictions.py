"""Predictions of undecided positions, the mask itself left out.

The mask stands for an undecided position, so it is never committed. A position at which the model
predicts the mask itself waits, as in the published codes, where it is written and predicted again:
its confidence counts as zero. If that is so at every position in play, waiting would change
nothing: each then gets the best other token, with the probability that the model gives it. That is
read from logits, so such a run is repeated for them; see `Batch`.
"""

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.decoding.ask import Answer
from dawn_runtime.decoding.sampling import probability
from dawn_runtime.errors import EngineError


def all_masks(tokens: IntArray, mask_id: int) -> bool:
    """Tells whether there are predictions, and all of them are the mask.

    Args:
        tokens: int64 [n] predicted ids.
        mask_id: Id of an undecided position.
    """
    return bool(tokens.size) and bool((tokens == mask_id).all())


def without_mask(
    tokens: IntArray, confidence: FloatArray, logits: FloatArray | None, mask_id: int
) -> tuple[IntArray, FloatArray]:
    """Returns tokens and confidences of the positions in play; see the module.

    Args:
        tokens: int64 [n] predicted ids.
        confidence: float32 [n] their probabilities.
        logits: float32 [n, V], needed only if every token is the mask.
        mask_id: Id of an undecided position.

    Raises:
        EngineError: They are needed and not there.
    """
    if not all_masks(tokens, mask_id):
        return tokens, np.where(tokens == mask_id, np.float32(0), confidence)
    if logits is None:
        raise EngineError(
            "the model predicts nothing but the mask, and the next best token is read from logits; "
            "run it on an engine that returns them"
        )
    others = logits.copy()
    others[:, mask_id] = -np.inf
    best = others.argmax(axis=1)
    return best, probability(logits, best)


def without_mask_in(block: BoolArray, answer: Answer, mask_id: int) -> tuple[IntArray, FloatArray]:
    """Returns tokens and confidences of all predictions, of which a block is in play.

    Args:
        block: bool [R] which of the predictions are of it.
        answer: What came back, with logits if all of them are the mask.
        mask_id: Id of an undecided position.

    Raises:
        EngineError: Logits are needed and not there.
    """
    tokens, confidence = answer.tokens.copy(), answer.confidence.copy()
    confidence[tokens == mask_id] = 0
    logits = None if answer.logits is None else answer.logits[block]
    tokens[block], confidence[block] = without_mask(
        tokens[block], confidence[block], logits, mask_id
    )
    return tokens, confidence


def first_without_mask(answer: Answer, mask_id: int) -> tuple[IntArray, FloatArray]:
    """Returns what is predicted, the first never the mask: tokens int64 [n], float32 [n].

    For what is committed from the left as far as it is agreed on.

    Args:
        answer: With logits, if the first is the mask.
        mask_id: Id of an undecided position.
    """
    logits = None if answer.logits is None else answer.logits[:1]
    token, sure = without_mask(answer.tokens[:1], answer.confidence[:1], logits, mask_id)
    tokens = np.concatenate([token, answer.tokens[1:]])
    return tokens, np.concatenate([sure, answer.confidence[1:]])
