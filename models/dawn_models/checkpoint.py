"""Lazy reading of sharded safetensors: nothing is in memory until a tensor is asked for.

A checkpoint is ``model.safetensors``, or ``model.safetensors.index.json`` and the shards it
names: see `dawn_models.weight_files`. Files are memory-mapped by the safetensors library, which
also checks their headers. Only safetensors are read: pickles run code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from dawn_models.adapter import read_adapter, read_factors
from dawn_models.anatomy import parameter_shapes
from dawn_models.config import ModelConfig
from dawn_models.errors import ConfigError, WeightsError
from dawn_models.families import describe
from dawn_models.families.family import Family
from dawn_models.families.told import NOTHING, Told
from dawn_models.fields import MAX_CONFIG_BYTES, Fields, read_json
from dawn_models.files import present
from dawn_models.hints import hint
from dawn_models.tensor_files import (
    TensorInfo,
    and_more,
    check_tensor,
    inside,
    mapped,
    read_tensors,
    translated,
)
from dawn_models.weight_files import INDEX_FILE, SINGLE_FILE, note_others, weight_file

MAX_INDEX_BYTES = 4 * 2**20
"""Largest index, of some 40,000 tensors; an 8B model's has 30 KiB."""

_STATED_DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_COMPARED_ROWS = 2048
"""Rows of two matrices that are in memory while they are compared."""


class Checkpoint:
    """The weights of one checkpoint folder, by the parameter names of our transformer.

    Use `Checkpoint.open`. Every tensor is read when asked for and not kept.

    Attributes:
        folder: where it lies.
        family: the family that reads it.
        config: its geometry.
        tensors: parameter of our transformer -> where its tensor lies.
        notes: a line for everything that was found and not followed.
        spare_head: a head in the files although the embedding is the head; see `check_head`.
        mask_source: where the id of the mask was found.
    """

    def __init__(
        self,
        folder: Path,
        family: Family,
        config: ModelConfig,
        tensors: Mapping[str, TensorInfo],
        notes: tuple[str, ...] = (),
        spare_head: TensorInfo | None = None,
        mask_source: str = "",
    ) -> None:
        self.folder = folder
        self.family = family
        self.config = config
        self.tensors = tensors
        self.notes = notes
        self.spare_head = spare_head
        self.mask_source = mask_source

    @classmethod
    def open(cls, folder: str | Path, told: Told = NOTHING) -> Checkpoint:
        """Read configuration and headers of a checkpoint and check every name and shape.

        Args:
            folder: Where it lies.
            told: What the user says of it.

        Raises:
            ConfigError: config.json is missing, malformed or not implemented.
            WeightsError: a shard or tensor is missing, unexpected, mis-shaped or unsafe.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise ConfigError(
                f"{folder}: no such folder; expected a Hugging Face checkpoint folder"
            )
        if (folder / "snapshots").is_dir() and not (folder / "config.json").exists():
            raise ConfigError(
                f"{folder}: a model's folder in the Hugging Face cache; give the checkpoint, "
                "snapshots/COMMIT in it"
            )
        notes: list[str] = []
        described = describe(folder, notes, told)
        family = described.family
        found = _read_headers(folder, notes)
        config = family.settle(described.config, described.fields, found)
        tensors = _match(folder, family, config, found)
        config, adapter = _adapted(folder, family, config, told, notes)
        _note_dtype(folder, tensors, notes)
        head = found.get(family.weight_names["head.weight"]) if config.tied_head else None
        source = described.mask_source
        tensors |= adapter
        return cls(folder, family, config, tensors, tuple(notes), head, source)

    def check_head(self) -> None:
        """Refuse a head that is not the embedding where the configuration says that it is.

        transformers 4 forgets such a head, transformers 5 uses it. Both matrices are read for it,
        some rows at a time.

        Raises:
            WeightsError: they differ, or cannot be read.
        """
        head, embedding = self.spare_head, self.tensors["embedding.weight"]
        if head is None:
            return
        check_tensor(head, embedding.shape)
        if not _equal(head, embedding):
            raise WeightsError(
                f"{head.file}: tensor {head.name!r} differs from {embedding.name!r}, but "
                "config.json says they are one (tie_word_embeddings, LLaDA: weight_tying); set "
                "that to false, or remove the tensor"
            )

    def tensor(self, parameter: str) -> torch.Tensor:
        """Read one tensor, as stored (dtype and layout of the checkpoint).

        Raises:
            KeyError: not a parameter of this model.
            WeightsError: the file changed or cannot be read.
        """
        info = self.tensors[parameter]
        with mapped(info.file, "pt") as shard:  # NumPy has no bfloat16
            tensor: torch.Tensor = translated(info.file, lambda: shard.get_tensor(info.name))
        return tensor

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Every parameter and its tensor, one at a time, shard by shard."""
        for parameter in sorted(self.tensors, key=lambda p: (self.tensors[p].file, p)):
            yield parameter, self.tensor(parameter)


