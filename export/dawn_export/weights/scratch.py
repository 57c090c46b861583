"""Memory that a thread uses again for every block.

A block of some megabytes made anew costs as much as filling it: the system clears every page first.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import torch


class Scratch(threading.local):
    """Buffers by name, of each thread its own; each grows to the largest that was asked for."""

    def __init__(self) -> None:
        self._buffers: dict[str, torch.Tensor] = {}

    def empty(self, name: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """Returns a contiguous tensor of any content, valid until the name is asked for again."""
        wanted = math.prod(shape) * dtype.itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < wanted:
            self._buffers.pop(name, None)  # before the new one, not beside it
            buffer = self._buffers[name] = torch.empty(wanted, dtype=torch.uint8)
        return buffer[:wanted].view(dtype).view(*shape)
