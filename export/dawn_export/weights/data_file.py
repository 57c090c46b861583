"""The external data file: blocks are appended, and hashed and written by threads of its own.

Hashing takes more than half a second a gigabyte and writing one to two; both run while the next
block is read and converted, so they cost little time where there are other cores, and the file need
not be read again to know its SHA-256.
"""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import torch

from dawn_export.errors import OutputError
from dawn_runtime.manifest_records import FileEntry

ALIGNMENT = 64
"""Bytes that the place of every weight is a multiple of: a cache line, a vector of AVX-512."""

_WAITING = 1
"""Blocks that may be with the threads while the next is made; more would only hold memory."""


class DataFile:
    """Grows by blocks; use it as a context manager.

    Attributes:
        path: Where it is.
        size: Bytes given to it so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._digest = hashlib.sha256()
        self._waiting: deque[tuple[Future[None], Future[None]]] = deque()
        # One thread for each: blocks stay in their order.
        self._hashing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="hashing")
        self._writing = ThreadPoolExecutor(max_workers=1, thread_name_prefix="writing")
        self._file = path.open("wb", buffering=0)

    def __enter__(self) -> DataFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for pool in (self._hashing, self._writing):
            pool.shutdown(cancel_futures=error is not None)
        self._file.close()

    def append(self, block: torch.Tensor) -> None:
        """Adds the bytes of a contiguous block, which must not change any more.

        Raises:
            OutputError: An earlier block could not be written.
        """
        content = block.flatten().view(torch.uint8).numpy().data
        self.size += len(content)
        hashed = self._hashing.submit(self._digest.update, content)
        self._waiting.append((hashed, self._writing.submit(self._write, content)))
        self._wait(_WAITING)

    def align(self) -> int:
        """Fills up with zeros to a multiple of `ALIGNMENT`; returns the size then.

        Raises:
            OutputError: An earlier block could not be written.
        """
        missing = -self.size % ALIGNMENT
        if missing:
            self.append(torch.zeros(missing, dtype=torch.uint8))
        return self.size

    def finish(self) -> FileEntry:
        """Waits for the last block; returns size and hash of the file.

        Raises:
            OutputError: A block could not be written.
        """
        self._wait(0)
        return FileEntry(self.size, self._digest.hexdigest())

    def _wait(self, remaining: int) -> None:
        """Waits until so many blocks are left; raises what happened to one."""
        while len(self._waiting) > remaining:
            for future in self._waiting.popleft():
                future.result()

    def _write(self, content: memoryview) -> None:
        try:
            while content:
                content = content[self._file.write(content) :]
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error
