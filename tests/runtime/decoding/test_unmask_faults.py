"""What stops decoding: no steps left, outputs that cannot be trusted."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from dawn_runtime import DawnError, EngineError, OnePerStep, Policy, RowView, Single, StepOutputs
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import Batch, NoCache, RowState, Unmask
from dawn_runtime.engine import Engine
from dawn_runtime.engine.fake import FakeEngine, HashModel, ReplayEngine
from dawn_runtime.policies import Needs
from support.decoding import DAWN, MANIFEST, batch_of, begin, finished


def one_row(engine: Engine, new: int, policy: Policy) -> Batch:
    return batch_of(engine, begin([[1]], new), Unmask(policy, Single(), NoCache()))


def test_running_out_of_steps_is_an_error() -> None:
    class Hopeful(Unmask):
        __slots__ = ()

        def bound(self, row: RowState) -> int:
            return 2

    scheme = Hopeful(OnePerStep(), Single(), NoCache())
    batch = batch_of(FakeEngine(MANIFEST), begin([[1], [2]], [3, 1]), scheme)
    expected = "scheme 'unmask' is unfinished after 2 steps, where it promised to need at most 2"
    with pytest.raises(DawnError, match=expected):
        finished(batch)
    assert (batch.steps(0), batch.is_finished(1)) == (1, True)


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
    one_row(ReplayEngine(MANIFEST, [outputs()]), 2, OnePerStep()).step()
    batch = one_row(ReplayEngine(MANIFEST, [outputs(**broken)]), 2, OnePerStep())
    with pytest.raises(EngineError, match=f"fake: {message}"):
        batch.step()
    assert batch.steps(0) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_attention_that_is_not_finite_stops_decoding(value: float) -> None:
    def model(tokens: IntArray, *rest: object) -> tuple[np.ndarray, np.ndarray]:
        logits, attention = HashModel(32)(tokens, *rest)  # type: ignore[arg-type]
        attention[1, 1] = value
        return logits, attention

    batch = one_row(FakeEngine(MANIFEST, model), 4, DAWN)
    with pytest.raises(EngineError, match="output attention holds NaN or infinity"):
        batch.step()


def test_logits_that_were_asked_for_must_come() -> None:
    @dataclass(frozen=True)
    class WantsLogits(Policy):
        name: ClassVar[str] = "wants-logits"
        needs: ClassVar[Needs] = Needs(logits=True)

        def select(self, view: RowView) -> IntArray:
            return view.candidates

    batch = one_row(ReplayEngine(MANIFEST, [outputs()]), 2, WantsLogits())
    with pytest.raises(EngineError, match="logits were asked for and did not come"):
        batch.step()
