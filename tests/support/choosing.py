"""Random cases of selection: a run, and what the rules in NumPy make of it."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dawn_runtime import Dawn, NoCache, Policy, Threshold
from dawn_runtime.cuda import Chooser, Device
from dawn_runtime.cuda.chooser import Placed
from dawn_runtime.decoding import (
    Answer,
    Dual,
    FullPass,
    Kept,
    Packer,
    Prefix,
    RowState,
    Unmask,
)
from dawn_runtime.decoding.schemes.unmask import Past
from dawn_runtime.decoding.windows import Window
from dawn_runtime.engine.protocol import StepOutputs
from support.host_device import put

MASK = 60
LONG = Dawn(0.02, 0.1, 0.3, 0.1, reference_length=70, length_exponent=1.0)
"""At 700 tokens a tenth of these thresholds."""


@dataclass(frozen=True, slots=True)
class Part(Window):
    """Some positions, with some of what follows them out of sight."""

    name: ClassVar[str] = "part"

    begin: int
    end: int
    hidden: tuple[int, ...] = ()

    def span(self, row: RowState) -> tuple[int, int]:
        return self.begin, self.end

    def visible(self, row: RowState) -> NDArray[np.bool_]:
        visible = np.ones(row.length, dtype=bool)
        visible[list(self.hidden)] = False
        return visible


def random_policy(rng: np.random.Generator) -> Policy:
    if rng.random() < 0.15:
        return Threshold(float(rng.choice([0.0, 0.3, 0.6, 0.9])))
    sink = rng.choice([0.03, 0.06, 8 / 256, 0.2, 1.0])
    edge = rng.choice([0.02, 0.05, 12 / 256, 0.1, 0.3])
    floors = {n: float(rng.integers(0, 21) / 20) for n in ("tau_induce", "tau_low", "tau_anchor")}
    rest: dict[str, Any] = {
        "adjacency": str(rng.choice(["both", "union"])),
        "reference_length": int(rng.choice([0, 8, 10, 40])),
        "length_exponent": float(rng.choice([0.0, 0.5, 1.0])),
    }
    return Dawn(float(sink), float(edge), tau_high=0.85, **floors, **rest)


def coarse(rng: np.random.Generator, shape: Any) -> NDArray[np.float32]:
    """Few distinct values, so that equal confidences occur, and values at the thresholds."""
    return (rng.integers(0, 21, shape) / 20).astype(np.float32)


def random_row(
    rng: np.random.Generator, length: int, policy: Policy, *, early: bool = False
) -> tuple[RowState, Unmask]:
    """A row with keys that it kept or without.

    Args:
        rng: Draws it.
        length: Its positions.
        policy: Its rule.
        early: Whether nothing is decided yet, and most positions are candidates; else it is
            somewhere in an answer, where few are.
    """
    ids, start = rng.integers(1, 50, length), int(rng.integers(0, length))
    ids[start:][rng.random(length - start) < rng.choice([0.2, 0.7, 1.0])] = MASK
    begin = int(rng.integers(start, length))
    end = int(rng.integers(begin + 1, length + 1))
    if early:
        start, begin, end = length // 4, length // 4, length
        ids[start:] = MASK
    ids[begin] = MASK
    row = RowState.fill(ids, start, MASK, (7, 8), shift=int(rng.integers(0, 2)))
    window = Part(begin, end, tuple(rng.permutation(np.arange(end, length))[: rng.integers(0, 9)]))
    if rng.random() < 0.4:
        return row, Unmask(policy, window, rng.choice(np.array([NoCache(), Dual()])))
    few: dict[str, str] = {}
    if not early:
        few["feed"] = str(rng.choice(["all", "undecided"]))
        few["head"] = str(rng.choice(["all", "candidates"]))
    cache = rng.choice(np.array([Dual("never", **few), Prefix("never", **few)]))
    positions = rng.permutation(length)[: rng.integers(1, length + 1)]
    tokens = np.where(rng.random(len(positions)) < 0.9, ids[positions], 55)
    past = Past(
        full=FullPass((begin, end), row.decided),
        confidence=np.where(rng.random(length) < 0.5, np.float32(np.nan), coarse(rng, length)),
        key_means=(rng.integers(0, 17, length) / 256).astype(np.float32),
    )
    kept = Kept.empty(length).renewed(positions, tokens)
    return replace(row, kept=kept, memory=past), Unmask(policy, window, cache)


class Case:
    """A run over random rows, with random outputs; what is padding holds NaN."""

    def __init__(
        self,
        rng: np.random.Generator,
        longest: int,
        batch: int,
        *policies: Policy,
        early: bool = False,
    ) -> None:
        self.packer = Packer(0, str(rng.choice(["left", "right"])))  # type: ignore[arg-type]
        lengths = rng.integers(longest if early else 2, longest + 1, batch).tolist()
        given = (policies or (random_policy(rng),)) * batch
        made = [
            random_row(rng, n, one, early=early) for n, one in zip(lengths, given, strict=False)
        ]
        self.rows, self.schemes = [row for row, _ in made], [scheme for _, scheme in made]
        self.asks = [scheme.ask(row)[0] for row, scheme in made]
        self.width = max(len(ask.tokens) for ask in self.asks) + int(rng.integers(0, 3))
        self.slots = max(1 + int(ask.kept.max(initial=-1)) for ask in self.asks)
        predictions = max(len(ask.predict) for ask in self.asks) + int(rng.integers(0, 3))
        queries = max(len(ask.evidence) for ask in self.asks) + int(rng.integers(0, 3))
        self.keys = self.slots + self.width
        self.tokens = rng.integers(1, 50, (batch, predictions))
        self.tokens[rng.random(self.tokens.shape) < rng.choice([0.05, 0.6])] = MASK
        self.confidence = np.full(self.tokens.shape, np.nan, np.float32)
        self.attention = np.full((batch, queries, self.keys), np.nan, np.float32)
        few = rng.random() < 0.5  # distinct values, so that some lie at the thresholds
        for place, ask in enumerate(self.asks):
            shape = (len(ask.evidence), len(ask.kept) + len(ask.tokens))
            weights = rng.random(shape) ** rng.integers(1, 30) + 1e-9
            weights /= weights.sum(axis=1, keepdims=True)
            if few:
                weights = rng.integers(0, 17, shape) / 256
            self.attention[place, : shape[0], self.columns(place)] = weights.T
            self.confidence[place, : len(ask.predict)] = coarse(rng, len(ask.predict))

    def columns(self, place: int) -> NDArray[np.int64]:
        found = self.packer.columns(self.asks[place], self.width, self.slots)
        return np.arange(self.keys)[found]

    def answer(self, place: int) -> Answer:
        outputs = StepOutputs(self.tokens, self.confidence, self.attention)
        return self.packer.answer(self.asks[place], outputs, place, self.slots)

    def run(self, device: Device) -> Chooser:
        chooser, rows = Chooser(device), []
        for place, (scheme, row, ask) in enumerate(
            zip(self.schemes, self.rows, self.asks, strict=True)
        ):
            view = scheme.kernel_view(row, ask)
            rows.append(None if view is None else Placed(view, self.columns(place)))
        chooser.send(rows, self.keys)
        outputs = (self.tokens, self.confidence, self.attention)
        chooser.start(*(put(device, array) for array in outputs))
        device.synchronize()
        return chooser


def same(left: Any, right: Any) -> bool:
    """Whether two arrays, or nothing, are equal to the last bit."""
    if left is None or right is None:
        return left is right
    return bool(np.array_equal(left, right, equal_nan=left.dtype.kind == "f"))


def assert_same(case: Case, device: Device) -> None:
    chooser = case.run(device)
    assert chooser.finite
    for place, selected in enumerate(chooser.read()):
        row, scheme, host = case.rows[place], case.schemes[place], case.answer(place)
        if selected is None:
            continue
        if scheme.stuck(row, [host]):
            assert not selected.chosen.any()
            continue
        there = scheme.decide(row, [replace(host, attention=host.attention[:0], selected=selected)])
        here = scheme.decide(row, [host])
        assert here.commit.size
        for name in ("commit", "tokens", "confidence"):
            assert same(getattr(there, name), getattr(here, name)), name
        assert there.linked == here.linked
        for name in ("confidence", "key_means"):
            assert same(getattr(there.memory, name), getattr(here.memory, name)), name
