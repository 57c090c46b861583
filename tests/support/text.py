"""A fake engine over bytes, for artifacts with the toy tokenizer."""

from dataclasses import replace
from typing import Any

from dawn_runtime import StepInputs, StepOutputs
from dawn_runtime.engine.fake import FakeEngine, fake_manifest

TEXT_MANIFEST = fake_manifest(vocab_size=259, max_length=256)


class TextRecorder(FakeEngine):
    """A fake engine that keeps its inputs and counts how often it was closed."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(replace(TEXT_MANIFEST, **changes))
        self.seen: list[StepInputs] = []
        self.closed = 0

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.seen.append(inputs)
        return super().run(inputs)

    def close(self) -> None:
        self.closed += 1
