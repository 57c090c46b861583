"""ONNX Runtime on a GPU: inputs and outputs bound to memory of the device.

Keys and values stay there between steps (`kv_memory`), and so can what a run returns
(`run_on_device`). Everything runs on the stream of one `Device`, so that kernels of
`dawn_runtime.cuda` follow the engine without waiting. Over host memory and with the provider of the
CPU the same code runs on any machine, which is how it is tested.
"""

import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime import contract
from dawn_runtime.arrays import IntArray
from dawn_runtime.artifact import Artifact
from dawn_runtime.cuda import CudaDevice, Device, DeviceArray, KeptBlocks, PresentMemory
from dawn_runtime.cuda.parcel import Parcel
from dawn_runtime.cuda.pool import Pool
from dawn_runtime.engine.checks import (
    check_inputs,
    check_rows,
    check_threads,
    check_volumes,
    most_evidence,
    named_inputs,
)
from dawn_runtime.engine.device import DeviceOutputs, KvMemory, sizes_of
from dawn_runtime.engine.exclusive import exclusive
from dawn_runtime.engine.operators import cpu_only_in, nodes_by_provider
from dawn_runtime.engine.ort.session import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    import_onnxruntime,
    open_session,
    translated,
)
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo, info_of
from dawn_runtime.errors import EngineError
from dawn_runtime.manifest import Manifest
from dawn_runtime.threads import choose_threads

_BFLOAT16: Final = 16
"""TensorProto.BFLOAT16, for which NumPy has no type."""

_NO_GRAPH: Final = -1
"""Run option `gpu_graph_id` of a run that is neither captured nor replayed; 0 is ONNX Runtime's."""

_MOST_GRAPHS: Final = 32
_MOST_SEEN: Final = 1024
"""Kinds of runs whose number is remembered; those that come again and again stay among them."""

_ROWS_AT_ONCE: Final = 32
"""Predictions and rows of evidence are rounded up to a multiple of this, the usual block."""

_KEYS_AT_ONCE: Final = 8
"""Keys are filled up to a multiple of this: kernels of fused attention want their mask so."""

_MOST_BOUND: Final = 8
"""Kinds of runs whose binding is kept; making one takes as long as a step has beside the engine."""

_GRAPH_FROM_RUN: Final = 4
"""A shape is captured when it comes for the fourth time: capturing costs more than a few runs."""


