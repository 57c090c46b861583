"""Kept keys in NumPy and on a device, to which the same is done."""

import numpy as np

from dawn_runtime import EngineInfo
from dawn_runtime.cuda import Device, DeviceKv
from dawn_runtime.decoding import KvStore
from support.host_device import get, put

TOKENS = 48


class Twins:
    """The same operations on both memories."""

    def __init__(self, host: Device, dtype: str, seed: int, tokens: int = TOKENS) -> None:
        self.info = EngineInfo("test", 3, 2, 4, 32, 96, dtype)
        self.host, self.rng = host, np.random.default_rng(seed)
        self.here = KvStore(self.info, tokens)
        self.there = DeviceKv(host, self.info, tokens)
        self.written: dict[int, int] = {}

    def fill(self, rows: list[int], slots: int) -> None:
        fed = int(self.rng.integers(slots, 2 * slots + 1))
        shape = (len(rows), self.info.kv_heads, fed, self.info.kv_width)
        present = [
            (100 + 10 * self.rng.normal(size=shape)).astype(self.info.kv_dtype)
            for _ in range(2 * self.info.layers)
        ]
        copies = [put(self.host, array) for array in present]
        for index, row in enumerate(rows):
            targets = self.rng.permutation(slots)
            chosen = self.rng.permutation(fed)[:slots]
            self.written[row] = max(slots, self.written.get(row, 0))
            self.here.write(row, targets, present, index, chosen)
            self.there.write(row, targets, copies, index, chosen)

    def arrange(self, slots: dict[int, int], rewritten: list[int]) -> None:
        self.here.arrange(slots, rewritten)
        self.there.arrange(slots, rewritten)
        self.written = {row: 0 if row in rewritten else self.written.get(row, 0) for row in slots}

    def compare(self, rows: list[int]) -> None:
        assert (self.here.rows, self.here.slots) == (self.there.rows, self.there.slots)
        for one, other in zip(self.here.read(rows), self.there.read(rows), strict=True):
            assert one.shape == other.shape
            copy = get(self.host, other)
            assert np.isfinite(copy).all()
            for place, row in enumerate(rows):
                here = (place, slice(None), slice(self.written[row]))
                np.testing.assert_array_equal(one[here], copy[here])


def come_and_go(device: Device, seed: int, steps: int = 40) -> None:
    """Rows join, are computed anew and leave, and are the same on both sides after each step."""
    twins, rng = Twins(device, "float16", seed), np.random.default_rng(seed)
    slots: dict[int, int] = {}
    for joined in range(steps):
        for row in [row for row in slots if rng.random() < 0.3]:
            del slots[row]
        if len(slots) < 4:
            slots[joined] = int(rng.integers(1, 12))
        rewritten = [row for row in slots if rng.random() < 0.5]
        for row in rewritten:
            slots[row] = int(rng.integers(1, 12))
        if len(slots) * max([*slots.values(), twins.here.slots]) > TOKENS:
            slots = {}
        twins.arrange(slots, [row for row in rewritten if row in slots])
        for row in slots:
            if twins.written[row] == 0:
                twins.fill([row], slots[row])
        twins.compare(list(slots))
        twins.compare([row for row in slots if rng.random() < 0.5])
