"""A batch on its way, wherever the rows are: in NumPy, or next to an engine on a device."""

from typing import Protocol

from dawn_runtime.decoding.loop import DecodeState, step
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.row import RowState
from dawn_runtime.engine.device import DeviceEngine
from dawn_runtime.engine.protocol import Engine


class Run(Protocol):
    """Takes the rows of a batch step by step to their end."""

    @property
    def rows(self) -> tuple[RowState, ...]:
        """All rows as they are now."""

    @property
    def active(self) -> bool:
        """Whether a row is unfinished."""

    @property
    def taken(self) -> int:
        """Steps of the row that took most."""

    @property
    def engine_seconds(self) -> float:
        """Time spent inside the engine so far."""

    def step(self) -> None:
        """Takes every unfinished row one step further.

        Raises:
            EngineError: The engine failed or returned NaN or infinity.
        """


class HostRun:
    """Rows in NumPy: any engine, any rules.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        state: Where to start.
    """

    def __init__(self, engine: Engine, packer: Packer, state: DecodeState) -> None:
        self._engine, self._packer, self._state = engine, packer, state

    @property
    def rows(self) -> tuple[RowState, ...]:
        """All rows as they are now."""
        return self._state.rows

    @property
    def active(self) -> bool:
        """Whether a row is unfinished."""
        return bool(self._state.active)

    @property
    def taken(self) -> int:
        """Steps of the row that took most."""
        return max(row.step for row in self._state.rows)

    @property
    def engine_seconds(self) -> float:
        """Time spent inside the engine so far."""
        return self._state.engine_seconds

    def step(self) -> None:
        """Takes every unfinished row one step further; see `dawn_runtime.decoding.step`."""
        self._state = step(self._engine, self._packer, self._state)


def begin_run(engine: Engine, packer: Packer, state: DecodeState) -> Run:
    """Returns a run next to the engine if engine and rules allow it, else one in NumPy.

    Both decide the same: the rules of `dawn_runtime.cuda` are those of the policies, bit for bit.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        state: Where to start.
    """
    if isinstance(engine, DeviceEngine):
        from dawn_runtime.decoding.device_run import DeviceRun

        if DeviceRun.takes(state):
            return DeviceRun(engine, packer, state)
    return HostRun(engine, packer, state)