class OrtDeviceEngine:
    """Runs a step graph with ONNX Runtime on a device, for one thread at a time.

    Args:
        graph: Path of `model.onnx`; its weights lie beside it.
        manifest: Manifest of the artifact the graph belongs to.
        device: Where it runs; closed with the engine.
        cuda_graphs: Whether whole runs on the device (`run_on_device`) are captured as CUDA graphs
            once their shapes and addresses have come several times, and replayed from then on;
            predictions and rows of evidence are rounded up, so that shapes repeat in a block. A
            replay reads and writes where the captured run did, and leaves out what the CPU did
            then; ONNX Runtime refuses to open a graph of which more than the arithmetic of shapes
            would run there. Graphs belong to the thread that captured them and are freed with the
            session, so there are at most 32.
        threads: Threads inside one operator where a part runs on the CPU; None takes as many as
            help.
        check: Whether inputs of `run` are checked against the contract.

    Attributes:
        device: As given.

    Raises:
        OptionError: The number of threads is out of range.
        DependencyError: onnxruntime is not installed, or was built without the provider.
        EngineError: The provider or the graph does not load.
    """

    def __init__(
        self,
        graph: Path,
        manifest: Manifest,
        device: Device,
        *,
        cuda_graphs: bool = False,
        threads: int | None = None,
        check: bool = True,
    ) -> None:
        threads = check_threads(threads)
        self.device = device
        chosen = choose_threads(manifest.dims, threads)
        info = info_of(f"onnxruntime-{device.kind}", manifest)
        self._info = replace(
            info,
            threads=chosen,
            alignment=_KEYS_AT_ONCE,
            multiple=_KEYS_AT_ONCE,
            most_evidence=most_evidence(manifest.dims),
        )
        self._dims = manifest.dims
        self._check = check
        self._past_names = contract.kv_names("past", manifest.dims.layers)
        self._present_names = contract.kv_names("present", manifest.dims.layers)
        self._pool, self._parcel = Pool(device), Parcel(device)
        self._most_tokens = 0
        self._present: PresentMemory | None = None
        self._nothing = device.allocate((1,), "int64")
        self._blocks = KeptBlocks(device, self._info)
        self._graphs = _GraphIds() if cuda_graphs else None
        self._bound: OrderedDict[Hashable, Any] = OrderedDict()
        self._options: dict[tuple[int, bool], Any] = {}
        providers, options = _providers(device, cuda_graphs)
        self._session: Any = None
        try:
            self._session = open_session(
                self._info.name,
                graph,
                providers,
                options,
                data=graph.with_name(manifest.step.data),
                activations=manifest.activations,
                threads=chosen.count,
                spinning=chosen.spinning,
            )
        except EngineError as error:
            if not cuda_graphs:
                raise
            raise EngineError(f"{error}; if CUDA graphs are why, leave out cuda_graphs") from error

    def describe(self) -> EngineInfo:
        """Returns what this engine runs."""
        return self._info

    def nodes(self) -> dict[str, dict[str, int]]:
        """Counts the nodes of the graph by provider and operator; nothing on the CPU alone.

        Raises:
            EngineError: The engine is closed.
        """
        return nodes_by_provider(self._open_session())

    def kv_memory(self, tokens: int) -> KvMemory:
        """Returns memory for keys and values on the device; see `ResidentEngine`."""
        self._most_tokens = max(self._most_tokens, tokens)
        return self._blocks.take(tokens)

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the graph once, computing only the outputs that are wanted.

        Raises:
            EngineError: The inputs break the contract or are too large, ONNX Runtime failed, or it
                is closed.
        """
        if self._check:
            check_inputs(inputs, self._info)
        check_rows(inputs, self._info)
        check_volumes(self._info, self._dims, sizes_of(inputs))
        with exclusive(self):
            return self._run(self._open_session(), inputs)

    def _run(self, session: Any, inputs: StepInputs) -> StepOutputs:
        with translated(self._info.name, "run the graph"):
            binding = session.io_binding()
            for name, array in self._send(inputs).items():
                self._bind_input(binding, name, array)
            if not inputs.past:
                self._bind_no_past(binding, len(inputs.input_ids))
            found = self._bind_results(binding, inputs)
            present = self._bind_present(binding, inputs) if inputs.want_present else ()
            session.run_with_iobinding(binding, self._run_options(_NO_GRAPH))
        self.device.synchronize()
        kept: tuple[Any, ...] = present
        if not inputs.resident:
            kept = tuple(map(self._to_host, present))
        return StepOutputs(**found, present=kept)

    def run_on_device(self, inputs: StepInputs) -> DeviceOutputs:
        """Starts a run on the stream of the device; see `DeviceEngine`."""
        if self._check:
            check_inputs(inputs, self._info)
        check_rows(inputs, self._info)
        if self._graphs is not None:
            inputs = _rounded(inputs)
        check_volumes(self._info, self._dims, sizes_of(inputs))
        with exclusive(self):
            return self._run_on_device(self._open_session(), inputs)

    def _run_on_device(self, session: Any, inputs: StepInputs) -> DeviceOutputs:
        fed = self._send(inputs)
        outputs = self._device_outputs(inputs)
        bound = [*fed.items(), *self._named(outputs)]
        # What must be equal for two runs to be repeats of each other.
        key = tuple((name, array.pointer, array.shape) for name, array in bound)
        with translated(self._info.name, "run the graph"):
            if key not in self._bound:
                self._bound[key] = self._bind_step(session, fed, outputs)
            self._bound.move_to_end(key)
            while len(self._bound) > _MOST_BOUND:
                self._bound.popitem(last=False)
            # A graph belongs to the thread that captured it.
            repeat = (threading.get_ident(), key)
            number = _NO_GRAPH if self._graphs is None else self._graphs.number(repeat)
            session.run_with_iobinding(self._bound[key], self._run_options(number, wait=False))
        return outputs

    def _device_outputs(self, inputs: StepInputs) -> DeviceOutputs:
        """Where a run leaves what is wanted of it."""
        (batch, rows), evidence = inputs.logit_rows.shape, inputs.attention_rows.shape[1]
        shapes = {
            "confidence": (batch, rows),
            "attention": (batch, evidence, inputs.attention_mask.shape[-1]),
        }
        if inputs.want_logits:
            shapes["logits"] = (batch, rows, self._info.vocab_size)
        shapes.update(dict.fromkeys(inputs.measures, (batch, rows)))
        return DeviceOutputs(
            tokens=self._pool.get("tokens", (batch, rows), "int64"),
            **{name: self._pool.get(name, shape, "float32") for name, shape in shapes.items()},
            present=self._present_arrays(inputs) if inputs.want_present else (),
        )

    def _named(self, outputs: DeviceOutputs) -> Iterator[tuple[str, DeviceArray]]:
        """The outputs of a run by their names in the graph."""
        for name in ("tokens", "confidence", "attention", "logits", *contract.MEASURES):
            if (array := getattr(outputs, name)) is not None:
                yield name, array
        if outputs.present:
            yield from zip(self._present_names, outputs.present, strict=True)

    def close(self) -> None:
        """Frees the session and the device."""
        with exclusive(self):
            if self._session is not None:
                self._session = None
                self._bound.clear()
                self._blocks.close()
                self.device.close()

    def _open_session(self) -> Any:
        if self._session is None:
            raise EngineError(f"{self._info.name}: the engine is closed; open the artifact again")
        return self._session

    def _send(self, inputs: StepInputs) -> dict[str, DeviceArray]:
        """Returns the inputs of a step on the device; what is not there yet goes in one copy."""
        arrays = named_inputs(inputs, measures=self._info.measures, drafts=self._info.drafts)
        brought = {n: a for n, a in arrays.items() if not isinstance(a, DeviceArray)}
        self._parcel.lay_out({n: (a.shape, a.dtype.name) for n, a in brought.items()})
        for name, array in brought.items():
            self._parcel.on_host(name)[...] = array
        first, *_, last = brought
        self._parcel.send(first, last)
        placed: dict[str, Any] = {name: self._parcel.on_device(name) for name in brought}
        return {**arrays, **placed}

    def _to_host(self, array: DeviceArray) -> NDArray[Any]:
        if array.dtype == "bfloat16":
            raise EngineError(
                f"{self._info.name}: keys of bfloat16 cannot be NumPy arrays; keep them on the "
                "device (StepInputs.resident), or export at fp16"
            )
        target: NDArray[Any] = np.empty(array.shape, array.dtype)
        self.device.download(target, array)
        self.device.synchronize()
        return target

    def _bind_results(self, binding: Any, inputs: StepInputs) -> dict[str, NDArray[Any]]:
        """Binds what is read on the host to new arrays, which ONNX Runtime fills itself."""
        batch, rows = inputs.logit_rows.shape
        evidence, keys = inputs.attention_rows.shape[1], inputs.attention_mask.shape[-1]
        found: dict[str, NDArray[Any]] = {
            "tokens": np.empty((batch, rows), np.int64),
            "confidence": np.empty((batch, rows), np.float32),
            "attention": np.empty((batch, evidence, keys), np.float32),
        }
        if inputs.want_logits:
            found["logits"] = np.empty((batch, rows, self._info.vocab_size), np.float32)
        for name in inputs.measures:
            found[name] = np.empty((batch, rows), np.float32)
        for name, array in found.items():
            address = array.ctypes.data
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, address)
        return found

    def _bind_present(self, binding: Any, inputs: StepInputs) -> tuple[DeviceArray, ...]:
        """Binds keys and values to memory of the device."""
        arrays = self._present_arrays(inputs)
        for name, array in zip(self._present_names, arrays, strict=True):
            self._bind_output(binding, name, array)
        return arrays

    def _present_arrays(self, inputs: StepInputs) -> tuple[DeviceArray, ...]:
        """Memory of the device for keys and values of a run."""
        batch, fed = inputs.input_ids.shape
        # A full and a cached run may feed as many tokens together as `kv_memory` was made for.
        tokens = max(batch * fed, self._most_tokens)
        if self._present is None or self._present.tokens < tokens:
            self._present = None  # freed before more is asked for
            self._present = PresentMemory(self.device, self._info, tokens)
        return self._present.arrays(batch, fed, cached=bool(inputs.past))

    def _bind_step(self, session: Any, fed: dict[str, DeviceArray], outputs: DeviceOutputs) -> Any:
        binding = session.io_binding()
        for name, array in fed.items():
            self._bind_input(binding, name, array)
        if self._past_names[0] not in fed:
            self._bind_no_past(binding, fed["input_ids"].shape[0])
        for name, array in self._named(outputs):
            self._bind_output(binding, name, array)
        return binding

    def _bind_no_past(self, binding: Any, batch: int) -> None:
        """Without a cache the graph still wants arrays, of length 0."""
        info = self._info
        shape = (batch, info.kv_heads, 0, info.kv_width)
        empty = DeviceArray(self._nothing.pointer, shape, info.kv_dtype)
        for name in self._past_names:
            self._bind_input(binding, name, empty)

    def _bind_input(self, binding: Any, name: str, array: DeviceArray) -> None:
        binding.bind_input(name, *self._place(array))

    def _bind_output(self, binding: Any, name: str, array: DeviceArray) -> None:
        binding.bind_output(name, *self._place(array))

    def _place(self, array: DeviceArray) -> tuple[Any, ...]:
        """Where and what an array is, in the words of an IO binding."""
        kind = _BFLOAT16 if array.dtype == "bfloat16" else np.dtype(array.dtype).type
        return (self.device.kind, self.device.ordinal, kind, array.shape, array.pointer)

    def _run_options(self, graph: int, *, wait: bool = True) -> Any:
        """Options of a run.

        Args:
            graph: Number of the CUDA graph to capture or replay; negative for none.
            wait: Whether the run waits for the device before it returns.
        """
        if (graph, wait) not in self._options:
            options = import_onnxruntime().RunOptions()
            if self._graphs is not None:
                options.add_run_config_entry("gpu_graph_id", str(graph))
            if not wait:
                options.add_run_config_entry("disable_synchronize_execution_providers", "1")
            self._options[graph, wait] = options
        return self._options[graph, wait]


class _GraphIds:
    """Numbers for runs that are worth a CUDA graph: same shapes and addresses, several times."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Hashable, int] = OrderedDict()
        self._numbers: dict[Hashable, int] = {}

    def number(self, key: Hashable) -> int:
        """Returns the number of a run, negative as long as it is not worth a graph."""
        if key in self._numbers:
            return self._numbers[key]
        self._seen[key] = times = self._seen.pop(key, 0) + 1
        if len(self._seen) > _MOST_SEEN:
            self._seen.popitem(last=False)
        # ONNX Runtime never frees a graph, so their number is limited.
        if times < _GRAPH_FROM_RUN or len(self._numbers) == _MOST_GRAPHS:
            return _NO_GRAPH
        self._numbers[key] = 1 + len(self._numbers)
        return self._numbers[key]


