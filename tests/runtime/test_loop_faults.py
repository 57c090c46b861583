"""What stops decoding: no steps left, outputs that cannot be trusted."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from dawn_runtime import DawnError, EngineError, OnePerStep, Policy, RowView, Single, StepOutputs
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import decode, step
from dawn_runtime.engine.fake import FakeEngine, HashModel, ReplayEngine
from dawn_runtime.policies import Needs
from support.decoding import DAWN, MANIFEST, begin, packer


def test_running_out_of_steps_is_an_error() -> None:
    state = begin([[1], [2]], [3, 1], OnePerStep(), Single(), end=False)
    with pytest.raises(DawnError, match=r"rows \[0\] are unfinished after 2 steps"):
        list(decode(FakeEngine(MANIFEST), packer(), state, max_steps=2))


def outputs(**changes: object) -> StepOutputs:
    good = StepOutputs(
        tokens=np.array([[3, 4]]),
        confidence=np.array([[0.5, 0.6]], dtype=np.float32),
        attention=np.zeros((1, 0, 3), dtype=np.float32),
    )
    return replace(good, **changes)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"confidence": np.array([[0.5, np.nan]])}, "output confidence holds NaN or infinity"),
        ({"confidence": np.array([[np.inf, 0.5]])}, "output confidence holds NaN or infinity"),
        ({"tokens": np.array([[1]])}, r"output tokens has shape \(1, 1\); expected \(1, 2\)"),
        ({"attention": np.zeros((1, 2, 3))}, r"output attention has shape \(1, 2, 3\)"),
    ],
)
def test_outputs_that_cannot_be_trusted_stop_decoding(
    broken: dict[str, object], message: str
) -> None:
    state = begin([[1]], 2, OnePerStep(), Single(), end=False)
    step(ReplayEngine(MANIFEST, [outputs()]), packer(), state)
    with pytest.raises(EngineError, match=f"fake: {message}"):
        step(ReplayEngine(MANIFEST, [outputs(**broken)]), packer(), state)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_attention_that_is_not_finite_stops_decoding(value: float) -> None:
    def model(tokens: IntArray, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        logits, attention = HashModel(32)(tokens, *rest)  # type: ignore[arg-type]
        attention[1, 1] = value
        return logits, attention

    state = begin([[1]], 4, DAWN, Single(), end=False)
    with pytest.raises(EngineError, match="output attention holds NaN or infinity"):
        step(FakeEngine(MANIFEST, model), packer(), state)


def test_logits_that_were_asked_for_must_come() -> None:
    @dataclass(frozen=True)
    class WantsLogits(Policy):
        name: ClassVar[str] = "wants-logits"
        needs: ClassVar[Needs] = Needs(logits=True)

        def select(self, view: RowView) -> IntArray:
            return view.candidates

    state = begin([[1]], 2, WantsLogits(), Single(), end=False)
    with pytest.raises(EngineError, match="logits were asked for and did not come"):
        step(ReplayEngine(MANIFEST, [outputs()]), packer(), state)
