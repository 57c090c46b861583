"""The rows of a stored weight as the checkpoint has them, a part at a time or all of them.

A weight that is made of several parameters is read when the first of them comes in the order of
the shards; so every byte is read once, and one stored weight at most is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

import torch

from dawn_export.weights.layout import Layout
from dawn_models import TensorReader

BLOCK_BYTES = 4 * 2**20
"""About how much is read at once; what fits the caches is converted several times as fast."""


def row_blocks(reader: TensorReader, layout: Layout) -> Iterator[torch.Tensor]:
    """All rows, in blocks of about `BLOCK_BYTES`; each is valid until the next one."""
    for name in layout.members:
        rows = reader.shape(name)[0]
        step = max(1, BLOCK_BYTES // reader.row_bytes(name))
        for i in range(0, rows, step):
            yield reader.rows(name, i, min(i + step, rows))


def all_rows(reader: TensorReader, layout: Layout) -> torch.Tensor:
    """All rows at once, [out, in]; valid until the next call."""
    members = layout.members
    if len(members) == 1:
        return _all(reader, members[0])
    counts = [reader.shape(name)[0] for name in members]
    joined = torch.empty(
        (sum(counts), *reader.shape(members[0])[1:]),
        dtype=reduce(torch.promote_types, map(reader.dtype, members)),
    )
    for name, rows in zip(members, torch.split(joined, counts), strict=True):
        rows.copy_(_all(reader, name))
    return joined


def _all(reader: TensorReader, name: str) -> torch.Tensor:
    return reader.rows(name, 0, reader.shape(name)[0])
