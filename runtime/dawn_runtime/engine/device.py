"""What an engine on a device may offer besides `Engine`, so that its arrays need not leave it.

Both are optional and found out once for each generation. An engine without them gets and gives
NumPy arrays, and selection runs in NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dawn_runtime.arrays import IntArray
from dawn_runtime.engine.protocol import Engine, StepInputs

if TYPE_CHECKING:
    from dawn_runtime.cuda import Device, DeviceArray


class KvMemory(Protocol):
    """Keys and values that rows keep between steps; `KvStore` is the one in NumPy.

    Attributes:
        rows: Keys of the rows that have a place, in the order of the places.
        slots: P, slots of each row.
    """

    rows: tuple[int, ...]
    slots: int

    def read(self, rows: Sequence[int]) -> tuple[Any, ...]:
        """Returns `StepInputs.past` of some rows, valid until anything else is called."""

    def write(
        self, row: int, slots: IntArray, present: Sequence[Any], index: int, fed: IntArray
    ) -> None:
        """Takes fed tokens of batch row `index` of `StepOutputs.present` into slots of a row."""

    def arrange(self, slots: dict[int, int], rewritten: Sequence[int]) -> None:
        """Gives rows their places; see `KvStore.arrange`."""


@runtime_checkable
class ResidentEngine(Engine, Protocol):
    """An engine whose keys and values can stay where they were computed.

    A run with `StepInputs.resident` takes `past` from the memory made here and returns `present`
    for it: arrays on the device, of which nothing but the shape and the type is read elsewhere.
    They are valid until the next run of the same kind, full (P = 0) or cached; a run of the other
    kind leaves them alone if both together feed no more tokens than the memory is for.
    """

    def kv_memory(self, tokens: int) -> KvMemory:
        """Returns memory for keys and values.

        Args:
            tokens: Rows times the tokens of the longest, the most there can be.

        Raises:
            EngineError: Not enough memory.
        """


@dataclass(frozen=True, slots=True, eq=False)
class DeviceStep:
    """One full pass on a device; types and shapes as in `StepInputs`, with P = 0.

    Attributes:
        input_ids: int64 [B, S].
        position_ids: int64 [B, S].
        attention_mask: bool [B, 1, S, S].
        logit_rows: int64 [B, R].
        attention_rows: int64 [B, Q].
    """

    input_ids: "DeviceArray"
    position_ids: "DeviceArray"
    attention_mask: "DeviceArray"
    logit_rows: "DeviceArray"
    attention_rows: "DeviceArray"


def sizes_of(step: StepInputs | DeviceStep) -> dict[str, int]:
    """Returns the sizes of a step by the letters of `dawn_runtime.contract`, in their order."""
    batch, fed = step.input_ids.shape
    return {
        "B": batch,
        "S": fed,
        "P": step.attention_mask.shape[-1] - fed,
        "R": step.logit_rows.shape[1],
        "Q": step.attention_rows.shape[1],
    }


@dataclass(frozen=True, slots=True, eq=False)
class DeviceOutputs:
    """What a full pass leaves on a device, until the next run.

    Attributes:
        tokens: int64 [B, R].
        confidence: float32 [B, R].
        attention: float32 [B, Q, S].
    """

    tokens: "DeviceArray"
    confidence: "DeviceArray"
    attention: "DeviceArray"


@runtime_checkable
class DeviceEngine(Engine, Protocol):
    """An engine that runs on arrays of a device, without waiting for the result.

    Attributes:
        device: Where it runs, and the stream on which it does.
    """

    device: "Device"

    def run_on_device(self, step: DeviceStep) -> DeviceOutputs:
        """Starts a full pass on the stream of the device.

        Addresses repeat from step to step and shapes change with the block, so both together tell
        whether a recorded run can be repeated. Nothing is checked but by the back end.

        Raises:
            EngineError: The back end refused it, or the engine is closed.
        """
