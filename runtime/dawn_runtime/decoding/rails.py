"""Guard rails around every policy: what it may commit, and that something is committed.

The mask stands for an undecided position, so it is never committed, whatever a policy answers. A
candidate at which the model predicts the mask itself waits, as in the published code, where it is
written and predicted again. If that is so at every candidate of a row, waiting would change
nothing: each then gets the best other token, with the probability that the model gives it.
"""

from dataclasses import replace

import numpy as np

from dawn_runtime.arrays import IntArray, inverse, read_only
from dawn_runtime.decoding.plan import RowPlan
from dawn_runtime.decoding.sampling import probability
from dawn_runtime.engine.protocol import StepOutputs
from dawn_runtime.errors import EngineError
from dawn_runtime.policies import Policy, RowView


def some_row_is_stuck(plans: list[RowPlan], outputs: StepOutputs, mask_id: int) -> bool:
    """Tells whether a row of a run is predicted to be the mask at every candidate.

    Args:
        plans: Plan of each of the B rows.
        outputs: What the engine returned.
        mask_id: Id of an undecided position.
    """
    masks = outputs.tokens == mask_id
    if not masks.any():
        return False
    return any(
        bool(row[np.searchsorted(plan.predicted, plan.candidates)].all())
        for row, plan in zip(masks, plans, strict=True)
    )


def unstuck(view: RowView, mask_id: int) -> RowView:
    """Returns a view in which some candidate is predicted to be something else than the mask.

    Args:
        view: A row; with the logits of its predictions if it is stuck.
        mask_id: Id of an undecided position.

    Raises:
        EngineError: It is stuck, and the view has no logits.
    """
    if not (view.tokens[view.candidates] == mask_id).all():
        return view
    if view.logits is None:
        raise EngineError(
            "the model predicts nothing but the mask, and the next best token is read from logits; "
            "run it on an engine that returns them"
        )
    logits = view.logits[inverse(view.predicted, len(view.masked))[view.candidates]]
    others = logits.copy()
    others[:, mask_id] = -np.inf
    best = others.argmax(axis=1)
    tokens, confidence = view.tokens.copy(), view.confidence.copy()
    tokens[view.candidates] = best
    confidence[view.candidates] = probability(logits, best)
    return replace(view, tokens=read_only(tokens), confidence=read_only(confidence))


def choose(policy: Policy, view: RowView, mask_id: int) -> IntArray:
    """Returns the positions that a row commits, at least one.

    They are those of the policy's answer that are candidates and not predicted to be the mask; if
    there are none, the most confident such candidate, the lowest position on ties.

    Args:
        policy: Chooses.
        view: A row that is not stuck; see `unstuck`.
        mask_id: Id of an undecided position.
    """
    allowed: IntArray = view.candidates[view.tokens[view.candidates] != mask_id]
    answer = np.asarray(policy.select(view), dtype=np.int64)
    selected = np.zeros(len(view.masked), dtype=bool)
    selected[answer[(answer >= 0) & (answer < len(selected))]] = True
    chosen: IntArray = allowed[selected[allowed]]
    if chosen.size:
        return chosen
    best = int(np.argmax(view.confidence[allowed]))
    return allowed[best : best + 1]
