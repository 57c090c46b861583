"""The guard rails of every scheme: whatever it decides, this is what happens to the row.

Only undecided positions are committed, never a given one and never the mask itself; only what was
committed and is not final is taken back, and may be decided anew in the same step; what is final
stays so. That decoding ends is the batch's
rail: it stops a scheme that takes more steps than it promised, see `Scheme.bound`.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding.ask import Answer, Decision
from dawn_runtime.decoding.kv import Kept
from dawn_runtime.decoding.row import RowState


def apply(row: RowState, decision: Decision, answers: Sequence[Answer]) -> RowState:
    """Returns the row one step later.

    Args:
        row: The row as it was asked for.
        decision: What its scheme decided.
        answers: Of all its asks, in their order.
    """
    revoked = _revocable(row, decision.revoke)
    allowed = _allowed(row, decision, revoked)
    after = row.advance(
        decision.commit[allowed],
        decision.tokens[allowed],
        decision.confidence[allowed],
        revoked,
        final=decision.final,
        fed=sum(len(answer.ask.tokens) for answer in answers),
        predicted=sum(len(answer.ask.predict) for answer in answers),
        memory=decision.memory,
        kept=_kept(row, decision, answers),
        linked=decision.linked,
    )
    return replace(after, memory=None, kept=None) if after.finished else after


def _allowed(row: RowState, decision: Decision, revoked: IntArray) -> IntArray:
    """Which commits are of a position that is open by then and of a real token; the first of each.

    Args:
        row: The row.
        decision: What its scheme decided.
        revoked: int64 [m] positions that the step opens again.
    """
    commit, open_ = decision.commit, row.masked
    if revoked.size:
        open_ = open_.copy()
        open_[revoked] = True
    inside = (commit >= 0) & (commit < row.length) & (decision.tokens != row.mask_id)
    inside[inside] = open_[commit[inside]]
    allowed: IntArray = inside.nonzero()[0]
    if len(allowed) > 1 and (np.diff(commit[allowed]) <= 0).any():
        allowed = allowed[np.unique(commit[allowed], return_index=True)[1]]
    return allowed


def _revocable(row: RowState, revoke: IntArray) -> IntArray:
    """Which of these positions were decided by decoding and may still change."""
    if not revoke.size:
        return revoke
    inside = revoke[(revoke >= row.final) & (revoke < row.length)]
    return inside[row.commit_step[inside] >= 0]


def _kept(row: RowState, decision: Decision, answers: Sequence[Answer]) -> Kept | None:
    """Which keys the row has after the step."""
    kept = row.kept if decision.layout is None else Kept.empty(row.length, decision.layout)
    for number in decision.keep:
        ask = answers[number].ask
        if ask.store.size:
            kept = kept or Kept.empty(row.length)
            kept = kept.renewed(ask.positions[ask.store], ask.tokens[ask.store])
    return kept if kept is None or kept.positions.size else None
