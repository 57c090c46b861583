"""Selection and commit on a device: buffers and launches around `decide.cu`.

The host says where the window of each row is, and reads a few numbers a row after each step;
tokens, confidence, attention and the rows themselves stay on the device.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.cuda.arrays import DeviceArray
from dawn_runtime.cuda.device import Argument, Device
from dawn_runtime.decoding.row import RowState
from dawn_runtime.engine.device import DeviceOutputs, DeviceStep
from dawn_runtime.policies import Dawn, Policy, Threshold

_THREADS = 256
_COLUMN_THREADS = 128
_SPAN_FIELDS, _STATUS_FIELDS, _TAU_FIELDS = 7, 4, 2

STUCK = 3
"""Value of `Status.fault`."""


@dataclass(frozen=True, slots=True)
class SelectionRule:
    """A policy as the kernels know it.

    Attributes:
        union: Whether all chosen positions are settled, `Dawn.adjacency`.
        tau_high: As in `Dawn`; the threshold of the plain rule.
        tau_induce: As in `Dawn`.
        tau_low: As in `Dawn`.
        tau_anchor: As in `Dawn`.
        attention_thresholds: As in `Dawn`; None is the plain threshold rule.
    """

    tau_high: float
    union: bool = False
    tau_induce: float = 0.0
    tau_low: float = 0.0
    tau_anchor: float = 0.0
    attention_thresholds: Callable[[int], tuple[float, float]] | None = None

    @classmethod
    def of(cls, policy: Policy) -> "SelectionRule | None":
        """Returns the rule of a policy, None if the kernels do not know it."""
        if type(policy) is Threshold:
            return cls(tau_high=policy.threshold)
        if type(policy) is not Dawn:
            return None
        return cls(
            tau_high=policy.tau_high,
            union=policy.adjacency == "union",
            tau_induce=policy.tau_induce,
            tau_low=policy.tau_low,
            tau_anchor=policy.tau_anchor,
            attention_thresholds=policy.attention_thresholds,
        )

    @property
    def graph(self) -> bool:
        """Whether dependencies are looked at."""
        return self.attention_thresholds is not None


@dataclass(frozen=True, slots=True)
class Span:
    """What the kernels have to know of one row in a step.

    Attributes:
        row: Number of the row.
        length: Its length.
        start: First position of its answer.
        begin: First position of its window.
        end: The position after the window's last.
    """

    row: int
    length: int
    start: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Status:
    """What is known of a row after a step.

    Attributes:
        settled: First undecided position, the length of the row if there is none.
        end: First end token before it, the length of the row if there is none.
        known: Decided positions of the answer, given ones included.
        fault: 0, or what holds NaN or infinity: 1 the confidence, 2 the attention; then no row has
            advanced. 3 if the row is stuck: it is as it was and the other fields mean nothing,
            because nothing but the mask is predicted at its candidates.
    """

    settled: int
    end: int
    known: int
    fault: int


class Selection:
    """Rows of one generation on a device, and the kernels that advance them.

    Args:
        device: Where all of it is.
        rule: How positions are chosen.
        ids: int64 [N, L] tokens of the rows, the mask id where undecided.
        masked: bool [N, L] True where undecided.
        end_tokens: Ids that end an answer.
        mask_id: Id of an undecided position.
        filler_id: Any legal id, for padding.
        shift: 0 if row i of the model predicts token i, 1 if row i-1 does.

    Raises:
        EngineError: Not enough memory.
    """

    def __init__(
        self,
        device: Device,
        rule: SelectionRule,
        ids: NDArray[np.int64],
        masked: NDArray[np.bool_],
        end_tokens: Sequence[int],
        *,
        mask_id: int,
        filler_id: int,
        shift: int,
    ) -> None:
        self._device, self._rule, self._shift = device, rule, shift
        self._mask_id, self._filler_id, self._end_count = mask_id, filler_id, len(end_tokens)
        rows, self._length = ids.shape
        self._ids = self._put(ids, "int64")
        self._masked = self._put(masked, "uint8")
        self._end_tokens = self._put(np.array(end_tokens, dtype=np.int64), "int64")
        self._commit_step = self._put(np.full(ids.shape, -1), "int32")
        self._commit_confidence = self._put(np.full(ids.shape, np.nan), "float32")
        self._steps = device.allocate((rows,), "int32")
        self._spans = device.allocate((rows, _SPAN_FIELDS), "int32")
        self._taus = device.allocate((rows, _TAU_FIELDS), "float32")
        self._status = device.allocate((rows, _STATUS_FIELDS), "int32")
        self._sinks = device.allocate((rows, self._length), "uint8")
        self._scratch = [device.allocate(ids.shape, t) for t in ("uint32", "int32", "float32")]
        self._found = device.host_array((rows, _STATUS_FIELDS), "int32")
        self._inputs = self._allocate_inputs(rows)
        self._recorded: dict[tuple[int, ...], Callable[[], None]] = {}
        self._step: DeviceStep | None = None

    def lay_out(self, spans: Sequence[Span]) -> DeviceStep:
        """Writes the inputs of a full pass over some rows.

        To be called before the first step, and whenever rows or windows have changed.

        Args:
            spans: The rows of the batch.
        """
        batch, size = len(spans), max(span.length for span in spans)
        firsts = [0 if self._rule.graph else span.begin for span in spans]
        width = max(span.end - first for span, first in zip(spans, firsts, strict=True))
        fields = [
            (span.row, span.length, span.start, span.begin, span.end, first, width)
            for span, first in zip(spans, firsts, strict=True)
        ]
        evidence = size if self._rule.graph else 0
        self._device.upload(self._spans.view((batch, _SPAN_FIELDS)), np.array(fields, np.int32))
        if self._rule.attention_thresholds is not None:
            # Rows here look at all of themselves, so their length is their number of keys.
            taus = [self._rule.attention_thresholds(span.length) for span in spans]
            self._device.upload(self._taus.view((batch, _TAU_FIELDS)), np.array(taus, np.float32))
        whole = self._inputs
        step = DeviceStep(
            input_ids=whole.input_ids.view((batch, size)),
            position_ids=whole.position_ids.view((batch, size)),
            attention_mask=whole.attention_mask.view((batch, 1, size, size)),
            logit_rows=whole.logit_rows.view((batch, width)),
            attention_rows=whole.attention_rows.view((batch, evidence)),
        )
        numbers = (self._length, size, evidence, self._shift)
        arguments: tuple[Argument, ...] = (
            *(self._spans, self._ids, step.input_ids, step.position_ids, step.attention_mask),
            *(step.logit_rows, step.attention_rows, np.int64(self._filler_id)),
            *map(np.int32, numbers),
        )
        self._device.launch("lay_out", (batch, 1), _THREADS, arguments)
        self._step = step
        return step

    def decide(self, outputs: DeviceOutputs) -> None:
        """Chooses and commits for the rows laid out, and sends for their status.

        Launches are recorded once for each set of addresses, which repeat from step to step.

        Args:
            outputs: What the engine returned for them.
        """
        if self._step is None:
            raise ValueError("rows must be laid out before they are decided")
        step, arrays = self._step, (outputs.tokens, outputs.confidence, outputs.attention)
        key = (*step.input_ids.shape, *(array.pointer for array in arrays))
        if key not in self._recorded:
            self._recorded[key] = self._device.record(self._launches(step, outputs))
        self._recorded[key]()

    def read_status(self) -> list[Status]:
        """Waits for the step and returns the status of the rows laid out, in their order."""
        self._device.synchronize()
        batch = 0 if self._step is None else self._step.input_ids.shape[0]
        return [Status(*fields) for fields in self._found[:batch].tolist()]

    def read_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
        """Returns ids int64, commit_step int32 and commit_confidence float32, each [N, L]."""
        shape = self._ids.shape
        ids, steps = np.empty(shape, np.int64), np.empty(shape, np.int32)
        confidence = np.empty(shape, np.float32)
        self._device.download(ids, self._ids)
        self._device.download(steps, self._commit_step)
        self._device.download(confidence, self._commit_confidence)
        self._device.synchronize()
        return ids, steps, confidence

    def replace_row(self, row: RowState, index: int) -> None:
        """Takes over a row that was advanced elsewhere; then rows must be laid out anew.

        Args:
            row: The row.
            index: Its number.
        """
        for target, array in (
            (self._ids, row.ids),
            (self._masked, row.masked),
            (self._commit_step, row.commit_step),
            (self._commit_confidence, row.commit_confidence),
        ):
            place = target.view((row.length,), skip=index * self._length)
            self._device.upload(place, array.astype(target.dtype))
        self._device.upload(self._steps.view((1,), skip=index), np.array([row.step], np.int32))

    def _launches(self, step: DeviceStep, outputs: DeviceOutputs) -> Callable[[], None]:
        """Returns what starts the kernels of a step; it does not refer to this object."""
        device, found, status = self._device, self._found, self._status
        calls: list[tuple[str, tuple[int, int], int, tuple[Argument, ...]]] = []
        rule, (batch, size) = self._rule, step.input_ids.shape
        if rule.graph:
            blocks = -(-size // _COLUMN_THREADS)
            arrays = (outputs.attention, self._spans, self._taus, self._sinks)
            arguments: tuple[Argument, ...] = (*arrays, np.int32(size))
            calls.append(("find_sinks", (blocks, batch), _COLUMN_THREADS, arguments))
        numbers = (self._length, size, self._end_count, rule.graph, rule.union)
        floors = (rule.tau_induce, rule.tau_low, rule.tau_high, rule.tau_anchor)
        arguments = (
            *(outputs.tokens, outputs.confidence, outputs.attention),
            *(self._sinks, self._spans, self._taus),
            *(self._ids, self._masked, self._commit_step, self._commit_confidence, self._steps),
            *(step.input_ids, *self._scratch, self._end_tokens, self._status),
            np.int64(self._mask_id),
            *map(np.int32, numbers),
            *map(np.float32, floors),
        )
        calls.append(("decide", (batch, 1), _THREADS, arguments))

        def start() -> None:
            for call in calls:
                device.launch(*call)
            device.download(found, status)

        return start

    def _allocate_inputs(self, rows: int) -> DeviceStep:
        """Inputs of the largest step there can be; smaller ones are views."""
        line = (rows, self._length)
        return DeviceStep(
            input_ids=self._device.allocate(line, "int64"),
            position_ids=self._device.allocate(line, "int64"),
            attention_mask=self._device.allocate((*line, self._length), "bool"),
            logit_rows=self._device.allocate(line, "int64"),
            attention_rows=self._device.allocate(line, "int64"),
        )

    def _put(self, array: NDArray[np.generic], dtype: str) -> DeviceArray:
        target = self._device.allocate(array.shape, dtype)
        self._device.upload(target, array.astype(dtype))
        return target
