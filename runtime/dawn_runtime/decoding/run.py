"""One run of the engine for several asks, and what came of it."""

from dataclasses import dataclass
from typing import Any

from dawn_runtime.decoding.ask import Answer, Ask
from dawn_runtime.engine.protocol import StepInputs


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run of the engine.

    Attributes:
        owners: Key of the row, and number among its asks, of the ask in each batch row.
        asks: These asks.
        inputs: What went in.
        answers: What came back, one for each ask.
        present: Keys and values of the fed tokens; see `StepOutputs.present`.
        seconds: Time inside the engine.
    """

    owners: list[tuple[int, int]]
    asks: list[Ask]
    inputs: StepInputs
    answers: list[Answer]
    present: tuple[Any, ...]
    seconds: float

    @property
    def width(self) -> int:
        """S, tokens of each batch row."""
        return int(self.inputs.input_ids.shape[1])
