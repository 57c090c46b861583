"""The cache `d2` written as plainly as can be: loops, whole matrices, one engine call a step."""

from dataclasses import dataclass, field
from math import ceil, exp
from typing import Any

import numpy as np

from dawn_runtime import StepInputs
from support.plain_cache import Plain


def density(known: list[bool], place: int, sigma: float) -> float:
    """Weighted share of known positions around one, as far as four sigma."""
    reach, found, total = ceil(4 * sigma), 0.0, 0.0
    for distance in range(-reach, reach + 1):
        weight, at = exp(-((distance / sigma) ** 2) / 2), place + distance
        total += weight
        if at < 0 or (at < len(known) and known[at]) or (at >= len(known) and known[-1]):
            found += weight
    return found / total


def rollout(rows: dict[int, dict[int, float]], sight: list[int], layers: int) -> dict[int, float]:
    """Column sums of the product of the maps, the row of the identity where none was computed."""
    one = np.eye(len(sight))
    for place, position in enumerate(sight):
        if position in rows:
            one[place] = [rows[position].get(key, 0.0) for key in sight]
    step = one + np.eye(len(sight))
    step /= step.sum(axis=1, keepdims=True)
    product = np.eye(len(sight))
    for _ in range(layers):
        product = step @ product
    return dict(zip(sight, product.sum(axis=0).tolist(), strict=True))


def nucleus(scores: dict[int, float], share: float) -> set[int]:
    """The best that have together no more than a share, one at least."""
    chosen: set[int] = set()
    total, taken = sum(scores.values()), 0.0
    for position in sorted(scores, key=lambda p: (-scores[p], p)) if share else []:
        taken += scores[position]
        if chosen and taken > share * total:
            break
        chosen.add(position)
        if taken > share * total:
            break
    return chosen


@dataclass
class PlainD2(Plain):
    """A row decoded with `d2`; of the attributes of `Plain` those of `dual` alone do nothing.

    Attributes:
        count: As the option `current_k`.
        share: As `rollout_p`.
        sigma: As the option.
        gap: As `inflate_w`.
        layers: As the option.
    """

    count: int = 32
    share: float = 0.1
    sigma: float = 10.0
    gap: int = 0
    layers: int = 1
    sure: dict[int, float] = field(default_factory=dict)
    drawn: dict[int, float] = field(default_factory=dict)

    def _step(self, step: int) -> None:
        span = self.window.span(self.state(self.ids))
        full = self._is_due(span)
        if full:
            self.kept, self.full, self.sure = {}, (span, len(self.steps)), {}
            self.seen, self.similarity = {}, 1.0
            self.open_then = {p for p, one in enumerate(self.ids) if one == self.mask}
        everything = set(range(len(self.ids)))
        changed = {p for p, one in enumerate(self.ids) if self.kept.get(p, (-1,))[0] != one}
        fed = sorted(everything if full else changed | self._chosen(span, step))
        look = [] if full else sorted(everything - set(fed))
        open_ = [p for p in range(*span) if self.ids[p] == self.mask]
        open_ = [p for p in open_ if {p, max(p - self.shift, 0)} <= set(fed)]
        predicted = [p for p in sorted(everything) if max(p - self.shift, 0) in fed]
        later = [p for p in predicted if p >= span[1] and self.ids[p] == self.mask]
        before = [p for p in predicted if p < span[1] and self.ids[p] != self.mask]
        heads = sorted({*open_, *later, *(before if self.reads_known else [])})
        self.tokens, found = self._look(fed, look, heads, open_)
        self.fed += len(fed)
        self.heads.append(len(heads))
        told = {p: one for p, one in self.known.items() if self.ids[p] != self.mask}
        told |= {p: one for p, one in found.items() if self.ids[p] != self.mask}
        self._commit(open_, found, np.array([*told.values()], np.float32), step)
        self.known |= found
        self.sure |= found

    def _commit(self, open_: list[int], found: dict[int, Any], told: Any, step: int) -> None:
        confidence = np.array([found[p] for p in open_], dtype=np.float32)
        chosen = np.flatnonzero(self.rule(confidence, told))
        if not chosen.size:
            chosen = np.array([int(confidence.argmax())])
        for place in chosen:
            p = open_[place]
            self.ids[p], self.steps[p], self.confidence[p] = self.tokens[p], step, found[p]

    def _chosen(self, span: tuple[int, int], step: int) -> set[int]:
        """What is computed besides what has no key of its token."""
        open_ = [p for p in range(span[0], len(self.ids)) if self.ids[p] == self.mask]
        if len(open_) > self.count:
            end = span[0]
            while end <= open_[self.count - 1]:
                end += span[1] - span[0]
            open_ = [p for p in open_ if p < end]
        known = [one != self.mask for one in self.ids]
        score = {p: float(self.sure.get(p, 0.0)) * density(known, p, self.sigma) for p in open_}
        open_.sort(key=lambda p: (p >= span[1], -score[p], p))
        chosen = {q for p in open_[: self.count] for q in (p, max(p - self.shift, 0))}
        chosen |= {p for p, when in self.steps.items() if when == step - 1}
        rest = {p: one for p, one in self.drawn.items() if p not in chosen}
        chosen |= nucleus(rest, self.share)
        for p in range(len(self.ids)):
            left = max((q for q in chosen if q <= p), default=None)
            right = min((q for q in chosen if q >= p), default=None)
            if left is not None and right is not None and right - left <= self.gap:
                chosen = chosen | {p}
        return chosen

    def _look(
        self, fed: list[int], look: list[int], heads: list[int], open_: list[int]
    ) -> tuple[dict[int, int], dict[int, Any]]:
        past: tuple[np.ndarray, ...] = ()
        if look:
            parts = zip(*(self.kept[p][1] for p in look), strict=True)
            past = tuple(np.ascontiguousarray(np.stack(part, axis=1)[None]) for part in parts)
        width = len(look) + len(fed)
        outputs = self.engine.run(
            StepInputs(
                input_ids=np.array([[self.ids[p] for p in fed]]),
                position_ids=np.array([fed]),
                attention_mask=np.ones((1, 1, len(fed), width), dtype=bool),
                logit_rows=np.array([[fed.index(max(p - self.shift, 0)) for p in heads]]),
                attention_rows=np.arange(len(fed))[None],
                past=past,
                want_present=True,
            )
        )
        keys = [*look, *fed]
        rows = {
            p: dict(zip(keys, row.astype(float).tolist(), strict=True))
            for p, row in zip(fed, outputs.attention[0], strict=True)
        }
        self._compare(look, {p: rows[p] for p in open_})
        self.drawn = rollout(rows, sorted(keys), self.layers)
        for row, p in enumerate(fed):
            self.kept[p] = (self.ids[p], [array[0, :, row] for array in outputs.present])
        tokens = dict(zip(heads, outputs.tokens[0].tolist(), strict=True))
        return tokens, dict(zip(heads, outputs.confidence[0], strict=True))
