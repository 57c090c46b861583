"""A CUDA driver over host memory under the real cuda-python; see stub_driver.cpp.

It must be there before cuda-python is imported, so whoever uses it is a process of its own.
"""

import ctypes
import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from dawn_runtime.cuda import KERNELS, cubin
from support.emulated_device import write_kernels
from support.host_device import SHIM

CAPABILITY: Final = (8, 7)
KINDS: Final = ("memory", "pinned", "stream", "event", "graph", "executable", "context", "module")
"""What a program can forget to give up."""

_MOST_PROBLEMS: Final = 20_000
_Callback = ctypes.CFUNCTYPE(None, ctypes.c_long)


def build_driver(folder: Path) -> dict[str, str]:
    """Compiles the driver, and the kernels that it is to load.

    NVRTC looks for a driver too, and does not bear this one, so it works before.

    Args:
        folder: Where to; empty.

    Returns:
        The environment of a process that finds both.
    """
    write_kernels(folder)
    text = SHIM.with_name("stub_driver.cpp")
    flags = ["-O1", "-g", "-std=c++17", "-ffp-contract=off", "-Werror"]
    flags += ["-shared", "-fPIC", "-pthread", f"-I{folder}", f"-I{text.parent}"]
    command = ["g++", *flags, str(text), "-o", str(folder / "libcuda.so.1")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for file in sorted(set(KERNELS.values())):
        cubin(file, CAPABILITY, folder)
    return {**os.environ, "LD_LIBRARY_PATH": str(folder), "DAWN_CACHE_DIR": str(folder)}


class StubDriver:
    """The driver of this process, as the tests see it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libcuda.so.1")
        self._kept: list[Any] = []
        self._works: dict[int, Callable[[], None]] = {}
        self._numbers = itertools.count()
        self._run = _Callback(lambda number: self._works[number]())

    def enqueue(self, stream: int, work: Callable[[], None]) -> None:
        """Puts work of an engine on a stream; it is done as late as can be."""
        number = next(self._numbers)
        self._works[number] = work  # a graph may repeat it at any time
        self._library.stub_enqueue(ctypes.c_void_p(stream), self._run, ctypes.c_long(number))

    def capturing(self, stream: int) -> bool:
        """Whether a graph is captured on a stream."""
        return bool(self._library.stub_capturing(ctypes.c_void_p(stream)))

    def live(self) -> dict[str, int]:
        """What was made and is not given up, by kind; nothing where all is."""
        counts = {kind: self._library.stub_live(kind.encode()) for kind in KINDS}
        return {kind: count for kind, count in counts.items() if count}

    def calls(self, name: str) -> int:
        """How often a function was called."""
        return int(self._library.stub_calls(name.encode()))

    def problems(self) -> list[str]:
        """What was done that no program may do, each once."""
        text = ctypes.create_string_buffer(_MOST_PROBLEMS)
        self._library.stub_problems(text, ctypes.c_long(_MOST_PROBLEMS - 1))
        return sorted(set(text.value.decode().splitlines()))
