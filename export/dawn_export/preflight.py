"""What can be known to go wrong before any work is done.

==============  ==================================================================================
output folder   is a file, holds something else, or an artifact and no `--force`: `check_output`
precision       the target cannot run it: `ExportOptions`
context length  longer than the model was made for: `ExportOptions.check_model`
evidence        of more layers than the model has: `ExportOptions.check_model`
free disk       less than the artifact takes: `check_disk`; than a download: `sources.hub`
permissions     the folder cannot be made: `staged` makes a hidden one beside it, before all else
--verify        ONNX Runtime is not installed: `check_verification`
tokenizer       does not load, or its ids are others than the model's: `write_companions`
manifest        a value does not fit it: `describe`, tried without weights
==============  ==================================================================================
"""

from __future__ import annotations

from pathlib import Path

from dawn_export.errors import OutputError
from dawn_export.folder.disk import free_bytes, lacking
from dawn_export.options import ExportOptions
from dawn_export.weights.plan import item_bytes, plan, stored_bytes
from dawn_models import ModelConfig, parameter_shapes
from dawn_runtime.engine.ort.cpu import ACTIVATIONS
from dawn_runtime.engine.ort.session import import_onnxruntime

_BESIDE_WEIGHTS = 64 * 2**20
"""Room for everything but the weights: graph (about 2 MB), tokenizer (about 10), configuration,
what aligns the weights (below 1)."""


def artifact_bytes(config: ModelConfig, options: ExportOptions) -> int:
    """Size of an artifact on disk, rounded up by the little that is not weights.

    Raises:
        ExportError: A matrix cannot be stored in the blocks that the scheme asks for.
    """
    shapes, item = parameter_shapes(config), item_bytes(options.scheme)
    layouts = plan(config, options.scheme).values()
    return sum(sum(stored_bytes(layout, shapes, item)) for layout in layouts) + _BESIDE_WEIGHTS


def check_disk(config: ModelConfig, options: ExportOptions, output: Path) -> None:
    """Refuses an artifact that does not fit the disk, beside the one it may replace.

    Raises:
        ExportError: A matrix cannot be stored in the blocks that the scheme asks for.
        OutputError: Less is free than it takes.
    """
    needed, free = artifact_bytes(config, options), free_bytes(output)
    if needed > free:
        problem = lacking("the artifact", needed, free)
        raise OutputError(f"{output}: {problem} or choose another disk")


def check_export(config: ModelConfig, options: ExportOptions, output: Path) -> None:
    """Checks everything of the table that needs the model's configuration.

    Raises:
        ExportError: A matrix cannot be stored in the blocks that the scheme asks for.
        OptionError: The options do not fit the model.
        OutputError: The disk is too full.
    """
    options.check_model(config)
    check_disk(config, options, output)


def check_verification(options: ExportOptions) -> None:
    """Tries what `--verify` will run the graph with, where it can.

    Raises:
        DependencyError: onnxruntime is not installed.
    """
    if options.scheme.activations in ACTIVATIONS:
        import_onnxruntime()
