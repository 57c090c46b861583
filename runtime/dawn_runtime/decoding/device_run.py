"""Decoding next to an engine: rows, evidence and selection on the device, a status on the host.

For the rules that the kernels know: policy `dawn` or `threshold`, no cache, no sampling, and a
window that looks at every position, the same for all rows. The loop is the one of
`dawn_runtime.decoding.loop`: same windows, same guard rails, finished rows leave the batch. A row
that is predicted to be nothing but the mask takes that step in NumPy, where logits can be read.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from dawn_runtime.arrays import read_only
from dawn_runtime.cuda.selection import STUCK, Selection, SelectionRule, Span, Status
from dawn_runtime.decoding.caches import NoCache
from dawn_runtime.decoding.loop import DecodeState, Rules, step
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.windows import Blocks, Progress, Single, Sliding, Window
from dawn_runtime.engine.checks import not_finite
from dawn_runtime.engine.device import DeviceEngine, DeviceStep
from dawn_runtime.engine.exclusive import exclusive

_WINDOWS = (Blocks, Single, Sliding)
_FAULTS = {1: "confidence", 2: "attention"}
_BEFORE, _AFTER = 0, 1


@dataclass(slots=True)
class _Row:
    """How far a row has come, as the host knows it; a `Progress`."""

    length: int
    start: int
    settled: int
    known: int
    finished: bool
    step: int
    fed: int

    @classmethod
    def begin(cls, row: RowState) -> "_Row":
        return cls(
            *(row.length, row.start, row.settled, row.known, row.finished, row.step, row.fed)
        )

    def take(self, status: Status) -> None:
        """Notes a step."""
        self.settled, self.known = status.settled, status.known
        self.finished = status.settled == self.length or status.end < self.length
        self.step += 1
        self.fed += self.length


class DeviceRun:
    """Rows on a device.

    Args:
        engine: Runs the model there.
        packer: Ids and shift of the same model.
        state: Where to start; its rules must be such that `takes` says so.

    Raises:
        EngineError: Not enough memory.
    """

    def __init__(self, engine: DeviceEngine, packer: Packer, state: DecodeState) -> None:
        self._engine, self._packer = engine, packer
        self._begun, self._rules = state.rows, state.rules
        self._span = _span(state.rules[0].window)
        self._progress = [_Row.begin(row) for row in state.rows]
        with exclusive(engine):
            self._selection = _selection(engine, packer, state)
        self._spans: list[Span] = []
        self._inputs: DeviceStep | None = None
        self._seconds = state.engine_seconds

    @staticmethod
    def takes(state: DecodeState) -> bool:
        """Tells whether rows and rules are such as the kernels know."""
        first = state.rules[0]
        return (
            all(rules == first for rules in state.rules)
            and _known(first)
            and all(row.end_tokens == state.rows[0].end_tokens for row in state.rows)
            and all(row.step == 0 for row in state.rows)
        )

    @property
    def rows(self) -> tuple[RowState, ...]:
        """All rows as they are now, fetched from the device."""
        with exclusive(self._engine):
            ids, steps, confidence = self._selection.read_rows()
        return tuple(
            replace(
                row,
                ids=read_only(ids[index, : row.length]),
                masked=read_only(row.masked & (steps[index, : row.length] < 0)),
                commit_step=read_only(steps[index, : row.length].astype(np.int64)),
                commit_confidence=read_only(confidence[index, : row.length]),
                step=self._progress[index].step,
                fed=self._progress[index].fed,
            )
            for index, row in enumerate(self._begun)
        )

    @property
    def active(self) -> bool:
        """Whether a row is unfinished."""
        return not all(row.finished for row in self._progress)

    @property
    def taken(self) -> int:
        """Steps of the row that took most."""
        return max(row.step for row in self._progress)

    @property
    def engine_seconds(self) -> float:
        """Time between the beginning and the end of the engine's runs on the stream."""
        return self._seconds

    def step(self) -> None:
        """Takes every unfinished row one step further.

        Raises:
            EngineError: The engine failed or returned NaN or infinity; then the run can be stepped
                again, as if this step had not been.
        """
        with exclusive(self._engine):
            self._step()

    def _step(self) -> None:
        device, spans = self._engine.device, self._next_spans()
        if self._inputs is None or spans != self._spans:
            self._inputs, self._spans = self._selection.lay_out(spans), spans
        device.mark(_BEFORE)
        outputs = self._engine.run_on_device(self._inputs)
        device.mark(_AFTER)
        self._selection.decide(outputs)
        found = self._selection.read_status()
        self._seconds += device.seconds(_BEFORE, _AFTER)
        for status in found:
            if status.fault in _FAULTS:
                raise not_finite(self._engine.describe(), _FAULTS[status.fault])
        for span, status in zip(spans, found, strict=True):
            if status.fault != STUCK:
                self._progress[span.row].take(status)
        if stuck := [s.row for s, status in zip(spans, found, strict=True) if status.fault]:
            self._step_in_numpy(stuck)

    def _step_in_numpy(self, stuck: list[int]) -> None:
        """Takes rows one step further where logits can be read."""
        rows = self.rows
        state = DecodeState(
            tuple(rows[index] for index in stuck), tuple(self._rules[index] for index in stuck)
        )
        after = step(self._engine, self._packer, state)
        self._seconds += after.engine_seconds
        self._inputs = None
        for index, row in zip(stuck, after.rows, strict=True):
            self._selection.replace_row(row, index)
            self._progress[index] = _Row.begin(row)

    def _next_spans(self) -> list[Span]:
        """Where the windows of the unfinished rows are."""
        return [
            Span(index, row.length, row.start, *self._span(row))
            for index, row in enumerate(self._progress)
            if not row.finished
        ]


def _known(rules: Rules) -> bool:
    return (
        SelectionRule.of(rules.policy) is not None
        and type(rules.window) in _WINDOWS
        and type(rules.cache) is NoCache
        and rules.sampling.is_greedy
    )


def _span(window: Window) -> Callable[[Progress], tuple[int, int]]:
    """The rule of a window that asks for no more than a `Progress`."""
    if isinstance(window, _WINDOWS):
        return window.span
    raise ValueError(f"window {window.name!r} looks at whole rows; see DeviceRun.takes")


def _selection(engine: DeviceEngine, packer: Packer, state: DecodeState) -> Selection:
    """Puts the rows on the device, padded to the longest."""
    shape = (len(state.rows), max(row.length for row in state.rows))
    ids, masked = np.full(shape, packer.filler_id), np.zeros(shape, dtype=bool)
    for index, row in enumerate(state.rows):
        ids[index, : row.length], masked[index, : row.length] = row.ids, row.masked
    rule = SelectionRule.of(state.rules[0].policy)
    if rule is None:
        raise ValueError(
            f"no kernel for policy {state.rules[0].policy.name!r}; see DeviceRun.takes"
        )
    return Selection(
        engine.device,
        rule,
        ids,
        masked,
        state.rows[0].end_tokens,
        mask_id=packer.mask_id,
        filler_id=packer.filler_id,
        shift=packer.prediction_shift,
    )
