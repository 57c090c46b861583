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


if __name__ == "__main__":
    main()
