"""Tensors and parts of them, read into memory that the next read uses again.

`Checkpoint.tensor` maps a file: pages that were looked at stay resident until the tensor is gone,
and nothing but the size of the tensor bounds them. Here plain reads put the bytes that were asked
for, and no others, into one buffer, so that what a pass over a checkpoint takes is known before.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch

from dawn_models.checkpoint import Checkpoint
from dawn_models.errors import WeightsError
from dawn_models.header import LENGTH_BYTES, read_header
from dawn_models.tensor_files import TensorInfo

TORCH_DTYPES: Mapping[str, torch.dtype] = {
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
"""Name of an element type in safetensors -> torch's type."""

_AHEAD = 256 * 2**20
"""Bytes that the system is asked to have ready beyond what was read: more than a large matrix, so
that the disk is busy while that one is worked on."""


@dataclass(frozen=True)
class _Place:
    """Where the values of one tensor are.

    Attributes:
        info: what they are.
        offset: of the first byte, in the file.
    """

    info: TensorInfo
    offset: int

    @property
    def dtype(self) -> torch.dtype:
        return TORCH_DTYPES[self.info.dtype]

    @property
    def row_bytes(self) -> int:
        """Bytes of one index of the first axis."""
        return torch.Size(self.info.shape[1:]).numel() * self.dtype.itemsize


class TensorReader:
    """Reads the tensors of a checkpoint into a buffer of its own; use it as a context manager.

    What `rows` returns is valid until the next call.

    Attributes:
        order: every parameter, in the order of shards and of bytes in them. Reading in this order
            reads every shard once, from its start to its end.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        files = sorted({info.file for info in checkpoint.tensors.values()})
        starts = {file: _data_offsets(file) for file in files}
        self._places = {
            parameter: _Place(info, starts[info.file][info.name])
            for parameter, info in checkpoint.tensors.items()
        }
        self.order = sorted(checkpoint.tensors, key=self._position)
        self._file: tuple[Path, int] | None = None
        self._asked = 0
        self._buffer = torch.empty(0, dtype=torch.uint8)

    def _position(self, parameter: str) -> tuple[Path, int]:
        place = self._places[parameter]
        return place.info.file, place.offset

    def __enter__(self) -> TensorReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def shape(self, parameter: str) -> tuple[int, ...]:
        """Dimensions of a tensor."""
        return self._places[parameter].info.shape

    def dtype(self, parameter: str) -> torch.dtype:
        """Element type, as stored."""
        return self._places[parameter].dtype

    def row_bytes(self, parameter: str) -> int:
        """Bytes of one index of the first axis, as stored."""
        return self._places[parameter].row_bytes

    def rows(self, parameter: str, first: int, last: int) -> torch.Tensor:
        """Read ``tensor[first:last]``, as stored; the next call overwrites it.

        Raises:
            WeightsError: the file has changed since its header was read, or cannot be read.
        """
        place = self._places[parameter]
        count = (last - first) * place.row_bytes
        if count > self._buffer.numel():
            self._buffer = torch.empty(0, dtype=torch.uint8)  # before the new one, not beside it
            self._buffer = torch.empty(count, dtype=torch.uint8)
        part = self._buffer[:count]
        descriptor, start = self._open(place.info.file), place.offset + first * place.row_bytes
        _read(place.info.file, descriptor, part, start)
        self._ask_ahead(descriptor, start + count)
        return part.view(place.dtype).view(last - first, *place.info.shape[1:])

    def _ask_ahead(self, descriptor: int, end: int) -> None:
        """Lets the system fetch what comes behind `end`, half of `_AHEAD` at a time."""
        if hasattr(os, "posix_fadvise") and self._asked - end < _AHEAD // 2:
            os.posix_fadvise(descriptor, end, _AHEAD, os.POSIX_FADV_WILLNEED)
            self._asked = end + _AHEAD

    def _open(self, path: Path) -> int:
        """Descriptor of a shard; the one that was open before is closed."""
        if self._file is None or self._file[0] != path:
            self._close()
            try:
                self._file, self._asked = (path, os.open(path, os.O_RDONLY)), 0
            except OSError as error:
                raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
        return self._file[1]

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file[1])
            self._file = None


def _data_offsets(path: Path) -> dict[str, int]:
    """Tensor -> place of its first byte; the header was checked when the checkpoint was opened."""
    try:
        header = read_header(path)
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}") from error
    header.pop("__metadata__", None)
    start = LENGTH_BYTES + length
    return {name: start + entry["data_offsets"][0] for name, entry in header.items()}


def _read(path: Path, descriptor: int, into: torch.Tensor, offset: int) -> None:
    """Fill `into`, uint8, with the bytes from `offset` on."""
    view = into.numpy().data
    done = 0
    while done < len(view):
        try:
            count = os.preadv(descriptor, [view[done:]], offset + done)
        except OSError as error:
            raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
        if not count:
            raise WeightsError(f"{path}: ends too early, it has changed meanwhile; export again")
        done += count
