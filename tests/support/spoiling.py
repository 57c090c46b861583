"""Ways to spoil a checkpoint: each changes the folder of a sound one in one respect."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from support.checkpoints import write_index

NORM, QUERY = "model.norm.weight", "model.layers.0.self_attn.q_proj.weight"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FIRST_SHARD = "model-00001-of-00002.safetensors"
SECOND_SHARD = "model-00002-of-00002.safetensors"

Spoil = Callable[[Path], object]


# Ways to spoil the weights


def parts(folder: Path, name: str = WEIGHTS) -> tuple[dict[str, Any], bytes]:
    """Header and values of a safetensors file."""
    content = (folder / name).read_bytes()
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def write_raw(folder: Path, header: bytes, values: bytes, length: int | None = None) -> None:
    """Write a safetensors file as it comes, its length field as given."""
    size = len(header) if length is None else length
    (folder / WEIGHTS).write_bytes(size.to_bytes(8, "little") + header + values)


def header(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Change the header and leave the values."""

    def spoil(folder: Path) -> None:
        entries, values = parts(folder)
        change(entries)
        write_raw(folder, json.dumps(entries).encode(), values)

    return spoil


def entry(**changes: Any) -> Spoil:
    """Change the entry of one tensor."""
    return header(lambda entries: entries[NORM].update(changes))


def raw(content: bytes, length: int | None = None) -> Spoil:
    """A header of these bytes."""
    return lambda folder: write_raw(folder, content, parts(folder)[1], length)


def shift(by: int) -> Spoil:
    """Move one tensor without moving the others: a hole or an overlap."""

    def change(entries: dict[str, Any]) -> None:
        begin, end = entries[NORM]["data_offsets"]
        entries[NORM]["data_offsets"] = [begin + by, end + by]

    return header(change)


def repeat_name(folder: Path) -> None:
    """Name one tensor twice; most JSON readers take the second."""
    entries, values = parts(folder)
    text = json.dumps(entries)
    again = json.dumps({NORM: entries[NORM]})[1:-1]
    write_raw(folder, f"{text[:-1]}, {again}}}".encode(), values)


def tensor(change: Callable[[dict[str, torch.Tensor]], object]) -> Spoil:
    """Change the tensors and save them in the proper way."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return spoil


def value(number: float) -> Spoil:
    """Put one number into one weight."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[QUERY][3, 5] = number

    return tensor(change)


def retype(dtype: torch.dtype) -> Spoil:
    """Save one weight in another type."""

    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[NORM] = tensors[NORM].to(dtype)

    return tensor(change)


def as_pickle(name: str) -> Spoil:
    """Only a pickle is there."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        (folder / WEIGHTS).unlink()
        torch.save(tensors, folder / name)

    return spoil


# Ways to spoil the folder


def instead(name: str, make: Callable[[Path], object]) -> Spoil:
    """Put something else where a file was."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return spoil


def moved_out(name: str) -> Spoil:
    """Leave a link to a file that lies beside the folder."""

    def spoil(folder: Path) -> None:
        target = folder.with_name(f"{folder.name}-{name}")
        (folder / name).rename(target)
        (folder / name).symlink_to(target)

    return spoil


def text(name: str, content: str | bytes) -> Spoil:
    """Write a file."""
    data = content.encode() if isinstance(content, str) else content
    return instead(name, lambda path: path.write_bytes(data))


def config(**changes: Any) -> Spoil:
    """Change fields of config.json; a change to `...` removes one."""

    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))

    return spoil


def config_text(old: str, new: str) -> Spoil:
    """Replace characters of config.json."""

    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        content = path.read_text()
        if old not in content:
            raise ValueError(f"config.json has no {old}")
        path.write_text(content.replace(old, new))

    return spoil


def shard_named(name: str) -> Spoil:
    """Let the index name another file for one tensor."""

    def spoil(folder: Path) -> None:
        weight_map = json.loads((folder / INDEX).read_text())["weight_map"]
        write_index(folder, weight_map | {NORM: name})

    return spoil


def repeat_in_index(folder: Path) -> None:
    """Give one tensor two shards."""
    path = folder / INDEX
    path.write_text(path.read_text().replace('"weight_map": {', f'"weight_map": {{"{NORM}": "x", '))


def weight_map(value: object) -> Spoil:
    """Replace the table of the index."""
    return lambda folder: write_index(folder, value)


def circle(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path.name)
