"""Decoding with kept keys written as plainly as can be, and an engine whose keys grow old.

One row, one engine call a step, Python sets and a dictionary of kept keys: no plans, no slots, no
padding. `Aging` is the fake engine with keys that carry what was in sight when they were computed,
as those of a second layer do, so that a key of another step is another key.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dawn_runtime import Engine, StepInputs
from dawn_runtime._hashing import mix
from dawn_runtime.decoding import RowState, Window
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.policies import Needs, Policy, RowView
from support.decoding import MANIFEST

_WORDS = 32


class Aging(FakeEngine):
    """Queries and keys are a hash of the tokens in sight, too; exact in float32."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__(MANIFEST, HashModel(_WORDS, seed))

    def _aged(self, inputs: StepInputs, index: int) -> np.ndarray:
        """What stands for the tokens fed, int64 [S]."""
        tokens, positions = inputs.input_ids[index], inputs.position_ids[index]
        past = inputs.past[0][index, 0].astype(np.int64) if inputs.past else np.zeros((0, 2), int)
        words = np.concatenate([past[:, 0] % _WORDS, tokens])
        places = np.concatenate([past[:, 1], positions])
        keys = mix(mix(words.astype(np.uint64)) + places.astype(np.uint64))
        seen = np.where(inputs.attention_mask[index, 0], keys, np.uint64(0))
        sight = mix(seen.sum(axis=1, dtype=np.uint64)) >> np.uint64(48)
        aged: np.ndarray = tokens + _WORDS * sight.astype(np.int64)
        return aged

    def _run_row(self, inputs: StepInputs, index: int) -> tuple[np.ndarray, np.ndarray]:
        positions = inputs.position_ids[index]
        past = inputs.past[0][index, 0].astype(np.int64) if inputs.past else np.zeros((0, 2), int)
        aged = self._aged(inputs, index)
        logits, attention = self._model(
            aged,
            positions,
            np.concatenate([past[:, 0], aged]),
            np.concatenate([past[:, 1], positions]),
            inputs.attention_mask[index, 0],
        )
        rows, evidence = inputs.logit_rows[index], inputs.attention_rows[index]
        return logits[rows], attention[evidence]

    def _present(self, inputs: StepInputs) -> tuple[np.ndarray, ...]:
        keys, values = super()._present(inputs)
        for index in range(len(keys)):
            keys[index, 0, :, 0] = self._aged(inputs, index)
        return keys, values


@dataclass(frozen=True, slots=True)
class Middling(Policy):
    """Commits what is surer than the middle one of what is known; reads all there is to read."""

    name = "middling"
    needs = Needs(known_predictions=True)

    def select(self, view: RowView) -> np.ndarray:
        known = view.confidence[~view.masked]
        chosen = middling(view.confidence[view.candidates], known[~np.isnan(known)])
        return view.candidates[chosen]


