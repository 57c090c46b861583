"""An adapter for drafts beside a checkpoint: LoRA on o_proj as peft writes it, read strictly.

    o_proj(x)  ->  o_proj(x) + scale * B A x    where a draft is made, scale = lora_alpha / r

The folder holds ``adapter_config.json`` and ``adapter_model.safetensors``. Whatever peft can do
beyond that sum is refused: it would give other drafts than the authors' code does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dawn_models.config import DraftAdapter
from dawn_models.errors import CheckpointError, WeightsError
from dawn_models.fields import MAX_CONFIG_BYTES, Fields, read_json
from dawn_models.files import outside, present
from dawn_models.tensor_files import TensorInfo, and_more, check_tensor, inside, read_tensors

CONFIG_FILE: Final = "adapter_config.json"
WEIGHTS_FILE: Final = "adapter_model.safetensors"
ADAPTER_FILES: Final = (CONFIG_FILE, WEIGHTS_FILE)

_MAX_RANK: Final = 2**14
_SCALES: Final = (2.0**-10, 2.0**10)
"""Least and largest scale: far from the ends of float16, in which it is multiplied."""

_REQUIRED: Final[Mapping[str, tuple[object, ...]]] = {
    "peft_type": ("LORA",),
    "target_modules": (["o_proj"], ["self_attn.o_proj"]),
    "bias": ("none", None),
    "fan_in_fan_out": (False, None),
    # Other ways to begin change the weights that the adapter stands beside.
    "init_lora_weights": (True, False, "gaussian", None),
}
"""Field -> the only values implemented; null stands for a field that is not there."""

_HARMLESS: Final = frozenset(
    (
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "lora_dropout"),
        *("megatron_core", "peft_version", "qalora_group_size", "revision", "task_type"),
        *("lora_alpha", "r"),
    )
)
"""Fields that change nothing where no other switch is on, and the two that are read."""


def read_adapter(folder: Path) -> DraftAdapter:
    """Read ``adapter_config.json`` of an adapter's folder.

    Raises:
        ConfigError: it cannot be read, or asks for more than is implemented.
        WeightsError: the folder lies elsewhere.
    """
    with _advised():
        target = outside(folder)
        if target is not None:
            raise WeightsError(f"{folder}: links to {target}, outside its folder; copy it")
        path = folder / CONFIG_FILE
        fields = Fields(read_json(path, limit=MAX_CONFIG_BYTES), path)
        for name, allowed in _REQUIRED.items():
            fields.require(name, *allowed)
        for name, value in fields.values.items():
            known = name in _REQUIRED or name in _HARMLESS
            if not known and not (value is None or value is False or value in ([], {})):
                raise fields.error(
                    name, value, "LoRA without it, which alone is implemented (null or false)"
                )
        rank = fields.integer("r", minimum=1, maximum=_MAX_RANK)
        alpha = fields.positive("lora_alpha")
        least, largest = _SCALES
        if not least <= alpha / rank <= largest:
            wanted = f"{least:g} to {largest:g} times r, which is {rank}"
            raise fields.error("lora_alpha", alpha, wanted)
        return DraftAdapter(rank, alpha / rank)


def read_factors(
    folder: Path, names: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, TensorInfo]:
    """Find the tensors of an adapter: every one that is expected, and no other.

    Args:
        folder: the adapter's.
        names: parameter of our transformer -> name of its tensor.
        shapes: parameter -> its shape.

    Returns:
        Parameter -> where its tensor lies.

    Raises:
        WeightsError: a tensor is missing, unexpected or mis-shaped, or the file is unsafe.
    """
    with _advised():
        path = folder / WEIGHTS_FILE
        if not present(path):
            raise WeightsError(
                f"{path}: file not found; only safetensors are read (a pickle can run code)"
            )
        found = {info.name: info for info in read_tensors(inside(folder, WEIGHTS_FILE, folder))}
        missing = sorted(set(names.values()) - set(found))
        if missing:
            more = and_more(missing)
            raise WeightsError(f"{path}: tensor {missing[0]!r:.100} is missing{more}")
        strange = sorted(set(found) - set(names.values()))
        if strange:
            raise WeightsError(
                f"{path}: unexpected tensor {strange[0]!r:.100}{and_more(strange)}; expected the "
                "two of o_proj in every layer"
            )
        for parameter, name in names.items():
            check_tensor(found[name], shapes[parameter], CONFIG_FILE)
        return {parameter: found[name] for parameter, name in names.items()}


@contextmanager
def _advised() -> Iterator[None]:
    """Says of every refusal how the model can be had without the adapter."""
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"{error}; --no-draft-adapter leaves the adapter out") from error
