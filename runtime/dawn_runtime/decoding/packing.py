"""From per-row lists of positions to the dense arrays of the step contract, and back.

Rows of different length are padded on the right. Padding is invisible: no query looks at a padded
key, and a padded query looks at the real keys of its row, so that no softmax runs over nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import IntArray, inverse, read_only
from dawn_runtime.decoding.cache import RowPlan
from dawn_runtime.decoding.state import RowState
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import RowView


@dataclass(frozen=True, slots=True)
class Packer:
    """Translates between rows and arrays for one model.

    Attributes:
        prediction_shift: 0 if row i predicts token i, 1 if row i-1 does. The prediction of
            position 0 is then taken from row 0, as the published code has it; position 0 is given
            in every prompt, so it is never committed.
        mask_id: Id of an undecided position.
        filler_id: Any legal id, for padding.
    """

    prediction_shift: int
    mask_id: int
    filler_id: int

    def pack(
        self, rows: Sequence[RowState], plans: Sequence[RowPlan], *, want_logits: bool = False
    ) -> StepInputs:
        """Builds the inputs of a step, one batch row for each plan.

        Raises:
            OptionError: A plan wants a prediction or evidence from a row that it does not feed.
        """
        lengths = np.array([len(plan.fed) for plan in plans])
        width = int(lengths.max())
        visible = np.arange(width) < lengths[:, None]
        mask = np.broadcast_to(visible[:, None, None], (len(plans), 1, width, width))
        return StepInputs(
            input_ids=_stack(
                [row.ids[plan.fed] for row, plan in zip(rows, plans, strict=True)], self.filler_id
            ),
            position_ids=_stack([plan.fed for plan in plans]),
            attention_mask=np.ascontiguousarray(mask),
            logit_rows=_stack([self._rows_predicting(plan) for plan in plans]),
            attention_rows=_stack([_fed_rows(plan, plan.evidence) for plan in plans]),
            want_logits=want_logits,
        )

    def view(self, row: RowState, plan: RowPlan, outputs: StepOutputs, index: int) -> RowView:
        """Returns what a policy sees of batch row `index`.

        A prediction of the mask itself decides nothing, so its confidence counts as zero.
        """
        tokens = np.full(row.length, -1, dtype=np.int64)
        confidence = np.full(row.length, np.nan, dtype=np.float32)
        count = len(plan.predicted)
        tokens[plan.predicted] = outputs.tokens[index, :count]
        confidence[plan.predicted] = outputs.confidence[index, :count]
        confidence[row.masked & (tokens == self.mask_id)] = 0.0
        attention = outputs.attention[index, : len(plan.evidence), : len(plan.fed)]
        logits = None if outputs.logits is None else read_only(outputs.logits[index, :count])
        return RowView(
            candidates=read_only(plan.candidates),
            masked=row.masked,
            window=plan.window,
            tokens=read_only(tokens),
            confidence=read_only(confidence),
            attention=read_only(attention),
            attention_rows=read_only(plan.evidence),
            attention_keys=read_only(plan.fed),
            step=row.step,
            predicted=read_only(plan.predicted),
            logits=logits,
            decided=int((row.commit_step >= 0).sum()),
            memory=row.memory,
        )

    def _rows_predicting(self, plan: RowPlan) -> IntArray:
        return _fed_rows(plan, np.maximum(plan.predicted - self.prediction_shift, 0))


def _fed_rows(plan: RowPlan, positions: IntArray) -> IntArray:
    """Finds positions among those a plan feeds."""
    length = 1 + int(max(plan.fed.max(), positions.max(initial=0)))
    rows = inverse(plan.fed, length)[positions]
    if (rows < 0).any():
        missing = positions[rows < 0].tolist()
        raise OptionError(
            f"the cache strategy feeds no row for positions {missing[:4]}; "
            "its plan must feed what it wants predicted or as evidence"
        )
    return rows


def _stack(rows: Sequence[IntArray], filler: int = 0) -> IntArray:
    """Stacks lists of different length into [B, longest]."""
    stacked = np.full((len(rows), max(map(len, rows))), filler, dtype=np.int64)
    for target, row in zip(stacked, rows, strict=True):
        target[: len(row)] = row
    return stacked
