"""From per-row lists of positions to the dense arrays of the step contract, and back.

Kept keys come first and fed tokens after them, which are padded on the right or on the left where
rows differ in length. Padding is invisible: no query looks at a padded key, and a padded query
looks at the real keys of its row, so that no softmax runs over nothing. Where the engine asks for
an alignment, padding changes not even the last bit of what a row computes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, KvArray, inverse, read_only
from dawn_runtime.decoding.plan import RowPlan
from dawn_runtime.decoding.row import RowState
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import RowView

Padding = Literal["right", "left"]
"""Side on which the fed tokens of shorter rows are filled up."""

PADDINGS: Final[tuple[Padding, ...]] = ("right", "left")


@dataclass(frozen=True, slots=True)
class Packer:
    """Translates between rows and arrays for one model.

    Attributes:
        prediction_shift: 0 if row i predicts token i, 1 if row i-1 does. The prediction of
            position 0 is then taken from row 0, as the published code has it; position 0 is given
            in every prompt, so it is never committed.
        mask_id: Id of an undecided position.
        filler_id: Any legal id, for padding.
        padding: On which side it goes.
        alignment: What the engine asks for (`EngineInfo.alignment`): fed tokens begin behind as
            many keys and, padded on the left, as many fillers as are a multiple of it.
    """

    prediction_shift: int
    mask_id: int
    filler_id: int
    padding: Padding = "right"
    alignment: int = 1

    def aligned(self, slots: int) -> int:
        """Rounds a number of slots up to a multiple of the alignment."""
        return -(-slots // self.alignment) * self.alignment

    def pack(
        self,
        rows: Sequence[RowState],
        plans: Sequence[RowPlan],
        past: tuple[KvArray, ...] = (),
        *,
        want_logits: bool = False,
        resident: bool = False,
    ) -> StepInputs:
        """Builds the inputs of a step, one batch row for each plan.

        Args:
            rows: The rows.
            plans: Their plans.
            past: Kept keys and values of these rows, each [B, Hkv, P, D]; empty for full passes.
            want_logits: Whether a policy reads logits.
            resident: Whether keys stay in the engine's own memory.

        Raises:
            OptionError: A plan wants a prediction or evidence from a row that it does not feed.
        """
        width = max(len(plan.fed) for plan in plans)
        ids = [row.ids[plan.fed] for row, plan in zip(rows, plans, strict=True)]
        begins = [self._begin(plan, width) for plan in plans]
        return StepInputs(
            input_ids=_stack(ids, begins, width, self.filler_id),
            position_ids=_stack([plan.fed for plan in plans], begins, width),
            attention_mask=_mask(plans, begins, width, past[0].shape[2] if past else 0),
            logit_rows=_list([self._rows_predicting(plan, width) for plan in plans]),
            attention_rows=_list([self.fed_rows(plan, plan.evidence, width) for plan in plans]),
            past=past,
            want_logits=want_logits,
            want_present=any(plan.stored.size for plan in plans),
            resident=resident,
        )

    def view(
        self, row: RowState, plan: RowPlan, outputs: StepOutputs, index: int, slots: int = 0
    ) -> RowView:
        """Returns what a policy sees of batch row `index`.

        A prediction of the mask itself decides nothing, so its confidence counts as zero.

        Args:
            row: The row before the step.
            plan: Its plan.
            outputs: What the engine returned.
            index: Which of the B rows.
            slots: P, the kept keys that each query was given.
        """
        begin = slots + self._begin(plan, outputs.attention.shape[2] - slots)
        tokens = np.full(row.length, -1, dtype=np.int64)
        confidence = _last_known(row)
        count = len(plan.predicted)
        tokens[plan.predicted] = outputs.tokens[index, :count]
        confidence[plan.predicted] = outputs.confidence[index, :count]
        confidence[row.masked & (tokens == self.mask_id)] = 0.0
        logits = None if outputs.logits is None else read_only(outputs.logits[index, :count])
        return RowView(
            candidates=read_only(plan.candidates),
            masked=row.masked,
            window=plan.window,
            tokens=read_only(tokens),
            confidence=read_only(confidence),
            attention=read_only(_attention(plan, outputs, index, begin)),
            attention_rows=read_only(plan.evidence),
            attention_keys=read_only(np.concatenate([plan.attended, plan.fed])),
            step=row.step,
            predicted=read_only(plan.predicted),
            logits=logits,
            decided=row.decided,
            memory=row.memory,
            last_key_means=_last_key_means(row, plan),
        )

    def fed_rows(self, plan: RowPlan, positions: IntArray, width: int) -> IntArray:
        """Finds positions among the tokens of a run.

        Args:
            plan: The plan that feeds them.
            positions: int64 [n] positions that it feeds.
            width: S, tokens of each row of the run.

        Returns:
            int64 [n] rows of S.

        Raises:
            OptionError: A position is not fed.
        """
        length = 1 + int(max(plan.fed.max(), positions.max(initial=0)))
        rows = inverse(plan.fed, length)[positions]
        if (rows < 0).any():
            missing = positions[rows < 0].tolist()
            raise OptionError(
                f"the cache strategy feeds no row for positions {missing[:4]}; "
                "its plan must feed what it wants predicted or as evidence"
            )
        return rows + self._begin(plan, width)

    def _begin(self, plan: RowPlan, width: int) -> int:
        """Returns where among S tokens those of a row begin."""
        free = width - len(plan.fed)
        return free - free % self.alignment if self.padding == "left" else 0

    def _rows_predicting(self, plan: RowPlan, width: int) -> IntArray:
        predicting = np.maximum(plan.predicted - self.prediction_shift, 0)
        return self.fed_rows(plan, predicting, width)


def _mask(plans: Sequence[RowPlan], begins: Sequence[int], width: int, slots: int) -> BoolArray:
    """What the queries of each row look at: bool [B, 1, S, P+S], equal for all S."""
    visible = np.zeros((len(plans), slots + width), dtype=bool)
    for row, plan, begin in zip(visible, plans, begins, strict=True):
        row[plan.slots] = True
        row[slots + begin : slots + begin + len(plan.fed)] = True
    shape = (len(plans), 1, width, slots + width)
    return np.ascontiguousarray(np.broadcast_to(visible[:, None, None], shape))


def _last_known(row: RowState) -> FloatArray:
    """Confidence that is kept of known positions, NaN elsewhere; float32 [L], to be filled."""
    if row.kept is None or row.kept.confidence is None:
        return np.full(row.length, np.nan, dtype=np.float32)
    return np.where(row.masked, np.float32(np.nan), row.kept.confidence)


def _last_key_means(row: RowState, plan: RowPlan) -> FloatArray | None:
    """What a cached step cannot compute, from the last full pass."""
    return None if row.kept is None or plan.layout is not None else row.kept.key_means


def _attention(plan: RowPlan, outputs: StepOutputs, index: int, begin: int) -> FloatArray:
    """Evidence over the keys that the row looks at, [Q, K]: kept ones first, then the fed.

    Args:
        plan: The plan of the row.
        outputs: What the engine returned.
        index: Which of the B rows.
        begin: Key of the first token fed.
    """
    rows: FloatArray = outputs.attention[index, : len(plan.evidence)]
    if not plan.slots.size:
        return rows[:, begin : begin + len(plan.fed)]
    return rows[:, np.concatenate([plan.slots, begin + np.arange(len(plan.fed))])]


def _stack(
    rows: Sequence[IntArray], begins: Sequence[int], width: int, filler: int = 0
) -> IntArray:
    """Stacks lists of different length into [B, width], each from its own beginning on."""
    stacked = np.full((len(rows), width), filler, dtype=np.int64)
    for target, row, begin in zip(stacked, rows, begins, strict=True):
        target[begin : begin + len(row)] = row
    return stacked


def _list(rows: Sequence[IntArray]) -> IntArray:
    """Stacks lists of rows of S into [B, longest]; what comes back for the rest is not read."""
    return _stack(rows, [0] * len(rows), max(map(len, rows)))
