"""Selection on a device: what is sent to `choose.cu`, its launches, and what comes back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.cuda.arrays import DeviceArray
from dawn_runtime.cuda.device import Argument, Device
from dawn_runtime.cuda.parcel import Parcel
from dawn_runtime.cuda.pool import Pool
from dawn_runtime.policies.kernel import Kernel, KernelView, Selected

_THREADS, _KEY_THREADS = 256, 128
_OUTSIDE = -2
_NOT_FINITE, _LINKED = 1, 2
_VIEW_FIELDS, _TAU_FIELDS, _CANDIDATE_FIELDS = 6, 6, 3
_SENT: Final = ("views", "means")
"""First and last array that the host sends; `selected` comes back, and `means` where wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A row of a run for which the kernel chooses.

    Attributes:
        view: What it sees.
        columns: Which of the P+S keys of the run are the K keys of the view.
    """

    view: KernelView
    columns: slice | IntArray


class Chooser:
    """Chooses among the candidates of a run, in this order: `send`, `start`, `read`.

    Args:
        device: Where the run is.
    """

    def __init__(self, device: Device) -> None:
        self._device, self._parcel, self._pool = device, Parcel(device), Pool(device)
        self._rows: Sequence[Placed | None] = ()
        self._size = 0

    def send(self, rows: Sequence[Placed | None], keys: int) -> None:
        """Sends what the kernel has to know besides the outputs of the run.

        Args:
            rows: One for each batch row, None where nothing is to be chosen here.
            keys: P+S of the run.

        Raises:
            EngineError: Not enough memory.
        """
        self._rows = rows
        views = [row.view for row in rows if row is not None]
        self._size = size = keys if any(view.kernel.graph for view in views) else 0
        batch, most = len(rows), max(len(view.predictions) for view in views)
        self._parcel.lay_out(
            {
                "views": ((batch, _VIEW_FIELDS), "int32"),
                "taus": ((batch, _TAU_FIELDS), "float32"),
                "candidates": ((batch, most, _CANDIDATE_FIELDS), "int32"),
                "known": ((batch, size), "int32"),
                "earlier": ((batch, size), "float32"),
                "means": ((batch, size), "float32"),
                "selected": ((batch, 1 + most), "int32"),
            }
        )
        self._parcel.on_host("views")[:] = 0
        self._parcel.on_host("known")[:] = _OUTSIDE
        for number, row in enumerate(rows):
            if row is not None:
                self._write(number, row.view, row.columns)
        self._parcel.send(*_SENT)

    def start(self, tokens: DeviceArray, confidence: DeviceArray, attention: DeviceArray) -> None:
        """Starts the kernels on what a run has left, and sends for what they choose.

        Args:
            tokens: int64 [B, R].
            confidence: float32 [B, R].
            attention: float32 [B, Q, P+S].

        Raises:
            EngineError: Not enough memory, or a kernel cannot be started.
        """
        batch, predictions = tokens.shape
        sizes = (attention.shape[1], self._size)
        views, means = self._parcel.on_device("views"), self._parcel.on_device("means")
        if any(row is not None and _own_means(row.view) for row in self._rows):
            blocks = -(-self._size // _KEY_THREADS)
            arguments = (attention, views, means, *map(np.int32, sizes))
            self._device.launch("key_means", (blocks, batch), _KEY_THREADS, arguments)
        known = (self._parcel.on_device(name) for name in ("taus", "candidates", "known"))
        rest = (self._parcel.on_device("earlier"), means, *self._scratch(batch))
        most = self._parcel.on_host("candidates").shape[1]
        chosen: tuple[Argument, ...] = (
            *(tokens, confidence, attention, views, *known, *rest),
            self._parcel.on_device("selected"),
            *map(np.int32, (predictions, *sizes, most)),
        )
        self._device.launch("choose", (batch, 1), _THREADS, chosen)
        wanted = any(row is not None and row.view.returns_means for row in self._rows)
        self._parcel.fetch("means" if wanted else "selected", "selected")

    @property
    def finite(self) -> bool:
        """Whether all attention that rules read is finite, once the device is synchronized."""
        faults = self._parcel.on_host("selected")[:, 0] & _NOT_FINITE
        return not any(faults[n] for n, row in enumerate(self._rows) if row is not None)

    def read(self) -> list[Selected | None]:
        """Returns what was chosen for each batch row, once the device is synchronized."""
        selected, means = self._parcel.on_host("selected"), self._parcel.on_host("means")
        found: list[Selected | None] = []
        for number, row in enumerate(self._rows):
            if row is None:
                found.append(None)
                continue
            chosen = selected[number, 1 : 1 + len(row.view.predictions)] != 0
            wanted = means[number, row.columns].copy() if row.view.returns_means else None
            linked = not row.view.kernel.graph or bool(selected[number, 0] & _LINKED)
            found.append(Selected(chosen, wanted, linked))
        return found

    def _write(self, number: int, view: KernelView, columns: slice | IntArray) -> None:
        """Fills in what is sent of one batch row."""
        kernel, count = view.kernel, len(view.predictions)
        self._parcel.on_host("views")[number] = (
            *(count, view.queries, _own_means(view)),
            *(kernel.graph, kernel.union, view.mask_id),
        )
        self._parcel.on_host("taus")[number] = _taus(kernel)
        candidates = self._parcel.on_host("candidates")[number, :count]
        candidates[:, 0] = view.predictions
        if kernel.graph:
            candidates[:, 1] = view.rows
            candidates[:, 2] = np.arange(self._size)[columns][view.columns]
            self._parcel.on_host("known")[number, columns] = view.known
            self._parcel.on_host("earlier")[number, columns] = view.confidence
            if view.key_means is not None:
                self._parcel.on_host("means")[number, columns] = view.key_means

    def _scratch(self, batch: int) -> tuple[DeviceArray, ...]:
        most = self._parcel.on_host("candidates").shape[1]
        return (
            self._pool.get("flags", (batch, most), "uint32"),
            self._pool.get("marks", (batch, most), "uint32"),
            self._pool.get("scores", (batch, most), "float32"),
            self._pool.get("keys", (batch, self._size), "uint8"),
        )


def _own_means(view: KernelView) -> bool:
    """Whether the means of the keys are those of this run."""
    return view.kernel.graph and view.key_means is None


def _taus(kernel: Kernel) -> tuple[float, ...]:
    """The thresholds in the order in which the kernel has them."""
    return (
        *(kernel.tau_sink, kernel.tau_edge, kernel.tau_induce),
        *(kernel.tau_low, kernel.tau_high, kernel.tau_anchor),
    )
