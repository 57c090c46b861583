"""What the CUDA driver says of the machine's GPUs.

libcuda.so.1 comes with every driver, on Jetson too, where nvidia-smi knows neither memory nor
compute capability. `python -m dawn_runtime.machine.driver` asks it in a process of its own and
prints one JSON object. Functions and numbers of attributes: CUDA Driver API, cuda.h.
"""

import ctypes
import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from dawn_runtime.errors import EngineError
from dawn_runtime.machine.isolated import ask

LIBRARY: Final = "libcuda.so.1"
_INTEGRATED, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 18, 75, 76


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        name: Such as `NVIDIA H100`.
        capability: Compute capability (SM), such as (9, 0).
        integrated: Whether it shares its memory with the CPU, as on Jetson.
        free_bytes: Memory that is free.
        total_bytes: Memory there is.
    """

    name: str
    capability: tuple[int, int]
    integrated: bool
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Cuda:
    """The driver and its GPUs.

    Attributes:
        version: Newest CUDA that the driver runs, such as (12, 6); None without a driver.
        gpus: What it found.
        reason: Why there is no driver or no GPU, or empty.
    """

    version: tuple[int, int] | None = None
    gpus: tuple[Gpu, ...] = ()
    reason: str = ""


def read_cuda() -> Cuda:
    """Asks the driver of this machine."""
    answer = ask("dawn_runtime.machine.driver")
    if not answer.document:
        return Cuda(reason=answer.log.splitlines()[-1] if answer.log else "the driver said nothing")
    return parse_cuda(answer.document)


def parse_cuda(document: dict[str, Any]) -> Cuda:
    """Reads what `python -m dawn_runtime.machine.driver` printed."""
    version = document["version"]
    gpus = [Gpu(**{**gpu, "capability": tuple(gpu["capability"])}) for gpu in document["gpus"]]
    return Cuda(None if version is None else tuple(version), tuple(gpus), document["reason"])


def query(driver: Any) -> Cuda:
    """Asks a driver.

    Args:
        driver: The library libcuda, loaded.
    """
    version, count = ctypes.c_int(), ctypes.c_int()
    try:
        _call(driver, "cuDriverGetVersion", ctypes.byref(version))
        # 12060 is CUDA 12.6.
        known = (version.value // 1000, version.value % 1000 // 10)
        _call(driver, "cuInit", 0)
        _call(driver, "cuDeviceGetCount", ctypes.byref(count))
        return Cuda(known, tuple(_gpu(driver, i) for i in range(count.value)))
    except EngineError as error:
        return Cuda((version.value // 1000, version.value % 1000 // 10), (), str(error))


def _gpu(driver: Any, ordinal: int) -> Gpu:
    device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    _call(driver, "cuDeviceGet", ctypes.byref(device), ordinal)
    _call(driver, "cuDeviceGetName", name, len(name), device)
    free, total = _memory(driver, device)
    return Gpu(
        name=name.value.decode("utf-8", errors="replace"),
        capability=(
            _attribute(driver, _CAPABILITY_MAJOR, device),
            _attribute(driver, _CAPABILITY_MINOR, device),
        ),
        integrated=bool(_attribute(driver, _INTEGRATED, device)),
        free_bytes=free,
        total_bytes=total,
    )


def _attribute(driver: Any, number: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    _call(driver, "cuDeviceGetAttribute", ctypes.byref(value), number, device)
    return value.value


def _memory(driver: Any, device: ctypes.c_int) -> tuple[int, int]:
    """Free and total bytes; only a context knows what is free."""
    context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    _call(driver, "cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    try:
        _call(driver, "cuCtxSetCurrent", context)
        _call(driver, "cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
    finally:
        _call(driver, "cuDevicePrimaryCtxRelease_v2", device)
    return free.value, total.value


def _call(driver: Any, name: str, *arguments: Any) -> None:
    status = getattr(driver, name)(*arguments)
    if status:
        raise EngineError(f"{LIBRARY}: {name} fails with CUresult {status}; check the driver")


def main() -> None:
    """Prints what the driver of this machine says."""
    try:
        found = query(ctypes.CDLL(LIBRARY))
    except OSError as error:
        found = Cuda(reason=str(error))
    print(json.dumps(asdict(found)))


PRECISION_SINCE: Final = {
    "fp16": (7, 0),
    "int8": (7, 2),
    "bf16": (8, 0),
    "fp8": (8, 9),
    "fp4": (10, 0),
}
"""Precision -> first compute capability whose matrix units multiply in it.

Source of FP8 (8.9: yes; 8.6: no) and of FP4 (12.0: yes; 8.9: no): "Hardware and Precision" of the
TensorRT-RTX support matrix. FP4 from 10.0 and the rows of 7.0 to 8.0 are what the CUDA programming
guide is known to say and were not looked up. 8.7 is Orin, 9.0 Hopper, 11.0 Thor (10.1 to DRIVE OS
and CUDA 12), 12.0 RTX 50."""


def precisions(capability: tuple[int, int]) -> tuple[str, ...]:
    """Returns the precisions below float32 that a compute capability has matrix units for."""
    return tuple(name for name, since in PRECISION_SINCE.items() if capability >= since)


if __name__ == "__main__":
    main()
