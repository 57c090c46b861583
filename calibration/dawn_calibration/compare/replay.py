"""One trajectory, two engines: both artifacts are asked at every state that the first one meets.

The states are those of artifact A, so every difference is that of one decision and not of what
followed from earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dawn_runtime import Engine, EngineInfo, Policy, RowView, StepInputs, StepOutputs
from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding import Batch, NoCache, Packer, RowState, Unmask, Window
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import Manifest


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What both artifacts make of one state.

    Attributes:
        left: What artifact A shows the policy.
        right: The same of artifact B.
        left_chosen: bool [n], candidates that are committed on A, which the trajectory follows.
        right_chosen: bool [n], candidates that would be on B.
    """

    left: RowView
    right: RowView
    left_chosen: BoolArray
    right_chosen: BoolArray


class PairedEngine:
    """Runs two engines on the same inputs; what the first returns counts.

    Args:
        left: Artifact A.
        right: Artifact B.

    Attributes:
        outputs: What both returned last; A first.
    """

    def __init__(self, left: Engine, right: Engine) -> None:
        self._left = left
        self._right = right
        self.outputs: tuple[StepOutputs, StepOutputs] | None = None

    def describe(self) -> EngineInfo:
        """Returns what the first engine runs."""
        return self._left.describe()

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs both.

        Raises:
            EngineError: One of them failed.
        """
        self.outputs = self._left.run(inputs), self._right.run(inputs)
        return self.outputs[0]

    def close(self) -> None:
        """Closes both."""
        self._left.close()
        self._right.close()


class Replay:
    """Decodes prompts on artifact A and asks B at every step.

    Args:
        engine: Both artifacts.
        manifest: Of artifact A.
        policy: Rule that decides on both.
        window: Where it may decide.

    Raises:
        OptionError: The rule remembers earlier steps, which would be those of A for both.
    """

    def __init__(
        self, engine: PairedEngine, manifest: Manifest, policy: Policy, window: Window
    ) -> None:
        if policy.needs.history:
            raise OptionError(
                f"policy {policy.name!r} decides by earlier steps; compare by one that looks at "
                "each step alone, such as dawn or threshold"
            )
        self._engine = engine
        self._scheme = Unmask(policy, window, NoCache())
        self._tokens, self._shift = manifest.tokens, manifest.prediction_shift
        self._packer = Packer.for_engine(manifest.tokens.filler, engine.describe())

    def decisions(self, prompt: IntArray, new_tokens: int) -> Iterator[Decision]:
        """Yields the decisions of one prompt, step by step.

        Args:
            prompt: int64 [P] its ids.
            new_tokens: Positions to decode.

        Raises:
            EngineError: One of the engines failed.
        """
        row = RowState.begin(
            prompt, new_tokens, self._tokens.mask, self._tokens.eos, shift=self._shift
        )
        batch = Batch(self._engine, self._packer, max_rows=1, max_tokens=row.length)
        key = batch.admit(row, self._scheme)
        while batch.active:
            before = batch.row(key)
            batch.step()
            yield self._decision(before)

    def _decision(self, row: RowState) -> Decision:
        """What both make of a row: asked once, answered twice, decided twice."""
        if self._engine.outputs is None:
            raise ValueError("the engines have not run yet; decisions come after a step")
        (ask,) = self._scheme.ask(row)
        left, right = (
            self._scheme.view(row, self._packer.answer(ask, found, 0, 0))
            for found in self._engine.outputs
        )
        return Decision(left, right, self._chosen(left), self._chosen(right))

    def _chosen(self, view: RowView) -> BoolArray:
        return np.isin(view.candidates, self._scheme.chosen(view, self._tokens.mask))
