"""Files of tensors: their names, shapes and types from the header, and errors in our words.

Files are memory-mapped by the safetensors library, which also checks their headers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from safetensors import SafetensorError, safe_open

from dawn_models.errors import WeightsError
from dawn_models.files import outside
from dawn_models.header import read_header

FLOAT_DTYPES = ("F32", "F16", "BF16")
"""Types of numbers that are read, as safetensors spells them."""


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies and what it is, without its values.

    Attributes:
        name: its name in the checkpoint.
        shape: its dimensions.
        dtype: ``F32``, ``F16``, ``BF16``, ... as safetensors spells it.
        file: the shard that holds it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    file: Path


def inside(folder: Path, name: str, named_by: Path) -> Path:
    """The file `name` of `folder`; a name from a file never leads out of its folder.

    Raises:
        WeightsError: it is no name of a safetensors file, or none that is there.
    """
    plain = len(PurePosixPath(name).parts) == 1 and len(PureWindowsPath(name).parts) == 1
    if not plain or name == ".." or not name.endswith(".safetensors"):
        raise WeightsError(
            f"{named_by}: shard {name!r:.100} is not the name of a .safetensors file in {folder}"
        )
    path = folder / name
    if not path.is_file():
        raise WeightsError(f"{named_by}: shard {name!r:.100} is not in {folder}; download it again")
    target = outside(path)
    if target is not None:
        raise WeightsError(f"{path}: links to {target}, outside its folder; copy the file")
    return path


def read_tensors(path: Path) -> Iterable[TensorInfo]:
    """Every tensor of a file, without its values.

    Raises:
        WeightsError: the header cannot be read.
    """
    translated(path, lambda: read_header(path))
    # Not "pt", which maps the shard private and writable: its whole size would count against limits
    # of data (RLIMIT_DATA, strict overcommit) although nothing of it is read.
    with mapped(path, "np") as shard:
        for name in shard.keys():  # noqa: SIM118 - not a mapping: safetensors has no iteration
            view = shard.get_slice(name)
            yield TensorInfo(name, tuple(view.get_shape()), str(view.get_dtype()), path)


def mapped(path: Path, framework: str) -> Any:
    """The file as the safetensors library opens it, for a framework of its own naming."""
    return translated(path, lambda: safe_open(path, framework=framework))


def translated(path: Path, read: Callable[[], Any]) -> Any:
    """The one place where the errors of the safetensors library become ours."""
    try:
        return read()
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path}: not readable as safetensors: {reason:.300}") from error


def and_more(names: Sequence[str]) -> str:
    """How many follow the first of some names, for messages."""
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def check_tensor(info: TensorInfo, expected: tuple[int, ...], said_by: str = "config.json") -> None:
    """Refuse a tensor of another shape, or of numbers that are not read.

    Args:
        info: the tensor.
        expected: its shape.
        said_by: the file that the shape follows from.

    Raises:
        WeightsError: it is one.
    """
    if info.shape != expected:
        raise WeightsError(
            f"{info.file}: tensor {info.name!r:.100} has shape {list(info.shape)!s:.100}, "
            f"{said_by} asks for {list(expected)}"
        )
    if info.dtype not in FLOAT_DTYPES:
        raise WeightsError(
            f"{info.file}: tensor {info.name!r:.100} is {info.dtype}, "
            f"expected one of {', '.join(FLOAT_DTYPES)}"
        )
