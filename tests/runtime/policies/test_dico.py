"""DiCo: a slow plain reference over whole windows, and single steps computed by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import exp
from typing import Any

import numpy as np
import pytest

from dawn_runtime import OptionError, RowView
from dawn_runtime.policies import Dico

MakeView = Callable[..., RowView]


class Slow:
    """The three phases of one window, written out over positions."""

    def __init__(self, rule: Dico, window: tuple[int, int]) -> None:
        self.rule, self.window = rule, window
        self.phase, self.zones, self.rounds, self.idle = "divide", [], 0, 0  # type: ignore[var-annotated]

    def step(self, view: RowView) -> list[int]:
        assert view.margin is not None
        self.view, self.open = view, set(view.candidates.tolist())
        self.c = {i: view.confidence[i] for i in self.open}
        while True:
            taken = {
                "divide": self.divide,
                "conquer": self.conquer,
                "finalize": self.finalize,
            }[self.phase]()
            if taken:
                return sorted(taken)

    def best(self, among: Any) -> int:
        return max(among, key=lambda i: (self.c[i], -i))

    def divide(self) -> set[int]:
        rule, (begin, end), view = self.rule, self.window, self.view
        first = min(self.open)
        part = view.decided / (view.decided + sum(view.masked.tolist()))
        last = min(1.0, rule.floor + rule.guidance * part)
        w = {
            i: np.float32(self.c[i] * last ** ((i - first) / max(end - first - 1, 1)))
            for i in self.open
        }
        left, seeds = dict(w), []
        for _ in range(rule.seeds):
            top = max(left, key=lambda i: (left[i], -i))
            if left[top] <= 0 or w[top] < np.float32(rule.seed_threshold):
                break
            seeds.append(top)
            width = (end - begin) / 3
            left = {
                i: np.float32(x * (1 - exp(-(((i - top) / width) ** 2)))) for i, x in left.items()
            }
        if seeds:
            zones, fresh = [], False
            old = list(self.zones)
            for seed in seeds:
                home = [z for z in old if z[0] <= seed <= z[1]]
                fresh |= not home
                self.zones = [z for z in self.zones if z not in home]
                a, b = home[0] if home else (seed, seed)
                good = {i for i in w if w[i] >= np.float32(rule.seed_threshold)}
                zones.append((self.walk(a, begin - 1, -1, good), self.walk(b, end, 1, good)))
            new = self.join(zones + self.zones)
            grew = len(new) != len(old) or any(
                (y - x + 1) / (v - u + 1) >= 1.1 for (x, y), (u, v) in zip(new, old, strict=True)
            )
            ahead = fresh or self.rounds == 0 or grew
            self.zones, self.rounds = new, self.rounds + 1
            self.idle = 0 if ahead else self.idle + 1
            inside = [w[i] for i in self.open - set(seeds) if any(a <= i <= b for a, b in new)]
            mean = np.float32(np.mean(np.array(inside))) if inside else 0.0
            if self.idle < 2 and self.rounds < rule.rounds and mean < rule.dense:
                return set(seeds)
        self.zones = self.cut(self.zones, set(view.candidates.tolist()) - set(seeds))
        self.phase = "conquer" if self.zones else "finalize"
        return set(seeds)

    def conquer(self) -> set[int]:
        rule, (begin, end) = self.rule, self.window
        zones, taken = self.cut(self.zones, self.open), set()
        for a, b in zones:
            order = sorted((i for i in self.open if a <= i <= b), key=lambda i: (-self.c[i], i))
            order = [i for i in order if self.c[i] > 0]
            for n in range(len(order), 0, -1):
                if rule.factor / (1 - self.c[order[n - 1]] + 1e-6) - 1 >= n:
                    taken |= set(order[:n])
                    break
        if not taken and self.c[self.best(self.open)] >= np.float32(rule.dense):
            taken.add(self.best(self.open))
        taken |= {i for i in self.open if self.c[i] > np.float32(rule.certain)}
        left, good = self.open - taken, {i for i in self.open if self.c[i] > np.float32(rule.dense)}
        grown = []
        for n, (a, b) in enumerate(zones):
            low = zones[n - 1][1] if n else begin - 1
            high = zones[n + 1][0] if n + 1 < len(zones) else end
            grown.append((self.walk(a, low, -1, good), self.walk(b, high, 1, good)))
        self.zones = self.cut(grown, left)
        rest = [self.c[i] for i in left if any(a <= i <= b for a, b in self.zones)]
        if not rest or np.float32(np.mean(np.array(rest))) < rule.dense:
            enough = len(left) / (end - begin) < 1 - rule.share
            self.phase = "finalize" if enough else "divide"
            self.zones, self.rounds, self.idle = [], 0, 0
        return taken

    def finalize(self) -> set[int]:
        assert self.view.margin is not None
        rule, margin = self.rule, self.view.margin
        sure = {
            i
            for i in self.open
            if margin[i] > np.float32(rule.margin) or self.c[i] > np.float32(rule.certain)
        }
        return sure or {self.best(self.open)}

    def walk(self, start: int, wall: int, step: int, good: set[int]) -> int:
        at, missed = start, 0
        for i in range(start + step, wall, step):
            missed = 0 if i in good else missed + 1
            at = i if i in good else at
            if missed > self.rule.tolerance:
                return at
        return at

    def join(self, zones: list[tuple[int, int]]) -> list[tuple[int, int]]:
        inside = {i for a, b in zones for i in range(a, b + 1)}
        begins = sorted(i for i in inside if i - 1 not in inside)
        return [(a, min(i for i in inside if i >= a and i + 1 not in inside)) for a in begins]

    def cut(self, zones: list[tuple[int, int]], left: set[int]) -> list[tuple[int, int]]:
        kept = [[i for i in sorted(left) if a <= i <= b] for a, b in zones]
        return self.join([(it[0], it[-1]) for it in kept if it])


def test_dico_equals_a_slow_one_over_1000_steps_of_random_windows(make_view: MakeView) -> None:
    rng = np.random.default_rng(8)
    steps, phases = 0, {"divide": 0, "conquer": 0, "finalize": 0}
    while steps < 1000:
        length, begin = int(rng.integers(4, 30)), int(rng.integers(1, 3))
        window = (begin, length - int(rng.integers(0, 2)))
        rule = Dico(
            seeds=int(rng.integers(1, 5)),
            tolerance=int(rng.integers(0, 3)),
            rounds=int(rng.integers(1, 5)),
            seed_threshold=float(rng.choice([0.05, 0.3])),
            dense=float(rng.choice([0.3, 0.6])),
            share=float(rng.choice([0.3, 0.8])),
        )
        slow, memory = Slow(rule, window), None
        masked, decided = np.arange(length) >= begin, 0
        masked[rng.integers(begin, length)] = False
        level = rng.random()
        while masked[window[0] : window[1]].any():
            confidence = np.clip(rng.random(length) * 0.7 + level * 0.4, 0, 1)
            margin = rng.exponential(1.5, length).astype(np.float32)
            view = make_view(
                confidence, np.eye(length), masked, window, margin=margin, decided=decided
            )
            view = replace(view, memory=memory)
            stage = rule.remember(view)
            expected = slow.step(view)
            found = rule.select(replace(view, memory=stage))
            assert sorted(found.tolist()) == expected
            assert stage.phase == slow.phase
            assert list(stage.islands) == slow.zones
            phases[stage.phase] += 1
            memory, masked, decided = stage, masked.copy(), decided + len(found)
            masked[found] = False
            steps += 1
    assert min(phases.values()) > 50


def begun(make_view: MakeView, confidence: list[float], **changes: Any) -> RowView:
    """One given position followed by a window with these confidences, margins of 1."""
    length = len(confidence) + 1
    given = {"margin": np.ones(length, dtype=np.float32), "decided": 0, **changes}
    masked = given.pop("masked", np.arange(length) >= 1)
    return make_view([1, *confidence], np.eye(length), masked, (1, length), **given)


FLAT = {"floor": 1.0}
"""No weights."""


def test_seeds_stand_apart_and_islands_grow_around_them(make_view: MakeView) -> None:
    """A third of nine is three: next to a seed 1 - e^(-1/9) = 0.105 is left, at six 0.98."""
    view = begun(make_view, [0.5, 0.45, 0.1, 0.1, 0.1, 0.1, 0.4, 0.35, 0.1])
    stage = Dico(seeds=2, tolerance=0, **FLAT).remember(view)
    assert stage.chosen.tolist() == [1, 7]
    assert stage.islands == ((1, 2), (7, 8))
    assert (stage.phase, stage.rounds) == ("divide", 1)
    wide = Dico(seeds=2, tolerance=4, **FLAT).remember(view)
    assert wide.islands == ((1, 8),)


def test_the_end_of_a_window_weighs_less(make_view: MakeView) -> None:
    """0.05 at the end of three: 0.22 in the middle; decided by half, 0.3 and 0.55."""
    view = begun(make_view, [0.35, 0.9, 0.9])
    assert Dico(seeds=1).remember(view).chosen.tolist() == [1]
    assert Dico(seeds=1).remember(replace(view, decided=3)).chosen.tolist() == [2]


def test_dense_islands_are_conquered_by_factor(make_view: MakeView) -> None:
    """The seed is 2; the rest means 0.8. Then 1 / 0.1 - 1 = 9 and 1 / 0.3 - 1 = 2.3: both go."""
    rule = Dico(seeds=1, **FLAT)
    first = rule.remember(begun(make_view, [0.9, 0.95, 0.7]))
    assert (first.phase, first.chosen.tolist(), first.islands) == ("conquer", [2], ((1, 3),))
    masked = np.array([False, True, False, True])
    second = begun(make_view, [0.9, 1, 0.7], masked=masked, memory=first, decided=1)
    stage = rule.remember(second)
    assert stage.chosen.tolist() == [1, 3]
    low = begun(make_view, [0.9, 1, 0.6], masked=masked, memory=first, decided=1)
    assert rule.remember(low).chosen.tolist() == [1]  # 1 / 0.4 - 1 = 1.5 is less than 2


def test_without_an_island_a_window_is_finalized_by_margin(make_view: MakeView) -> None:
    margin = np.array([9, 1, 4, 3.5], dtype=np.float32)
    view = begun(make_view, [0.2, 0.1, 0.1], margin=margin)
    stage = Dico().remember(view)
    assert (stage.phase, stage.chosen.tolist()) == ("finalize", [2, 3])
    flat = begun(make_view, [0.2, 0.1, 0.1])
    assert Dico().remember(flat).chosen.tolist() == [1]
    sure = begun(make_view, [0.2, 0.1, 0.99], memory=stage)
    assert Dico().remember(sure).chosen.tolist() == [3]


def test_the_next_window_begins_with_divide(make_view: MakeView) -> None:
    view = begun(make_view, [0.2, 0.1, 0.1])
    done = replace(Dico().remember(view), window=(0, 1))
    assert Dico(**FLAT).remember(begun(make_view, [0.5, 0.1], memory=done)).phase != "finalize"


def test_without_margins_it_says_what_it_needs(make_view: MakeView) -> None:
    with pytest.raises(OptionError, match="policy 'dico' reads margins"):
        Dico().remember(begun(make_view, [0.5], margin=None))
