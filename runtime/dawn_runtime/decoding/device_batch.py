"""Decoding next to an engine: rows, evidence and selection on the device, a status on the host.

The twin of `dawn_runtime.decoding.batch` for the rules that have a kernel: `Unmask` with such a
policy, no cache, no sampling, and a window that looks at every position, the same for all rows.
Same windows, same rails, finished rows leave the run.

Rows on the device are laid out together, so one that joins makes all be laid out anew, as they are
by then: what was decided before is given, and counted from the host.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import FloatArray, IntArray, read_only
from dawn_runtime.cuda.selection import Selection, SelectionRule, Span, Status
from dawn_runtime.decoding.caches import NoCache
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes import Scheme, Unmask
from dawn_runtime.decoding.windows import Blocks, Progress, Single, Sliding, Window
from dawn_runtime.engine.checks import not_finite
from dawn_runtime.engine.device import DeviceEngine, DeviceStep
from dawn_runtime.errors import BatchFullError, DawnError

_WINDOWS = (Blocks, Single, Sliding)
_FAULTS = {1: "confidence", 2: "attention"}
_BEFORE, _AFTER = 0, 1


class Wanted(Protocol):
    """What is asked to join: a row and its scheme."""

    row: RowState
    scheme: Scheme


@dataclass(slots=True)
class _Row:
    """How far a row has come, as the host knows it; a `Progress`.

    Attributes:
        begun: The row when it was laid out.
        seconds: Time of the runs that it took part in.
    """

    begun: RowState
    length: int
    start: int
    settled: int
    known: int
    finished: bool
    step: int
    fed: int
    seconds: float = 0.0

    @classmethod
    def begin(cls, row: RowState) -> "_Row":
        return cls(
            *(row, row.length, row.start, row.settled, row.known, row.finished, row.step, row.fed)
        )

    def take(self, status: Status, seconds: float) -> None:
        """Notes a step."""
        self.settled, self.known = status.settled, status.known
        self.finished = status.settled == self.length or status.end < self.length
        self.step += 1
        self.fed += self.length
        self.seconds += seconds


class DeviceBatch:
    """Rows on a device.

    Args:
        engine: Runs the model there.
        packer: Padding of the same model.
        max_rows: Most rows at a time.
        max_tokens: Most rows times tokens of the longest.

    Attributes:
        engine_seconds: Time between the beginning and the end of the engine's runs on the stream.
    """

    def __init__(
        self, engine: DeviceEngine, packer: Packer, *, max_rows: int, max_tokens: int
    ) -> None:
        self._engine, self._filler_id = engine, packer.filler_id
        self._max_rows, self._max_tokens = max_rows, max_tokens
        self._members: dict[int, _Row] = {}
        self._scheme: Unmask | None = None
        self._next_key = 0
        self._selection: Selection | None = None
        self._places: list[int] = []
        self._spans: list[Span] = []
        self._inputs: DeviceStep | None = None
        self.engine_seconds = 0.0

    @staticmethod
    def takes(wanted: Sequence[Wanted]) -> bool:
        """Tells whether these rows and rules are such as the kernels know."""
        first = wanted[0]
        return _known(first.scheme) and all(
            one.scheme == first.scheme
            and one.row.end_tokens == first.row.end_tokens
            and one.row.shift == first.row.shift
            for one in wanted
        )

    @property
    def rows(self) -> Mapping[int, RowState]:
        """All rows as they are now, by key, fetched from the device."""
        found = {key: member.begun for key, member in self._members.items()}
        if self._selection is not None:
            ids, steps, confidence = self._selection.read_rows()
            for place, key in enumerate(self._places):
                if key in found:
                    found[key] = self._fetched(
                        self._members[key], ids[place], steps[place], confidence[place]
                    )
        return MappingProxyType(found)

    def row(self, key: int) -> RowState:
        """Returns a row as it is now, fetched from the device.

        Raises:
            DawnError: No such row is here.
        """
        self._member(key)
        return self.rows[key]

    @property
    def active(self) -> tuple[int, ...]:
        """Keys of the rows that are not finished."""
        return tuple(key for key, member in self._members.items() if not member.finished)

    def is_finished(self, key: int) -> bool:
        """Tells whether a row is finished.

        Raises:
            DawnError: No such row is here.
        """
        return self._member(key).finished

    def steps(self, key: int) -> int:
        """Returns how many steps a row has taken.

        Raises:
            DawnError: No such row is here.
        """
        return self._member(key).step

    def engine_seconds_of(self, key: int) -> float:
        """Returns the time of the runs that a row took part in."""
        return self._member(key).seconds

    def admit(self, row: RowState, scheme: Scheme) -> int:
        """Takes a row in; it is part of the next step.

        Raises:
            BatchFullError: There is no room for it.
            DawnError: It is decoded by other rules than the rows that are here.
        """
        if not _known(scheme) or (self._members and scheme != self._scheme):
            raise DawnError("rows on a device have one rule, which has a kernel; see takes")
        rows = len(self._members) + 1
        longest = max([row.length, *(member.length for member in self._members.values())])
        if rows > self._max_rows or rows * longest > self._max_tokens:
            raise BatchFullError(
                f"{rows} rows of up to {longest} tokens exceed the {self._max_rows} rows and "
                f"{self._max_tokens} tokens of the batch; let one leave first"
            )
        key, self._next_key = self._next_key, self._next_key + 1
        self._collect()
        self._scheme = scheme if isinstance(scheme, Unmask) else None
        self._members[key] = _Row.begin(row)
        return key

    def leave(self, key: int) -> RowState:
        """Lets a row go, finished or not.

        Raises:
            DawnError: No such row is here.
        """
        row = self.row(key)
        del self._members[key]
        if not self._members:
            self._selection = self._inputs = None
        return row

    def step(self) -> tuple[int, ...]:
        """Takes every unfinished row one step further and returns their keys.

        Raises:
            EngineError: The engine failed or returned NaN or infinity, or not enough memory.
        """
        selection = self._laid_out()
        device, spans = self._engine.device, self._next_spans()
        if self._inputs is None or spans != self._spans:
            self._inputs, self._spans = selection.lay_out(spans), spans
        device.mark(_BEFORE)
        outputs = self._engine.run_on_device(self._inputs)
        device.mark(_AFTER)
        selection.decide(outputs)
        found = selection.read_status()
        seconds = device.seconds(_BEFORE, _AFTER)
        self.engine_seconds += seconds
        for status in found:
            if status.fault:
                raise not_finite(self._engine.describe(), _FAULTS[status.fault])
        moved = tuple(self._places[span.row] for span in spans)
        for key, status in zip(moved, found, strict=True):
            self._members[key].take(status, seconds)
        return moved

    def _member(self, key: int) -> _Row:
        try:
            return self._members[key]
        except KeyError:
            raise DawnError(f"the batch has no row {key!r}; it has left or never joined") from None

    def _collect(self) -> None:
        """Takes the rows back from the device, to be laid out anew."""
        for key, row in self.rows.items():
            self._members[key] = replace(self._members[key], begun=row)
        self._selection = self._inputs = None

    def _laid_out(self) -> Selection:
        """Puts the rows on the device, padded to the longest, unless they are there."""
        if self._selection is None:
            self._places = list(self._members)
            self._selection = self._put([self._members[key].begun for key in self._places])
        return self._selection

    def _put(self, rows: Sequence[RowState]) -> Selection:
        shape = (len(rows), max(row.length for row in rows))
        ids, masked = np.full(shape, self._filler_id), np.zeros(shape, dtype=bool)
        for place, row in enumerate(rows):
            ids[place, : row.length], masked[place, : row.length] = row.ids, row.masked
        rule = None if self._scheme is None else SelectionRule.of(self._scheme.policy)
        if rule is None:
            raise ValueError(f"no kernel for {self._scheme}; see DeviceBatch.takes")
        return Selection(
            self._engine.device,
            rule,
            ids,
            masked,
            rows[0].end_tokens,
            mask_id=rows[0].mask_id,
            filler_id=self._filler_id,
            shift=rows[0].shift,
        )

    @staticmethod
    def _fetched(
        member: _Row, ids: IntArray, steps: NDArray[np.int32], confidence: FloatArray
    ) -> RowState:
        """A row as the device has it: what was decided there, and before on the host."""
        begun, length = member.begun, member.length
        there = steps[:length] >= 0
        masked = begun.masked & ~there
        return replace(
            begun,
            ids=read_only(ids[:length]),
            masked=read_only(masked),
            final=int(masked.argmax()) if masked.any() else length,
            commit_step=read_only(np.where(there, steps[:length] + begun.step, begun.commit_step)),
            commit_confidence=read_only(
                np.where(there, confidence[:length], begun.commit_confidence)
            ),
            step=member.step,
            fed=member.fed,
        )

    def _next_spans(self) -> list[Span]:
        """Where the windows of the unfinished rows are."""
        if self._scheme is None:
            return []
        span = _span(self._scheme.window)
        return [
            Span(place, member.length, member.start, *span(member))
            for place, key in enumerate(self._places)
            if (member := self._members.get(key)) is not None and not member.finished
        ]


def _known(scheme: Scheme) -> bool:
    return (
        isinstance(scheme, Unmask)
        and SelectionRule.of(scheme.policy) is not None
        and type(scheme.window) in _WINDOWS
        and type(scheme.cache) is NoCache
        and scheme.sampling.is_greedy
    )


def _span(window: Window) -> Callable[[Progress], tuple[int, int]]:
    """The rule of a window that asks for no more than a `Progress`."""
    if isinstance(window, _WINDOWS):
        return window.span
    raise ValueError(f"window {window.name!r} looks at whole rows; see DeviceBatch.takes")