def _rounded(inputs: StepInputs) -> StepInputs:
    """The same step with more predictions and rows of evidence, all of its first row."""

    def filled(rows: IntArray) -> IntArray:
        return np.pad(rows, ((0, 0), (0, -rows.shape[1] % _ROWS_AT_ONCE)))

    return replace(
        inputs,
        logit_rows=filled(inputs.logit_rows),
        attention_rows=filled(inputs.attention_rows),
    )


def open_cuda(
    artifact: Artifact, *, threads: int | None = None, cuda_graphs: bool = False
) -> OrtDeviceEngine:
    """Opens the graph of an artifact on the first GPU; see `OrtDeviceEngine`.

    Raises:
        EngineError: Products of the graph have no kernels for a GPU.
    """
    graph, manifest = artifact.graph(), artifact.manifest
    _check_operators(graph, manifest)
    device = CudaDevice()
    try:
        return OrtDeviceEngine(graph, manifest, device, cuda_graphs=cuda_graphs, threads=threads)
    except BaseException:
        device.close()
        raise


def _check_operators(graph: Path, manifest: Manifest) -> None:
    """Refuses a graph whose products the CPU would compute, before the GPU is touched."""
    operators = cpu_only_in(graph)
    if operators:
        made = "" if manifest.target is None else f" was made for {manifest.target} and"
        raise EngineError(
            f"onnxruntime-cuda: the artifact{made} multiplies {manifest.precision} with "
            f"{' and '.join(operators)}, for which CUDA has no kernel: the CPU would compute it, "
            "with copies there and back; use engine='onnxruntime-cpu', or export again with "
            "--target cuda"
        )


def _providers(device: Device, cuda_graphs: bool) -> tuple[list[str], list[dict[str, str]]]:
    """Providers for a device, the CPU last for operators of shapes, and their options."""
    if device.kind == "cpu":
        return [CPU_PROVIDER], [{}]
    options = {
        "device_id": str(device.ordinal),
        "user_compute_stream": str(device.stream),
        "enable_cuda_graph": str(int(cuda_graphs)),
        # float32 is the precision that others are checked against.
        "use_tf32": "0",
    }
    return [CUDA_PROVIDER, CPU_PROVIDER], [options, {}]
