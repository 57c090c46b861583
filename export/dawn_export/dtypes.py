"""NumPy's names of element types, as the step contract has them, in torch and in ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import onnx_ir as ir
import torch

TORCH_DTYPES: Final[Mapping[str, torch.dtype]] = {
    "bool": torch.bool,
    "int64": torch.int64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
}
"""Name -> torch's type."""

ONNX_DTYPES: Final[Mapping[str, ir.DataType]] = {
    "bool": ir.DataType.BOOL,
    "int64": ir.DataType.INT64,
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
    "uint8": ir.DataType.UINT8,
}
"""Name -> ONNX's type."""
