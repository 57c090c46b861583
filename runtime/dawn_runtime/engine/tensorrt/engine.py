"""TensorRT: an engine whose keys and values stay on the GPU."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dawn_runtime.artifact import Artifact
from dawn_runtime.contract import ENTROPY_ROWS
from dawn_runtime.cuda import CudaDevice, Device, DeviceArray, KeptBlocks, PresentMemory
from dawn_runtime.engine.checks import (
    check_inputs,
    check_measures,
    check_volumes,
    most_evidence,
    named_inputs,
)
from dawn_runtime.engine.device import DeviceOutputs, KvMemory, sizes_of
from dawn_runtime.engine.exclusive import exclusive
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine.tensorrt.buffers import Packed
from dawn_runtime.engine.tensorrt.contexts import Bindings, Contexts
from dawn_runtime.engine.tensorrt.loading import LoadedEngine, load_plan
from dawn_runtime.engine.tensorrt.module import find_tensorrt
from dawn_runtime.engine.tensorrt.plans import (
    Machine,
    PlanRecord,
    choose_plan,
    read_plans,
    unmeasured,
)
from dawn_runtime.engine.tensorrt.profiles import Profile, choose_profile, shape_of
from dawn_runtime.engine_info import EngineInfo, info_of
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.manifest import Manifest

_SMALL = 3
"""How many small outputs come before the logits."""


def open_tensorrt(artifact: Artifact, *, threads: int | None = None) -> "TensorRTEngine":
    """Opens the plan of an artifact that fits this machine.

    Args:
        artifact: An opened artifact folder.
        threads: Must be None: the work is the GPU's.

    Raises:
        OptionError: Threads were asked for.
        DependencyError: TensorRT or cuda-python is not installed.
        EngineError: There is no GPU, no plan for it, or the plan cannot be loaded.
    """
    if threads is not None:
        raise OptionError(
            f"engine tensorrt: got threads={threads}, but its work runs on the GPU; leave it out"
        )
    products = {record.key.product: None for record in read_plans(artifact.folder)}
    trt = find_tensorrt(tuple(products) or ("tensorrt",), purpose="runs the plans of this artifact")
    device = CudaDevice()
    try:
        machine = Machine.of(trt, device.capability, device.cuda_version[0])
        record = choose_plan(artifact.folder, artifact.manifest, machine)
        loaded = load_plan(trt, artifact.folder, record, artifact.manifest)
        return TensorRTEngine(loaded, record, artifact.manifest, device)
    except BaseException:
        device.close()
        raise


class TensorRTEngine:
    """Runs a plan, for one thread at a time.

    Args:
        loaded: The engine of the plan; closed with this one.
        record: The plan.
        manifest: Manifest of the artifact it was built from.
        device: Where it runs; closed with this one.
        check: Whether inputs are checked against the contract before each run.

    Attributes:
        device: Where it runs.

    Raises:
        EngineError: Not enough memory on the device.
    """

    def __init__(
        self,
        loaded: LoadedEngine,
        record: PlanRecord,
        manifest: Manifest,
        device: Device,
        *,
        check: bool = True,
    ) -> None:
        manifest = unmeasured(manifest)
        self._dims = manifest.dims
        multiple = min(profile.multiple for profile in record.profiles)
        info = info_of(loaded.trt.product, manifest)
        most = most_evidence(manifest.dims)
        self._info = replace(info, alignment=multiple, multiple=multiple, most_evidence=most)
        self.device = device
        self._loaded, self._record, self._check = loaded, record, check
        cached = 2 * manifest.dims.layers
        fed, self._past = manifest.inputs[:-cached], manifest.inputs[-cached:]
        self._past_names = tuple(spec.name for spec in self._past)
        small = manifest.outputs[:_SMALL]
        self._present_names = tuple(spec.name for spec in manifest.outputs[_SMALL + 1 :])
        profiles = record.profiles
        self._inputs = Packed(device, fed, profiles)
        self._outputs = Packed(device, small, profiles)
        self._logits: Packed | None = None
        if record.logits:
            self._logits = Packed(device, manifest.outputs[_SMALL : _SMALL + 1], profiles)
        self._present = PresentMemory(device, self._info, _most_tokens(profiles))
        self._copies: PresentMemory | None = None
        self._blocks = KeptBlocks(device, self._info)
        self._contexts: Contexts | None = Contexts(loaded, device)

    def describe(self) -> EngineInfo:
        """Returns what this engine runs."""
        return self._info

    def kv_memory(self, tokens: int) -> KvMemory:
        """Returns memory on the device for keys and values; see `ResidentEngine`."""
        if tokens > self._present.tokens:
            # A step may run more rows in two runs, full and cached, than a profile has in one.
            self._present = PresentMemory(self.device, self._info, tokens)
        return self._blocks.take(tokens)

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the engine once and waits for it.

        Raises:
            EngineError: The inputs break the contract or do not fit the plan, logits are wanted of
                a plan without them, the device failed, or the engine is closed.
        """
        self._check_step(inputs)
        with exclusive(self):
            return self._run(inputs)

    def _run(self, inputs: StepInputs) -> StepOutputs:
        exact = sizes_of(inputs)
        return self._collect(inputs, exact, self._begin(inputs, exact))

    def run_on_device(self, inputs: StepInputs) -> DeviceOutputs:
        """Starts a run and leaves what it returns on the device; see `DeviceEngine`."""
        self._check_step(inputs)
        with exclusive(self):
            sizes = self._begin(inputs, sizes_of(inputs))
            logits = self._logits if inputs.want_logits else None
            return DeviceOutputs(
                **self._outputs.on_device(sizes),
                logits=None if logits is None else logits.on_device(sizes)["logits"],
                present=self._present_arrays(sizes) if inputs.want_present else (),
            )

    def _begin(self, inputs: StepInputs, exact: dict[str, int]) -> dict[str, int]:
        """Starts a run and returns its sizes with the numbers of rows rounded up."""
        self._open_contexts()
        index, sizes = self._bucket(exact)
        self._upload(inputs, sizes)
        past = self._on_device(inputs.past)
        self._enqueue(index, sizes, self._inputs.on_device(sizes), past)
        return sizes

    def close(self) -> None:
        """Frees the engine and the device. Closing twice is allowed."""
        with exclusive(self):
            if self._contexts is None:
                return
            self._contexts.close()
            self._contexts = None
            self._blocks.close()
            self._loaded.close()
            self.device.close()

    def _check_step(self, inputs: StepInputs) -> None:
        if self._check:
            check_inputs(inputs, self._info)
        check_measures(inputs, self._info)
        self._check_wanted(inputs)
        check_volumes(self._info, self._dims, sizes_of(inputs))

    def _check_wanted(self, inputs: StepInputs) -> None:
        if inputs.want_logits and self._logits is None:
            raise EngineError(
                f"{self._info.name}: logits are wanted (sampling and some policies read them), but "
                f"the plan {self._record.name} returns none; build it again with --logits"
            )
        if inputs.want_present and not inputs.resident and self._info.kv_dtype == "bfloat16":
            raise EngineError(
                f"{self._info.name}: NumPy has no bfloat16, so keys and values of this artifact "
                "stay on the device; use Decoder, or export at fp16"
            )

    def _bucket(self, exact: dict[str, int]) -> tuple[int, dict[str, int]]:
        """Returns the profile of a step, and its sizes with the numbers of rows rounded up."""
        profiles = self._record.profiles
        index = choose_profile(self._info.name, profiles, exact)
        block = self._record.block_length
        rounded = {n: profiles[index].rounded(n, exact[n], block) for n in ("R", "Q")}
        return index, {**exact, **rounded}

    def _upload(self, inputs: StepInputs, sizes: dict[str, int]) -> None:
        """Sends the arrays of a step; rows added by rounding repeat row 0."""
        host = self._inputs.on_host(sizes)
        arrays = named_inputs(inputs, measures=False, drafts=self._info.drafts)
        for name, target in host.items():
            array = arrays[name]
            if array.shape != target.shape:
                target[:, array.shape[1] :] = 0
                target = target[:, : array.shape[1]]
            target[...] = array
        self._inputs.send(sizes)

    def _on_device(self, past: Sequence[Any]) -> tuple[DeviceArray, ...]:
        """Returns cached keys and values of the engine's own memory, or copies of others.

        Copies lie at equal distances too, in memory that stays: a recorded run reads them there.
        """
        resident = tuple(array for array in past if isinstance(array, DeviceArray))
        if len(resident) == len(past):
            return resident
        batch, _, slots, _ = past[0].shape
        if self._copies is None or self._copies.tokens < batch * slots:
            self._copies = None  # freed before more is asked for
            self._copies = PresentMemory(self.device, self._info, batch * slots)
        copies = self._copies.arrays(batch, slots, cached=False)
        for copy, array in zip(copies, past, strict=True):
            self.device.upload(copy, array)
        return copies

    def _enqueue(
        self,
        index: int,
        sizes: dict[str, int],
        fed: dict[str, DeviceArray],
        past: tuple[DeviceArray, ...],
    ) -> None:
        """Starts the engine on the arrays of a step and the cached ones, none for P = 0."""
        # Cached arrays lie at equal distances; where outputs go follows from the sizes and from
        # where the memory of keys and values begins.
        ends = past[:1] + past[-1:]
        arrays = (*fed.values(), *ends)
        addresses = (*(array.pointer for array in arrays), self._present.pointer)

        def bindings() -> Bindings:
            kept = past or self._nothing_kept(fed["input_ids"], sizes)
            inputs = {**fed, **self._unread(fed["input_ids"], sizes)}
            inputs.update(zip(self._past_names, kept, strict=True))
            arrays = {**inputs, **self._output_arrays(sizes)}
            return Bindings(
                index,
                tuple((name, array.shape) for name, array in inputs.items()),
                tuple((name, array.pointer) for name, array in arrays.items()),
            )

        self._open_contexts().enqueue((index, *sizes.values(), *addresses), bindings)

    def _unread(self, stand_in: DeviceArray, sizes: dict[str, int]) -> dict[str, DeviceArray]:
        """The rows of entropy, none, where a plan was built from a graph that has them."""
        engine = self._loaded.engine
        names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        if ENTROPY_ROWS not in names:
            return {}
        return {ENTROPY_ROWS: DeviceArray(stand_in.pointer, (sizes["B"], 0), "int64")}

    def _nothing_kept(self, stand_in: DeviceArray, sizes: dict[str, int]) -> list[DeviceArray]:
        """Stands for P = 0: TensorRT wants an address even of a tensor without elements."""
        return [DeviceArray(stand_in.pointer, shape_of(s, sizes), s.dtype) for s in self._past]

    def _output_arrays(self, sizes: dict[str, int]) -> dict[str, DeviceArray]:
        outputs = self._outputs.on_device(sizes)
        if self._logits is not None:
            outputs.update(self._logits.on_device(sizes))
        present = self._present_arrays(sizes)
        return {**outputs, **dict(zip(self._present_names, present, strict=True))}

    def _present_arrays(self, sizes: dict[str, int]) -> tuple[DeviceArray, ...]:
        return self._present.arrays(sizes["B"], sizes["S"], cached=sizes["P"] > 0)

    def _open_contexts(self) -> Contexts:
        if self._contexts is None:
            raise EngineError(f"{self._info.name}: the engine is closed; open the artifact again")
        return self._contexts

    def _collect(
        self,
        inputs: StepInputs,
        exact: dict[str, int],
        sizes: dict[str, int],
    ) -> StepOutputs:
        """Copies what is wanted to the host, cut to the rows that were asked for."""
        self._outputs.fetch(sizes)
        wanted = self._logits if inputs.want_logits else None
        if wanted is not None:
            wanted.fetch(sizes)
        present: tuple[Any, ...] = self._present_arrays(sizes) if inputs.want_present else ()
        if not inputs.resident:
            present = tuple(map(self._to_host, present))
        self.device.synchronize()
        found = self._outputs.on_host(sizes)
        rows, evidence = exact["R"], exact["Q"]
        return StepOutputs(
            tokens=found["tokens"][:, :rows].copy(),
            confidence=found["confidence"][:, :rows].copy(),
            attention=found["attention"][:, :evidence].copy(),
            logits=wanted.on_host(sizes)["logits"][:, :rows].copy() if wanted else None,
            present=present,
        )

    def _to_host(self, array: DeviceArray) -> Any:
        target = np.empty(array.shape, dtype=array.dtype)
        self.device.download(target, array)
        return target


def _most_tokens(profiles: Sequence[Profile]) -> int:
    """Returns the most tokens of all rows that a run can feed."""
    return max(most["B"] * most["S"] for most in (profile.sizes(2) for profile in profiles))
