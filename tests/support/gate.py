"""A fake engine that waits at every run until it is let through, and can fail on purpose."""

import threading
from typing import Any

from dawn_runtime import EngineError, Manifest, StepInputs, StepOutputs
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.interruption import stoppable

PATIENCE = 120.0


class GatedEngine(FakeEngine):
    """Counts its runs; a closed gate holds each back, before anything is computed."""

    def __init__(self, manifest: Manifest, *arguments: Any) -> None:
        super().__init__(manifest, *arguments)
        self.runs = 0
        self.failures = 0
        self._open = True
        self._passes = 0
        self._changed = threading.Condition()
        self._held = 0

    def run(self, inputs: StepInputs) -> StepOutputs:
        with self._changed:
            self.runs += 1
            self._held += 1
            self._changed.notify_all()
            passed = self._changed.wait_for(lambda: self._open or self._passes > 0, PATIENCE)
            assert passed, "nobody opened the gate"
            self._passes -= not self._open
            self._held -= 1
            self._changed.notify_all()
            if self.failures > 0:
                self.failures -= 1
                raise EngineError("the engine fails on purpose")
        return super().run(inputs)

    def shut(self) -> None:
        with self._changed:
            self._open, self._passes = False, 0

    def open(self) -> None:
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def let(self, runs: int = 1) -> None:
        """Lets some runs through a closed gate, and waits until the next is held or none comes."""
        with self._changed:
            self._passes += runs
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._passes == 0, PATIENCE)

    def wait(self) -> None:
        """Waits until a run is held at the gate."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._held > 0, PATIENCE)


class StoppableGate(GatedEngine):
    """The same, and a run that is held back can be given up, as those of ONNX Runtime can."""

    def run(self, inputs: StepInputs) -> StepOutputs:
        given_up: list[bool] = []

        def stop() -> None:
            with self._changed:
                given_up.append(True)
                self._passes += 1
                self._changed.notify_all()

        with stoppable(stop):
            outputs = super().run(inputs)
            if given_up:
                raise EngineError("the run was terminated")
        return outputs