def middling(confidence: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of the candidates `Middling` chooses."""
    bar = np.sort(known)[len(known) // 2] if len(known) else np.float32(0.5)
    return confidence >= bar


@dataclass
class Plain:
    """A row and how it is decoded; `decode` changes it.

    Attributes:
        engine: Runs each step.
        ids: Its tokens.
        mask: Id of what is open.
        shift: As everywhere.
        window: Where it decides.
        state: Gives the row as the window wants it.
        behind: Whether what is behind the window is computed anew too.
        refresh: As the option of `Dual`.
        all_heads: Whether a cached step predicts all that it can.
        rule: Candidates' confidences and those known, to which are committed.
        reads_known: Whether the rule reads what is known.
        gamma: As the option of `Dual`.
        track: The same.
    """

    engine: Engine
    ids: list[int]
    mask: int
    shift: int
    window: Window
    state: Callable[[list[int]], Any]
    behind: bool
    refresh: Any
    all_heads: bool
    rule: Callable[[np.ndarray, np.ndarray], np.ndarray]
    reads_known: bool
    gamma: float = 0.0
    track: int = 0
    tracked: set[int] = field(default_factory=set)
    seen: dict[int, dict[int, float]] = field(default_factory=dict)
    open_then: set[int] = field(default_factory=set)
    similarity: float = 1.0
    kept: dict[int, tuple[int, list[np.ndarray]]] = field(default_factory=dict)
    known: dict[int, Any] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    confidence: dict[int, Any] = field(default_factory=dict)
    full: tuple[tuple[int, int], int] | None = None
    fed: int = 0
    heads: list[int] = field(default_factory=list)

    def decode(self) -> "Plain":
        """Decodes to the end."""
        step = 0
        while self.mask in self.ids:
            self._step(step)
            step += 1
        return self

    def _step(self, step: int) -> None:
        span = self.window.span(self.state(self.ids))
        open_ = [p for p in range(*span) if self.ids[p] == self.mask]
        full = self._is_due(span)
        if full:
            self.kept, self.full = {}, (span, len(self.steps))
            self.seen, self.similarity, self.tracked = {}, 1.0, set()
            self.open_then = {p for p, one in enumerate(self.ids) if one == self.mask}
        changed = {p for p, one in enumerate(self.ids) if self.kept.get(p, (-1,))[0] != one}
        changed |= self.tracked
        if not full:
            changed |= {p for p in self._undecided(span) if self.ids[p] != self.mask}
        fed = sorted(changed | self._undecided(span))
        look = sorted(set(self.kept) - set(fed))
        heads = set(open_)
        if self.reads_known and (full or self.all_heads):
            heads |= {p for p in range(span[1]) if max(p - self.shift, 0) in fed}
        heads -= {p for p in heads if p not in open_ and self.ids[p] == self.mask}
        tokens, found = self._run(fed, look, sorted(heads), changed, open_)
        self.fed += len(fed)
        self.heads.append(len(heads))
        told = {p: one for p, one in self.known.items() if self.ids[p] != self.mask}
        told |= {p: one for p, one in found.items() if self.ids[p] != self.mask}
        confidence = np.array([found[p] for p in open_], dtype=np.float32)
        chosen = np.flatnonzero(self.rule(confidence, np.array([*told.values()], np.float32)))
        if not chosen.size:
            chosen = np.array([int(confidence.argmax())])
        self.known |= found
        for place in chosen:
            p = open_[place]
            self.ids[p], self.steps[p], self.confidence[p] = tokens[p], step, found[p]

    def _is_due(self, span: tuple[int, int]) -> bool:
        if self.full is None:
            return True
        (_, end), decided = self.full
        if isinstance(self.refresh, int):
            return len(self.steps) - decided >= self.refresh
        if self.refresh == "drift":
            return self.similarity < self.gamma
        return self.refresh == "block" and span[0] >= end

    def _undecided(self, span: tuple[int, int]) -> set[int]:
        """Open positions that are computed anew, and the rows that predict them."""
        end = len(self.ids) if self.behind else span[1]
        open_ = {p for p in range(span[0], end) if self.ids[p] == self.mask}
        return open_ | {max(p - self.shift, 0) for p in open_}

    def _compare(self, look: list[int], now: dict[int, dict[int, float]]) -> None:
        """How like what was first seen is what open positions pay to kept keys that stand."""
        old = [p for p in look if (p in self.open_then) == (self.ids[p] == self.mask)]
        both = [p for p in now if p in self.seen]
        before, after = (
            np.array([sum(which[p].get(key, 0.0) for p in both) for key in old])
            for which in (self.seen, now)
        )
        size = np.linalg.norm(before) * np.linalg.norm(after)
        self.similarity = float(before @ after / size) if size else 1.0
        self.seen = {**now, **self.seen}

    def _track(self, shares: list[dict[int, Any]], open_: list[int]) -> None:
        """Known positions, not fed anyway, that the open ones look at most."""
        anyway = self._undecided((open_[0], open_[-1] + 1))
        known = [p for p, one in enumerate(self.ids) if one != self.mask and p not in anyway]
        drawn = {
            p: sum((row.get(p, np.float32(0)) for row in shares), np.float32(0)) for p in known
        }
        self.tracked = set(sorted(known, key=lambda p: (-drawn[p], p))[: self.track])

    def _run(
        self,
        fed: list[int],
        look: list[int],
        heads: list[int],
        stored: set[int],
        open_: list[int],
    ) -> tuple[dict[int, int], dict[int, Any]]:
        past: tuple[np.ndarray, ...] = ()
        if look:
            parts = zip(*(self.kept[p][1] for p in look), strict=True)
            past = tuple(np.ascontiguousarray(np.stack(part, axis=1)[None]) for part in parts)
        rows = [fed.index(max(p - self.shift, 0)) for p in heads]
        width = len(look) + len(fed)
        outputs = self.engine.run(
            StepInputs(
                input_ids=np.array([[self.ids[p] for p in fed]]),
                position_ids=np.array([fed]),
                attention_mask=np.ones((1, 1, len(fed), width), dtype=bool),
                logit_rows=np.array([rows]),
                attention_rows=np.array([[fed.index(p) for p in open_]]),
                past=past,
                want_present=True,
            )
        )
        shares = [dict(zip([*look, *fed], row, strict=True)) for row in outputs.attention[0]]
        self._compare(look, dict(zip(open_, shares, strict=True)))
        self._track(shares, open_)
        for row, p in enumerate(fed):
            if p in stored:
                self.kept[p] = (self.ids[p], [array[0, :, row] for array in outputs.present])
        tokens = dict(zip(heads, outputs.tokens[0].tolist(), strict=True))
        return tokens, dict(zip(heads, outputs.confidence[0], strict=True))


def assert_equal(row: RowState, expected: Any, tolerance: float = 0.0) -> None:
    """Compares a finished row with what a plain reference decoded, which has these attributes."""
    assert row.ids.tolist() == expected.ids
    where = sorted(expected.steps)
    assert np.flatnonzero(row.commit_step >= 0).tolist() == where
    assert row.commit_step[where].tolist() == [expected.steps[p] for p in where]
    confidence = np.array([expected.confidence[p] for p in where])
    assert np.abs(row.commit_confidence[where] - confidence).max() <= tolerance
    assert row.fed == expected.fed
    assert row.predicted == sum(expected.heads)
