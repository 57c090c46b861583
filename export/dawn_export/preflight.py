"""What can be known to go wrong before any work is done.

==============  ==================================================================================
output folder   is a file, holds something else, or an artifact and no `--force`: `check_output`
precision       the target cannot run it: `ExportOptions`
context length  longer than the model was made for: `ExportOptions.check_model`
evidence        of more layers than the model has: `ExportOptions.check_model`
free disk       less than the artifact takes: `check_disk`
==============  ==================================================================================
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from dawn_export.errors import OutputError
from dawn_export.options import ExportOptions
from dawn_export.pieces import TORCH_DTYPES
from dawn_models import ModelConfig, parameter_shapes
from dawn_runtime import contract

_BESIDE_WEIGHTS = 64 * 2**20
"""Room for everything but the weights: graph (about 2 MB), tokenizer (about 10), configuration."""


def artifact_bytes(config: ModelConfig, precision: str) -> int:
    """Size of an artifact on disk, rounded up by the little that is not weights."""
    item = TORCH_DTYPES[contract.kv_dtype(precision)].itemsize
    values = sum(torch.Size(shape).numel() for shape in parameter_shapes(config).values())
    return values * item + _BESIDE_WEIGHTS


def check_disk(config: ModelConfig, precision: str, output: Path) -> None:
    """Refuses an artifact that does not fit the disk, beside the one it may replace.

    Raises:
        OutputError: Less is free than it takes.
    """
    needed, free = artifact_bytes(config, precision), _free_disk(output)
    if needed > free:
        raise OutputError(
            f"{output}: the artifact takes {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free "
            f"there; free {(needed - free) / 1e9:.2f} GB or choose another disk"
        )


def _free_disk(path: Path) -> int:
    """Bytes that may be written where `path` is, or will be when the folders above are made."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free


def check_export(config: ModelConfig, options: ExportOptions, output: Path) -> None:
    """Checks everything of the table that needs the model's configuration.

    Raises:
        OptionError: The options do not fit the model.
        OutputError: The disk is too full.
    """
    options.check_model(config)
    check_disk(config, options.precision, output)
