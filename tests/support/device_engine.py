"""Any engine in NumPy, dressed up as one on a device."""

from dataclasses import replace
from typing import Any

import numpy as np

from dawn_runtime import Engine, StepInputs, StepOutputs
from dawn_runtime.cuda import CudaDevice, Device, DeviceArray, DeviceKv, KeptBlocks
from dawn_runtime.cuda.pool import Pool
from dawn_runtime.engine import EngineInfo
from dawn_runtime.engine.device import DeviceOutputs
from support.host_device import get


class HostMemory(CudaDevice):
    """A GPU that is none, in a word that ONNX Runtime on a CPU understands."""

    kind = "cpu"


SPARE = 2
"""Predictions and rows of evidence that are computed beyond those asked for, as TensorRT may."""


class HostEngine:
    """Runs an engine in NumPy and leaves what it returns on a device.

    Attributes:
        device: The device.
        runs: Inputs of every run whose outputs stayed on the device.
        others: Inputs of every other run.
    """

    def __init__(self, engine: Engine, device: Device) -> None:
        self._engine, self.device, self._pool = engine, device, Pool(device)
        self._blocks = KeptBlocks(device, engine.describe())
        self.runs: list[StepInputs] = []
        self.others: list[StepInputs] = []

    def describe(self) -> EngineInfo:
        return self._engine.describe()

    def close(self) -> None:
        self._engine.close()

    def kv_memory(self, tokens: int) -> DeviceKv:
        return self._blocks.take(tokens)

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.others.append(inputs)
        outputs = self._computed(inputs)
        return replace(outputs, present=self._present(inputs, outputs))

    def run_on_device(self, inputs: StepInputs) -> DeviceOutputs:
        self.runs.append(inputs)
        found = self._computed(
            replace(
                inputs,
                logit_rows=np.pad(inputs.logit_rows, ((0, 0), (0, SPARE))),
                attention_rows=np.pad(inputs.attention_rows, ((0, 0), (0, SPARE))),
            )
        )
        return DeviceOutputs(
            tokens=self._put("tokens", found.tokens),
            confidence=self._put("confidence", found.confidence),
            attention=self._put("attention", found.attention),
            logits=None if found.logits is None else self._put("logits", found.logits),
            present=self._present(inputs, found),
            entropy=None if found.entropy is None else self._put("entropy", found.entropy),
            margin=None if found.margin is None else self._put("margin", found.margin),
        )

    def _computed(self, inputs: StepInputs) -> StepOutputs:
        assert all(isinstance(array, DeviceArray) for array in inputs.past)
        past = tuple(get(self.device, array) for array in inputs.past)
        return self._engine.run(replace(inputs, past=past, resident=False))

    def _present(self, inputs: StepInputs, outputs: StepOutputs) -> tuple[Any, ...]:
        kind = "cached" if inputs.past else "full"
        present = enumerate(outputs.present)
        return tuple(self._put(f"{kind} {number}", array) for number, array in present)

    def _put(self, name: str, array: np.ndarray) -> DeviceArray:
        target = self._pool.get(name, array.shape, array.dtype.name)
        self.device.upload(target, array)
        return target
