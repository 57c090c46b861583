"""Decoding with a cache on the fake engine, and a record of what was fed.

Keys of the fake engine carry the token and the position they were fed with, and its predictions are
a hash of all that a row looks at. Kept keys are never older than their own token, so on this
engine every cache must decode exactly what `none` decodes, whichever policy reads no attention; one
key missing, left over or seen twice, and nothing is the same.
"""

import numpy as np

from dawn_runtime import Blocks, Engine, Policy, StepInputs, StepOutputs
from dawn_runtime.decoding import Batch, Cache, Padding, RowState, Unmask, Window
from dawn_runtime.engine.fake import FakeEngine, HashModel
from support.decoding import MANIFEST, batch_of, begin, finished


class Recorder(FakeEngine):
    """Remembers its inputs."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(MANIFEST, HashModel(32, seed))
        self.seen: list[StepInputs] = []

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.seen.append(inputs)
        return super().run(inputs)

    def fed(self) -> list[list[int]]:
        """Positions fed to the first row of every run."""
        return [inputs.position_ids[0].tolist() for inputs in self.seen]


def begin_cached(
    prompts: list[list[int]],
    new: int | list[int],
    policy: Policy,
    cache: Cache,
    window: Window | None = None,
    *,
    engine: Engine | None = None,
    end: bool = False,
    shift: int = 0,
    padding: Padding = "right",
) -> Batch:
    """The batch before the first step; rows have the keys 0, 1, ..."""
    rows = begin(prompts, new, end=end, shift=shift)
    scheme = Unmask(policy, window or Blocks(8), cache)
    return batch_of(engine or Recorder(), rows, scheme, padding)


def run_cached(
    prompts: list[list[int]],
    new: int | list[int],
    policy: Policy,
    cache: Cache,
    window: Window | None = None,
    *,
    engine: Engine | None = None,
    end: bool = False,
    shift: int = 0,
    padding: Padding = "right",
) -> Batch:
    """The same, decoded to the end."""
    return finished(
        begin_cached(
            *(prompts, new, policy, cache, window),
            engine=engine,
            end=end,
            shift=shift,
            padding=padding,
        )
    )


def same_decisions(left: RowState, right: RowState) -> bool:
    """Compares what was decided when and how surely, not what was fed for it."""
    names = ("ids", "commit_step", "commit_confidence")
    return left.step == right.step and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=name[-1] == "e")
        for name in names
    )
