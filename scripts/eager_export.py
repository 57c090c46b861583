"""Export a checkpoint as exporters commonly do, to compare with: all of the model in memory.

    python scripts/eager_export.py CHECKPOINT fp32|fp16|bf16 OUTPUT

The module computes logits of whole sequences: no cache, no evidence, nothing of the step contract.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

from dawn_export.dtypes import TORCH_DTYPES
from dawn_models import Checkpoint, load_transformer
from dawn_runtime.contract import activation_dtype


def main(checkpoint: str, precision: str, output: str) -> int:
    """Load, export, save."""
    folder = Path(output)
    folder.mkdir()
    model = load_transformer(Checkpoint.open(checkpoint), TORCH_DTYPES[activation_dtype(precision)])
    ids = torch.zeros(2, 5, dtype=torch.int64)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch deprecates in its own code
        torch.onnx.export(
            model,
            (ids,),
            folder / "model.onnx",
            dynamo=True,
            external_data=True,
            dynamic_shapes=(axes,),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
