"""A `Device` whose kernels run as on a GPU: a thread is a thread, a barrier holds the whole block.

They run in a process of their own, which can be built with a sanitizer and looks at the same
memory. What it finds wrong is on its standard error.
"""

import ctypes
import mmap
import selectors
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from dawn_runtime.cuda import KERNELS, Argument, DeviceArray
from dawn_runtime.cuda.arrays import aligned
from dawn_runtime.cuda.kernels import source
from support.host_device import SHIM, HostDevice

SANITIZERS = {"none": (), "thread": ("thread",), "address": ("address", "undefined")}
"""Name of a build -> what is asked of the compiler."""

_BYTES = 1 << 26
_GAP = 256
"""Bytes between two allocations, which nothing may touch."""

_HINT = 0x7E9000000000
"""An address that programs have free, with a sanitizer and without."""

_PATIENCE_SECONDS = 60.0


class EmulationError(AssertionError):
    """A kernel did what no kernel may do."""


def write_kernels(folder: Path) -> None:
    """Writes the kernels and `kernels.inc`, which includes them and lists them as KERNEL(name)."""
    files = sorted(set(KERNELS.values()))
    for name in files:
        (folder / f"{name}.cu").write_bytes(source(name))
    includes = [f'#include "{name}.cu"' for name in files]
    listed = " ".join(f"KERNEL({name})" for name in KERNELS)
    (folder / "kernels.inc").write_text("\n".join([*includes, f"#define KERNELS {listed}", ""]))


def build_emulator(folder: Path, sanitizer: str) -> Path:
    """Compiles the kernels into a program.

    Args:
        folder: Where to.
        sanitizer: A key of `SANITIZERS`.
    """
    write_kernels(folder)
    program = folder / f"emulator-{sanitizer}"
    flags = [f"-fsanitize={one}" for one in SANITIZERS[sanitizer]]
    flags += ["-g", "-O1", "-std=c++17", "-ffp-contract=off", "-pthread", "-Werror"]
    text = SHIM.with_name("emulator.cpp")
    command = ["g++", *flags, f"-I{folder}", f"-I{text.parent}", str(text), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@dataclass(frozen=True)
class _Memory:
    """Memory that two processes see at the same address."""

    file: IO[bytes]
    address: int

    @classmethod
    def make(cls) -> "_Memory":
        file = tempfile.NamedTemporaryFile()  # noqa: SIM115 - it lives as long as this
        file.truncate(_BYTES)
        library = ctypes.CDLL(None, use_errno=True)
        library.mmap.restype = ctypes.c_void_p
        arguments = (mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, file.fileno())
        size, offset = ctypes.c_size_t(_BYTES), ctypes.c_long(0)
        address = library.mmap(ctypes.c_void_p(_HINT), size, *arguments, offset)
        assert address != ctypes.c_void_p(-1).value, ctypes.get_errno()
        return cls(file, address)

    def free(self) -> None:
        ctypes.CDLL(None).munmap(ctypes.c_void_p(self.address), ctypes.c_size_t(_BYTES))
        self.file.close()


class EmulatedDevice(HostDevice):
    """Runs kernels by a program of `build_emulator`.

    Args:
        program: The program.
        threads: Threads of a block, whatever a launch asks for.
        left_out: Number of a barrier that holds nobody.
        patience: Seconds that a launch may take.

    Attributes:
        barriers: Barriers in the source of the kernels.
    """

    def __init__(
        self,
        program: Path,
        threads: int,
        *,
        left_out: int = -1,
        patience: float = _PATIENCE_SECONDS,
    ) -> None:
        super().__init__({})
        self._threads, self._patience = threads, patience
        self._memory = _Memory.make()
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        place = (self._memory.file.name, f"{_BYTES:x}", f"{self._memory.address:x}")
        self._process = subprocess.Popen(
            [str(program), *place, str(left_out)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={
                "TSAN_OPTIONS": "halt_on_error=1 exitcode=66",
                "ASAN_OPTIONS": "detect_leaks=0",
                "UBSAN_OPTIONS": "halt_on_error=1",
            },
        )
        self.barriers = int(self._answer())
        self.reset()

    def reset(self) -> None:
        """Frees all memory, which is garbage from here on."""
        self._used = 0
        ctypes.memset(self._memory.address, 0xCD, _BYTES // 64)
        self._ask("reset")

    def allocate(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        size = DeviceArray(0, shape, dtype).nbytes
        address = self._memory.address + self._used
        self._used += aligned(size) + _GAP
        assert self._used <= _BYTES, "the emulated device is full; reset it between cases"
        self._ask(f"allow {address:x} {size:x}")
        ctypes.memset(address, 0, size)
        return DeviceArray(address, shape, dtype, self._memory)

    def launch(
        self, kernel: str, grid: tuple[int, int], threads: int, arguments: tuple[Argument, ...]
    ) -> None:
        self.launched.append(kernel)
        bits = " ".join(f"{_bits(argument):x}" for argument in arguments)
        self._ask(f"run {kernel} {grid[0]:x} {grid[1]:x} {self._threads:x} {bits}")

    def close(self) -> None:
        """Ends the process.

        Raises:
            EmulationError: Something was wrong.
        """
        self._process.communicate()
        self._errors.seek(0)
        said = self._errors.read()
        self._errors.close()
        self._memory.free()
        if said or self._process.returncode:
            raise EmulationError(f"status {self._process.returncode}: {said:.2000}")

    def _ask(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise EmulationError("the process has ended") from error
        if self._answer() != "done\n":
            raise EmulationError("the process has ended")

    def _answer(self) -> str:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(self._patience):
                self._process.kill()
                raise EmulationError(f"a launch took longer than {self._patience} s")
        return self._process.stdout.readline()


def _bits(argument: Argument) -> int:
    """The bits of an argument as a number."""
    if isinstance(argument, DeviceArray):
        return argument.pointer
    packed = argument.tobytes().ljust(8, b"\0")
    (number,) = struct.unpack("<Q", packed)
    return int(number)
