"""An engine that computes everything and then names the tokens it was told to name.

How fast a way of decoding is depends on how many tokens a run decides, which random weights do not
say: they agree with nothing. Here a run costs what it costs, head, evidence and keys included, and
only what it found is replaced: every token of the text is told, and so is how many of the open
positions of a run are found for sure. Shapes, kept keys and the loop around the engine are those of
the real thing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from dawn_runtime import Engine, StepInputs, StepOutputs
from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.manifest import Manifest

SURE, UNSURE = 1.0, 1e-3
"""Confidence in a token that is found, and in one that is not."""


@dataclass(frozen=True)
class Run:
    """One run of the engine.

    Attributes:
        batch: rows of the batch.
        fed: tokens of each.
        keys: kept keys that each was given.
        seconds: what it took.
    """

    batch: int
    fed: int
    keys: int
    seconds: float


class TimedEngine:
    """An engine that notes its runs, and names what it is told to.

    Args:
        engine: computes; the caller closes it.
        manifest: of its artifact.

    Attributes:
        runs: all so far.
        found: open positions of a run, from the left, whose tokens are named for sure; None leaves
            what the weights say.
    """

    concurrent = True

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        self._engine = engine
        self._mask, self._shift = manifest.tokens.mask, manifest.prediction_shift
        barred = (*manifest.tokens.all, *manifest.tokens.forbidden)
        self._ordinary = np.setdiff1d(np.arange(manifest.dims.vocab_size), barred)
        self.runs: list[Run] = []
        self.found: int | None = None

    def text(self, positions: IntArray) -> IntArray:
        """Returns the tokens that are told for some positions: ordinary ones, all different."""
        return self._ordinary[positions % len(self._ordinary)]

    def describe(self) -> EngineInfo:
        """Returns what the engine says of itself."""
        return self._engine.describe()

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the engine, notes it, and replaces what was found if something is told."""
        started = time.perf_counter()
        outputs = self._engine.run(inputs)
        seconds = time.perf_counter() - started
        batch, fed = inputs.input_ids.shape
        keys = inputs.attention_mask.shape[-1] - fed
        self.runs.append(Run(batch, fed, keys, seconds))
        return outputs if self.found is None else self._told(inputs, outputs, self.found)

    def close(self) -> None:
        """Leaves the engine open, which is the caller's."""

    def _told(self, inputs: StepInputs, outputs: StepOutputs, found: int) -> StepOutputs:
        open_, wanted = self._predicted(inputs)
        sure = ~open_ | (np.cumsum(open_, axis=1) <= found)
        return replace(
            outputs,
            tokens=np.where(sure, self.text(wanted), self.text(wanted + 1)),
            confidence=np.where(sure, SURE, UNSURE).astype(np.float32),
        )

    def _predicted(self, inputs: StepInputs) -> tuple[BoolArray, IntArray]:
        """Which predictions [B, R] are of positions where masks were fed, and the positions of all.

        A row of text predicts what follows it, whatever the shift is. What follows the text is
        found for sure.
        """
        fed = np.take_along_axis(inputs.input_ids, inputs.logit_rows, axis=1)
        own = np.take_along_axis(inputs.position_ids, inputs.logit_rows, axis=1)
        wanted = own + np.where(fed == self._mask, self._shift, 1)
        masks = np.where(inputs.input_ids == self._mask, inputs.position_ids, -1)
        open_: BoolArray = (wanted[:, :, None] == masks[:, None]).any(axis=2)
        return open_, wanted