def _read_headers(folder: Path, notes: list[str]) -> dict[str, TensorInfo]:
    path = weight_file(folder)
    if path.name == SINGLE_FILE:
        found = {info.name: info for info in read_tensors(inside(folder, SINGLE_FILE, path))}
        read = {SINGLE_FILE, *([INDEX_FILE] if _says_the_same(folder) else [])}
    else:
        found = _read_indexed(folder, path)
        read = {INDEX_FILE, *(info.file.name for info in found.values())}
    notes += note_others(folder, read)
    return found


def _says_the_same(folder: Path) -> bool:
    """Whether an index beside the single file names that file alone."""
    try:
        return set(_weight_map(folder / INDEX_FILE).values()) == {SINGLE_FILE}
    except ConfigError:  # there is none, or nobody can read it
        return False


def _read_indexed(folder: Path, index: Path) -> dict[str, TensorInfo]:
    weight_map = _weight_map(index)
    found: dict[str, TensorInfo] = {}
    for shard in sorted(set(weight_map.values())):
        for info in read_tensors(inside(folder, shard, index)):
            if info.name in found:
                other = found[info.name].file.name
                raise WeightsError(f"{info.file}: tensor {info.name!r:.100} is also in {other}")
            found[info.name] = info
    for name, shard in weight_map.items():
        if name not in found or found[name].file.name != shard:
            raise WeightsError(
                f"{index}: field 'weight_map': {name!r:.100} is not in {shard!r:.100}"
            )
    return found


def _weight_map(index: Path) -> dict[str, str]:
    fields = Fields(read_json(index, limit=MAX_INDEX_BYTES), index)
    value = fields.values.get("weight_map")
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise fields.error("weight_map", value, "an object of tensor names to file names")
    return value


def _match(
    folder: Path, family: Family, config: ModelConfig, found: Mapping[str, TensorInfo]
) -> dict[str, TensorInfo]:
    names = family.tensor_names(config)
    expected = set(names.values())
    missing = sorted(expected - set(found))
    advice = hint(found, expected, missing)
    if missing:
        raise WeightsError(
            f"{folder}: tensor {missing[0]!r:.100} is missing{and_more(missing)}{advice}"
        )
    unexpected = sorted(
        name for name in set(found) - expected if not _ignored(family, config, name)
    )
    if unexpected:
        raise WeightsError(
            f"{found[unexpected[0]].file}: unexpected tensor {unexpected[0]!r:.100}"
            f"{and_more(unexpected)}; config.json describes a {family.name} model without it"
            f"{advice}"
        )
    shapes = parameter_shapes(config)
    for parameter, name in names.items():
        check_tensor(found[name], shapes[parameter])
    return {parameter: found[name] for parameter, name in names.items()}


def _ignored(family: Family, config: ModelConfig, name: str) -> bool:
    if config.tied_head and name == family.weight_names["head.weight"]:
        return True
    return family.ignored is not None and family.ignored.fullmatch(name) is not None


def _equal(first: TensorInfo, second: TensorInfo) -> bool:
    """Whether two matrices of one shape hold the same numbers."""
    with mapped(first.file, "pt") as one, mapped(second.file, "pt") as other:
        views = one.get_slice(first.name), other.get_slice(second.name)
        for row in range(0, first.shape[0], _COMPARED_ROWS):
            ours, theirs = (view[row : row + _COMPARED_ROWS].float() for view in views)
            if not torch.equal(ours, theirs):
                return False
    return True


def _adapted(
    folder: Path, family: Family, config: ModelConfig, told: Told, notes: list[str]
) -> tuple[ModelConfig, dict[str, TensorInfo]]:
    """The model with the adapter for drafts that lies beside it, if any; where its tensors lie."""
    name = family.draft_folder
    if told.no_draft_adapter or not name:
        return config, {}
    place = folder / name
    if not present(place):
        notes.append(
            f"{name}: the adapter for drafts, which instruct models have, is not there; drafts "
            "come from the weights themselves, which changes no text and may take more runs"
        )
        return config, {}
    adapted = replace(config, draft=read_adapter(place))
    shapes, names = parameter_shapes(adapted), family.tensor_names(adapted)
    plain = parameter_shapes(config)
    own = {parameter: name for parameter, name in names.items() if parameter not in plain}
    return adapted, read_factors(place, own, shapes)


def _note_dtype(folder: Path, tensors: Mapping[str, TensorInfo], notes: list[str]) -> None:
    """Say so where the configuration asks for another type of numbers than the files hold."""
    values = read_json(folder / "config.json", limit=MAX_CONFIG_BYTES)
    stated = values.get("dtype") or values.get("torch_dtype")
    wanted = _STATED_DTYPES.get(stated.removeprefix("torch.")) if isinstance(stated, str) else None
    stored = sorted({info.dtype for info in tensors.values()})
    if wanted is not None and wanted not in stored:
        notes.append(
            f"config.json: torch_dtype is {stated}, the weights are stored as {', '.join(stored)} "
            "and exported from that, not rounded in between"
        )
