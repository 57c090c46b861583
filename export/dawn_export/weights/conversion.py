"""From the checkpoint's element type to the written one, and what is lost on the way.

=============  ===================================================================================
BF16 -> FP16   beyond 65504: overflow; below 2^-25: becomes zero; between: exact or rounded where
               FP16 is subnormal
BF16 -> FP32   exact
F32 -> 16 bit  rounded to nearest, ties to even
=============  ===================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dawn_export.errors import ExportError

_SMALLER = (torch.float16, torch.bfloat16)
_BITS = {torch.float32: torch.int32, torch.float16: torch.int16, torch.bfloat16: torch.int16}


@dataclass(slots=True)
class Losses:
    """Values of one tensor that did not survive, counted block by block.

    Attributes:
        values: How many there are.
        damaged: NaN or infinite in the checkpoint.
        overflowed: Beyond the range of the written type; the largest finite value stands for them.
        vanished: Became zero.
    """

    values: int = 0
    damaged: int = 0
    overflowed: int = 0
    vanished: int = 0


def convert(block: torch.Tensor, dtype: torch.dtype, losses: Losses) -> torch.Tensor:
    """Returns a block in another type, contiguous, in memory of its own.

    Args:
        block: Values as the checkpoint has them.
        dtype: Type to write.
        losses: What was lost is added to it.
    """
    converted = torch.empty(block.shape, dtype=dtype).copy_(block)
    losses.values += block.numel()
    # One look at every value without a copy; NaN shows in both ends.
    lowest, highest = torch.aminmax(converted)
    if not (torch.isfinite(lowest) and torch.isfinite(highest)):
        damaged = int((~torch.isfinite(block)).sum())
        losses.damaged += damaged
        losses.overflowed += int((~torch.isfinite(converted)).sum()) - damaged
        limits = torch.finfo(dtype)
        converted.clamp_(limits.min, limits.max)
    if dtype in _SMALLER and block.dtype != dtype:
        losses.vanished += _nonzero(block) - _nonzero(converted)
    return converted


def _nonzero(block: torch.Tensor) -> int:
    """Counts values that are not zero; by their bits, ten times as fast as torch compares them."""
    bits = block.view(_BITS[block.dtype]).numpy()
    return int(np.count_nonzero(bits << 1))  # without the sign: -0.0 is zero too


def check_losses(name: str, losses: Losses, dtype: torch.dtype, *, allow_overflow: bool) -> None:
    """Refuses a weight that is damaged, or does not fit the written type.

    Raises:
        ExportError: Some values are not finite, or beyond the range and that is not allowed.
    """
    if losses.damaged:
        raise ExportError(
            f"weight {name}: {losses.damaged} of {losses.values} values are NaN or infinite; "
            "the checkpoint is damaged, download it again"
        )
    if losses.overflowed and not allow_overflow:
        written = str(dtype).removeprefix("torch.")
        raise ExportError(
            f"weight {name}: {losses.overflowed} of {losses.values} values are beyond the range of "
            f"{written}; export with --precision bf16 or fp32, or let the largest {written} stand "
            "for them with --allow-overflow"
        )
