"""Drafts of a row in one ask: each feeds again what may differ, and looks at the row for the rest.

A draft beside the row feeds the open positions of the row once more, some of them filled in, and
whatever else predicts them. It looks at the row everywhere else. The row itself sees nothing of it.

"Ann met _ _": a draft with "Eve" at position 2. With "Eve" and "ing" filled in nothing is left to
predict, so that a second draft feeds nothing:

    fed         0: Ann   1: met   2: _   3: _   | 4: Eve at 2   5: _ at 3
    0-3 see     0        1        2      3
    4, 5 see    0        1                        4             5

In a model with `shift` 1 position 1 predicts position 2 and position 2 predicts position 3. Where
position 2 is still to be predicted a draft feeds position 1 too: what it says there depends on what
is filled in.

`tests/runtime/decoding/test_verify.py` runs this example.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding.ask import Answer, Ask


def beside(drafts: Sequence[Ask]) -> Ask:
    """Returns one ask that feeds the first of the drafts whole, and of the others what may differ.

    Its note is the drafts.

    Args:
        drafts: At least one, that feed the same positions, ascending, and look at the same slots;
            the note of each is the open positions it predicts, in the order of `predict`.
    """
    base = drafts[0]
    parts = [_own(base, draft) for draft in drafts[1:]]
    starts = len(base.tokens) + np.cumsum([0, *(len(own) for own in parts)])
    pairs = list(zip(drafts[1:], parts, strict=True))
    predict = [
        start + np.searchsorted(own, draft.predict)
        for start, (draft, own) in zip(starts, pairs, strict=False)
    ]
    return Ask(
        tokens=np.concatenate([base.tokens, *(draft.tokens[own] for draft, own in pairs)]),
        positions=np.concatenate([base.positions, *(base.positions[own] for own in parts)]),
        sees=_sees(base, parts) if parts else None,
        kept=base.kept,
        predict=np.concatenate([base.predict, *predict]),
        note=tuple(drafts),
    )


def parted(answer: Answer) -> list[Answer]:
    """Returns the answer to an ask of `beside` draft by draft, without attention."""
    drafts: Sequence[Ask] = answer.ask.note
    ends = np.cumsum([len(draft.predict) for draft in drafts])
    which = [slice(end - len(draft.predict), end) for draft, end in zip(drafts, ends, strict=True)]
    return [
        replace(
            answer,
            ask=draft,
            tokens=answer.tokens[rows],
            confidence=answer.confidence[rows],
            logits=None if answer.logits is None else answer.logits[rows],
        )
        for draft, rows in zip(drafts, which, strict=True)
    ]


def _own(base: Ask, draft: Ask) -> IntArray:
    """Which rows a draft feeds again, int64 [n], ascending; none if it predicts nothing."""
    if not draft.predict.size:
        return draft.predict
    return np.union1d(np.searchsorted(base.positions, base.note), draft.predict)


def _sees(base: Ask, parts: Sequence[IntArray]) -> BoolArray:
    """Who looks at what, bool [S, N+S]; see the module."""
    kept, fed = len(base.kept), len(base.tokens)
    total = fed + sum(map(len, parts))
    sees: BoolArray = np.zeros((total, kept + total), dtype=bool)
    sees[:, : kept + fed] = True
    start = fed
    for own in parts:
        end = start + len(own)
        sees[start:end, kept + own] = False
        sees[start:end, kept + start : kept + end] = True
        start = end
    return sees
