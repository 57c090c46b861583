"""Looking inside a network while it decodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.ranges.samples import Samples
from dawn_calibration.ranges.sites import Site
from dawn_calibration.ranges.statistics import Seen, Statistics
from dawn_calibration.ranges.strata import Strata
from dawn_models import Transformer
from dawn_runtime import Decoder, Engine, EngineInfo, StepInputs, StepOutputs
from dawn_runtime.arrays import IntArray
from dawn_runtime.errors import EngineError
from dawn_runtime.interruption import held
from dawn_runtime.wording import counted


class Recorder:
    """Counts what passes the sites of a network, and keeps a sample of it.

    Args:
        model: The network.
        sites: Where to look.
        statistics: What is added to.
        samples: What is added to, at the sites it has.
        strata: How rows are told apart.
        mask_id: Token of an undecided position.
        seed: First number of the seeds of samples.
    """

    def __init__(
        self,
        model: Transformer,
        sites: tuple[Site, ...],
        statistics: Statistics,
        samples: Samples,
        strata: Strata,
        mask_id: int,
        seed: int,
    ) -> None:
        self._model = model
        self._sites = sites
        self._statistics = statistics
        self._samples = samples
        self._strata = strata
        self._mask_id = mask_id
        self._seed = seed
        self._attached = self._looking = False
        self._prompt = self._step = self._answer_length = 0
        self._rows: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._draw = samples.draw(self._rows, (seed,))  # of no rows, which draws nothing
        self._seen: dict[str, Seen] = {}
        self._kept: dict[str, torch.Tensor] = {}

    def begin(self, prompt: int) -> None:
        """Announces the next prompt by its number; its first run has the whole answer masked."""
        self._prompt, self._step = prompt, 0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Records every run of the network inside the block."""
        handles = []
        for site in self._sites:
            first: nn.Module = self._model.get_submodule(site.linears[0])
            handles.append(first.register_forward_pre_hook(partial(self._see, site.name)))
        self._attached = True
        try:
            yield
        finally:
            self._attached = False
            for handle in handles:
                handle.remove()

    def expect(self, ids: NDArray[np.int64], *, known: bool) -> int:
        """Says what the next run of the network sees.

        Args:
            ids: int64 [S] tokens.
            known: Whether it was recorded before an interruption, so that it is not once more.

        Returns:
            How many tokens of the answer are decided.
        """
        masked = ids == self._mask_id
        if self._step == 0:
            self._answer_length = int(masked.sum())
        self._looking = self._attached and not known
        if self._looking:
            self._rows = self._strata.of_rows(masked, self._answer_length)
            self._draw = self._samples.draw(self._rows, (self._seed, self._prompt, self._step))
            self._seen, self._kept = {}, {}
        self._step += 1
        return self._answer_length - int(masked.sum())

    def count(self) -> None:
        """Counts what the run has shown, once it is over; until then nothing is changed."""
        if self._looking:
            self._statistics.rows += np.bincount(self._rows, minlength=len(self._strata))
            for name, seen in self._seen.items():
                self._statistics.sites[name].add(seen)
            self._samples.keep(self._draw, self._kept)

    def _see(self, name: str, module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        """Hook of a product: its input is [1, S, channels]."""
        del module
        if not self._looking:
            return
        values = inputs[0][0].float()
        self._seen[name] = Seen.of(values, self._rows, name)
        if name in self._samples.rows:
            rows = torch.from_numpy(self._draw.rows).to(values.device)
            self._kept[name] = values[rows]


Trail = list[StepOutputs | None]
"""What the network has answered for the prompt under way, run by run. With it a prompt is taken up
in its middle: the runs are not repeated. None where the answer is too large to keep."""


class RecordingEngine:
    """An engine that tells a recorder what it runs; what it ran before an interruption it knows.

    Args:
        engine: Runs the network that the recorder looks into.
        recorder: Who is told.
        trail: Runs of the next prompt that were recorded before an interruption; added to.
        decided: Told before each run how many tokens of the answer are decided.

    Attributes:
        forwards: Runs so far, those from before an interruption too.
    """

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        trail: Trail | None = None,
        decided: Callable[[int], object] = lambda tokens: None,
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._trail: Trail = [] if trail is None else trail
        self._decided = decided
        self._place = 0
        self.forwards = 0

    def describe(self) -> EngineInfo:
        """Returns what this engine runs."""
        return self._engine.describe()

    def begin(self) -> None:
        """Announces the next prompt."""
        self._place = 0

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs one sequence without a cache, and records it.

        An interruption leaves it recorded as a whole or not at all.

        Raises:
            EngineError: It is more than one sequence, or a cached step.
            ActivationError: A value is NaN or infinite.
        """
        if len(inputs.input_ids) != 1 or inputs.past:
            raise EngineError(
                f"{self.describe().name}: ranges are recorded of single full passes; "
                f"got {counted(len(inputs.input_ids), 'sequence')} and "
                f"{counted(len(inputs.past), 'cached array')}"
            )
        known = self._place < len(self._trail)
        self._decided(self._recorder.expect(inputs.input_ids[0], known=known))
        found = self._trail[self._place] if known else None
        if found is None:
            found = self._engine.run(inputs)
        with held():
            if not known:
                self._recorder.count()
                large = inputs.want_logits or inputs.want_present or bool(inputs.measures)
                self._trail.append(None if large else found)
            self._place += 1
            self.forwards += 1
        return found

    def close(self) -> None:
        """Closes the engine."""
        self._engine.close()


class Watcher:
    """Shows the network one prompt after another and records what it was meant to see.

    Args:
        decoder: Decodes on `engine`.
        engine: Runs the network.
        recorder: Attached while the network shall be watched.
        options: What is to be seen, and how answers are decoded.
    """

    def __init__(
        self, decoder: Decoder, engine: RecordingEngine, recorder: Recorder, options: RangeOptions
    ) -> None:
        self._decoder = decoder
        self._engine = engine
        self._recorder = recorder
        self._options = options

    def watch(self, number: int, prompt: IntArray) -> int:
        """Decodes a prompt to the end and returns the runs of the network it took.

        Args:
            number: Which prompt it is, from 0.
            prompt: int64 [P] its ids.

        Raises:
            ActivationError: A value is NaN or infinite.
        """
        before = self._engine.forwards
        settings = self._options.decoding()
        self._recorder.begin(number)
        self._engine.begin()
        if self._options.seen == "decoding":
            with self._recorder.attached():
                self._decoder.generate(input_ids=prompt, **settings)
        else:
            result = self._decoder.generate(input_ids=prompt, **settings)
            finished = np.concatenate([prompt, result.tokens])
            with self._recorder.attached():
                self._engine.run(_whole(finished))
        return self._engine.forwards - before


def _whole(ids: IntArray) -> StepInputs:
    """One pass over a finished sequence, of which no prediction but the last is wanted."""
    length = len(ids)
    return StepInputs(
        input_ids=ids[None],
        position_ids=np.arange(length)[None],
        attention_mask=np.ones((1, 1, length, length), dtype=np.bool_),
        logit_rows=np.array([[length - 1]]),
        attention_rows=np.zeros((1, 0), dtype=np.int64),
    )
