"""Any engine in NumPy, dressed up as one on a device."""

from dataclasses import fields, replace
from typing import Any

import numpy as np

from dawn_runtime import Engine, StepInputs, StepOutputs
from dawn_runtime.cuda import DeviceArray, DeviceKv
from dawn_runtime.cuda.pool import Pool
from dawn_runtime.engine import EngineInfo
from dawn_runtime.engine.device import DeviceOutputs, DeviceStep
from support.host_device import HostDevice, get


class HostEngine:
    """Runs an engine on arrays of a `HostDevice`.

    Attributes:
        device: The device.
        steps: Shapes of `input_ids` and `logit_rows` of every run on the device.
        residents: Whether keys stayed on the device, for every other run.
    """

    def __init__(self, engine: Engine, device: HostDevice) -> None:
        self._engine, self.device, self._pool = engine, device, Pool(device)
        self.steps: list[tuple[Any, Any]] = []
        self.residents: list[bool] = []

    def describe(self) -> EngineInfo:
        return self._engine.describe()

    def close(self) -> None:
        self._engine.close()

    def kv_memory(self, batch: int, length: int) -> DeviceKv:
        return DeviceKv(self.device, self.describe(), batch, length)

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.residents.append(inputs.resident)
        assert all(isinstance(array, DeviceArray) for array in inputs.past)
        past = tuple(get(self.device, array) for array in inputs.past)
        outputs = self._engine.run(replace(inputs, past=past))
        kind = "cached" if past else "full"
        return replace(
            outputs,
            present=tuple(
                self._put(f"{kind} {number}", array) for number, array in enumerate(outputs.present)
            ),
        )

    def run_on_device(self, step: DeviceStep) -> DeviceOutputs:
        self.steps.append((step.input_ids.shape, step.logit_rows.shape))
        arrays = {field.name: get(self.device, getattr(step, field.name)) for field in fields(step)}
        found = self._engine.run(StepInputs(**arrays))
        return DeviceOutputs(
            *(self._put(name, getattr(found, name)) for name in ("tokens", "confidence")),
            self._put("attention", found.attention),
        )

    def _put(self, name: str, array: np.ndarray) -> DeviceArray:
        target = self._pool.get(name, array.shape, array.dtype.name)
        self.device.upload(target, array)
        return target
