"""What an engine on a device may offer besides `Engine`, so that its arrays need not leave it.

Both are optional and found out once for each batch. An engine without them gets and gives NumPy
arrays, and selection runs in NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dawn_runtime.arrays import IntArray, KvArray
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

    def save(self, row: int, slots: IntArray) -> tuple[KvArray, ...]:
        """Returns copies of the keys and values in some slots of a row, in host memory.

        Each is [1, Hkv, n, D], or of words of any kind in place of the D numbers, for `restore`.
        """

    def restore(self, row: int, saved: Sequence[KvArray], count: int) -> None:
        """Writes what `save` returned, so many slots of it, into a row that has nothing yet."""

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
        """Returns memory for keys and values, of its own or one that an earlier batch has left.

        Args:
            tokens: Rows times the tokens of the longest, the most there can be; one that was left
                may have room for more.

        Raises:
            EngineError: Not enough memory.
        """


def sizes_of(inputs: StepInputs) -> dict[str, int]:
    """Returns the sizes of a step by the letters of `dawn_runtime.contract`, in their order."""
    batch, fed = inputs.input_ids.shape
    return {
        "B": batch,
        "S": fed,
        "P": inputs.attention_mask.shape[-1] - fed,
        "R": inputs.logit_rows.shape[1],
        "Q": inputs.attention_rows.shape[1],
    }


@dataclass(frozen=True, slots=True, eq=False)
class DeviceOutputs:
    """What a run leaves on a device, as in `StepOutputs`.

    An engine may compute more predictions and rows of attention than were asked for, R' >= R and
    Q' >= Q; those that were come first.

    Attributes:
        tokens: int64 [B, R'].
        confidence: float32 [B, R'].
        attention: float32 [B, Q', P+S].
        logits: float32 [B, R', V], None unless wanted.
        present: Each [B, Hkv, S, D]; empty unless wanted.
        entropy: float32 [B, R'], None unless wanted.
        margin: float32 [B, R'], None unless wanted.
    """

    tokens: "DeviceArray"
    confidence: "DeviceArray"
    attention: "DeviceArray"
    logits: "DeviceArray | None" = None
    present: "tuple[DeviceArray, ...]" = ()
    entropy: "DeviceArray | None" = None
    margin: "DeviceArray | None" = None


@runtime_checkable
class DeviceEngine(ResidentEngine, Protocol):
    """An engine that can leave the results of a run on its device, without waiting for them.

    Attributes:
        device: Where it runs, and the stream on which it does.
    """

    device: "Device"

    def run_on_device(self, inputs: StepInputs) -> DeviceOutputs:
        """Starts a run on the stream of the device.

        What it returns is there once the stream has come so far, until the next run; `present` as
        long as `ResidentEngine` says. The device must be synchronized before another run is
        started, because inputs may travel through memory that the next run fills.

        Args:
            inputs: As for `run`, with `resident`.

        Raises:
            EngineError: The inputs break the contract or are too large, the back end refused it, or
                the engine is closed.
        """
