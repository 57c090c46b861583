"""CLAD, Conv, hierarchy, LSP and Streaming: slow plain references and cases computed by hand."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil, tanh
from typing import Any

import numpy as np
import pytest

from dawn_runtime import OptionError, Policy, RowView, Threshold
from dawn_runtime.policies import Clad, Conv, Hierarchy, Lsp, Streaming

MakeView = Callable[..., RowView]
STATES = 1000


def chosen(policy: Policy, view: RowView) -> list[int]:
    if policy.needs.history:
        view = replace(view, memory=policy.remember(view))
    return sorted(policy.select(view).tolist())


def view_of(make_view: MakeView, confidence: list[float], **changes: Any) -> RowView:
    """One given position followed by a block with these confidences."""
    length = len(confidence) + 1
    masked = np.arange(length) >= 1
    return make_view([1, *confidence], np.eye(length), masked, (1, length), **changes)


def runs(positions: list[int]) -> list[list[int]]:
    """Positions grouped where there is no gap."""
    found: list[list[int]] = []
    for position in positions:
        if found and position == found[-1][-1] + 1:
            found[-1].append(position)
        else:
            found.append([position])
    return found


def first_best(candidates: list[int], values: Any) -> int:
    return max(candidates, key=lambda i: (values[i], -i))


def slow_clad(policy: Clad, view: RowView) -> list[int]:
    attention, p, candidates = view.attention, view.confidence, view.candidates.tolist()
    ready = [i for i in candidates if p[i] >= np.float32(policy.threshold)]
    clusters = runs(sorted({*ready, first_best(candidates, p)}))
    count = len(clusters)

    def mutual(i: int, j: int) -> np.float32:
        return max(attention[i, j], attention[j, i])

    def towards(a: int, b: int) -> np.float32:
        size = np.float32(len(clusters[b]))
        return max(np.float32(sum(mutual(i, j) for j in clusters[b])) / size for i in clusters[a])

    scores = np.zeros((count, count), dtype=np.float32)
    for a in range(count):
        for b in range(count):
            scores[a, b] = 0 if a == b else max(towards(a, b), towards(b, a))
    best = [max(range(count), key=lambda b: (scores[a, b], -b)) for a in range(count)]
    dropped = set()
    for a in range(count):
        b = best[a]
        if a >= b or best[b] != a:
            continue
        if count == 2:
            even = view.window[1] - view.window[0]
            even = even if policy.even_over == "window" else len(view.attention_keys)
            conflict = scores[a, b] >= np.float32(policy.spread / even)
        else:
            means = scores.sum(axis=1) / np.float32(count - 1)
            conflict = bool(scores[a, b] >= means[a] and scores[a, b] >= means[b])
        if conflict:
            dropped.add(a if len(clusters[b]) > len(clusters[a]) else b)
    return [i for number, it in enumerate(clusters) if number not in dropped for i in it]


def slow_conv(policy: Conv, view: RowView) -> list[int]:
    reach, length = policy.width // 2, len(view.masked)
    scores = {}
    for i in view.candidates.tolist():
        near = range(max(i - reach, 0), min(i + reach + 1, length))
        known = sum(not view.masked[j] for j in near)
        scores[i] = float(view.confidence[i]) * tanh(policy.strength * known)
    count = 1
    if policy.steps:
        left = max(policy.steps - view.step, 1)
        count = ceil(sum(view.masked.tolist()) / left)
    return sorted(sorted(scores, key=lambda i: (-round(scores[i], 12), i))[:count])


def slow_hierarchy(policy: Hierarchy, view: RowView) -> list[int]:
    p, candidates = view.confidence, view.candidates.tolist()
    high, low = np.float32(policy.threshold), np.float32(policy.low_threshold)
    found = {first_best(candidates, p)} | {i for i in candidates if p[i] > high}
    for gap in runs(candidates):
        best = max(p[i] for i in gap)
        found |= {i for i in gap if p[i] == best and p[i] > low}
    return sorted(found)


def slow_lsp(policy: Lsp, view: RowView) -> list[int]:
    assert view.margin is not None
    candidates = view.candidates.tolist()
    margins, total = view.margin[view.candidates].tolist(), len(candidates)
    least = [min(margins[: k + 1]) for k in range(total)]
    cuts = {k: least[k - 1] - (least[k] if k < total else -np.inf) for k in range(1, total + 1)}
    cuts = {k: np.float32(drop) for k, drop in cuts.items() if drop > 0}
    shortest = max(ceil(policy.least_part * total), 1)
    longest = max(int(policy.most_part * total), shortest)
    between = [k for k in cuts if shortest <= k <= longest]
    count = max(between, key=lambda k: (cuts[k], -k)) if between else 0
    count = count or max([k for k in cuts if k < shortest], default=1)
    for back in range(min(policy.snap, count - 1) + 1):
        if int(view.tokens[candidates[count - back - 1]]) in policy.delimiters:
            return candidates[: count - back]
    return candidates[:count]


def slow_streaming(policy: Streaming, view: RowView, *, first: bool) -> list[int]:
    p, candidates = view.confidence, view.candidates.tolist()
    if first and policy.opening == "first":
        return candidates[:1]
    tau = policy.threshold
    if not first:
        seen = [k for k in view.attention_keys.tolist() if k >= view.window[0]]
        undecided = sum(bool(view.masked[k]) for k in seen) / len(seen)
        tau *= 1 - policy.alpha * (1 - undecided)
    sure = [i for i in candidates if p[i] >= np.float32(tau)]
    return sure or [first_best(candidates, p)]


def test_clad_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(1)
    dropped = 0
    for _ in range(STATES):
        even_over = str(rng.choice(["window", "sequence"]))
        policy = Clad(float(rng.choice([0.3, 0.5, 0.8])), float(rng.uniform(0, 3)), even_over)
        view = random_view(rng)
        found = chosen(policy, view)
        assert found == slow_clad(policy, view)
        dropped += len(found) < len(chosen(Threshold(policy.threshold), view))
    assert dropped > 100, "clusters must conflict"


def test_conv_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(2)
    for _ in range(STATES):
        width, steps = int(rng.integers(1, 12)), int(rng.integers(0, 9))
        policy = Conv(width, float(rng.choice([0.0, 0.1, 1.0])), steps)
        view = random_view(rng, step=int(rng.integers(0, 9)))
        assert chosen(policy, view) == slow_conv(policy, view)


def test_hierarchy_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(3)
    for _ in range(STATES):
        policy = Hierarchy(float(rng.choice([0.5, 0.8, 1.0])), float(rng.choice([0.0, 0.2, 0.4])))
        view = random_view(rng)
        assert chosen(policy, view) == slow_hierarchy(policy, view)


def test_lsp_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(4)
    sizes = set()
    for _ in range(STATES):
        low, high = sorted(rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], 2).tolist())
        policy = Lsp(low, high, int(rng.integers(0, 6)), tuple(rng.integers(0, 7, 2).tolist()))
        view = random_view(rng)
        margins = (rng.integers(0, 9, len(view.masked)) / 8).astype(np.float32)  # with equal ones
        view = replace(view, margin=margins)
        found = chosen(policy, view)
        assert found == slow_lsp(policy, view)
        sizes.add(len(found))
    assert len(sizes) > 8


def test_streaming_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(5)
    for _ in range(STATES):
        opening = str(rng.choice(["threshold", "first"]))
        policy = Streaming(float(rng.choice([0.5, 0.9])), float(rng.uniform(0, 1)), opening)
        before, view = random_view(rng), random_view(rng)
        first = rng.random() < 0.3
        if not first:
            opened = policy.remember(replace(before, window=view.window))
            view = replace(view, memory=opened)
        assert chosen(policy, view) == slow_streaming(policy, view, first=first)


def attending(length: int, pairs: dict[tuple[int, int], float]) -> np.ndarray:
    attention = np.zeros((length, length), dtype=np.float32)
    for (one, other), weight in pairs.items():
        attention[one, other] = weight
    return attention


def test_of_two_clusters_that_lean_on_each_other_clad_keeps_the_longer(
    make_view: MakeView,
) -> None:
    """Position 1 and 3 4: 3 attends to 1 with 0.4, so seen from 1 it is 0.2, seen from 3 0.4."""
    view = make_view(
        [1, 0.8, 0.1, 0.9, 0.8],
        attending(5, {(3, 1): 0.4}),
        [False, True, True, True, True],
        (1, 5),
    )
    assert chosen(Clad(0.7), view) == [3, 4]  # 0.4 >= 1.2 / 4
    assert chosen(Clad(0.7, spread=1.7), view) == [1, 3, 4]  # 0.4 < 1.7 / 4
    assert chosen(Clad(0.7, spread=1.7, even_over="sequence"), view) == [3, 4]  # 0.4 >= 1.7 / 5


def test_of_equal_clusters_clad_keeps_the_first_and_a_third_one_goes_along(
    make_view: MakeView,
) -> None:
    confidence = [1, 0.8, 0.1, 0.9, 0.1, 0.8]
    masked = [False, True, True, True, True, True]
    strong = attending(6, {(1, 3): 0.5, (3, 5): 0.1})
    assert chosen(Clad(0.7), make_view(confidence, strong, masked, (1, 6))) == [1, 5]
    chain = attending(6, {(1, 3): 0.5, (3, 5): 0.6})  # 3 and 5 are each other's strongest
    assert chosen(Clad(0.7), make_view(confidence, chain, masked, (1, 6))) == [1, 3]


def test_clad_commits_one_cluster_whole_and_the_best_if_none_is_ready(make_view: MakeView) -> None:
    assert chosen(Clad(0.7), view_of(make_view, [0.8, 0.9, 0.1])) == [1, 2]
    assert chosen(Clad(0.7), view_of(make_view, [0.2, 0.3, 0.1])) == [2]
    assert Clad(0.6).short_form() == Threshold(0.6)


def test_conv_prefers_what_stands_among_known_tokens(make_view: MakeView) -> None:
    """Width 3: only position 1 has a known neighbour, the others score 0."""
    view = view_of(make_view, [0.2, 0.9, 0.9])
    assert chosen(Conv(3), view) == [1]
    assert chosen(Conv(5), view) == [2]  # 0.9 tanh 1
    assert chosen(Conv(5, steps=2), view) == [1, 2]  # 3 / 2, rounded up
    assert chosen(Conv(5, steps=2), replace(view, step=1)) == [1, 2, 3]
    assert chosen(Conv(5, steps=2), replace(view, step=5)) == [1, 2, 3]


def test_hierarchy_takes_the_best_of_each_gap(make_view: MakeView) -> None:
    masked = [False, True, True, False, True, True]
    view = make_view([1, 0.5, 0.6, 1, 0.45, 0.2], np.eye(6), masked, (1, 6))
    assert chosen(Hierarchy(), view) == [2, 4]
    assert chosen(Hierarchy(low_threshold=0.45), view) == [2]  # above it, not at it
    assert chosen(Hierarchy(0.55, 0.5), view) == [2]
    equal = make_view([1, 0.6, 0.6, 1, 0.1, 0.2], np.eye(6), masked, (1, 6))
    assert chosen(Hierarchy(), equal) == [1, 2]
    assert chosen(Hierarchy(), view_of(make_view, [0.95, 0.99, 0.1])) == [1, 2]


def test_lsp_commits_the_prefix_of_its_docstring(make_view: MakeView) -> None:
    margins = np.array([9, 5, 3, 4, 1, 2, 0.5, 0.4, 0.2], dtype=np.float32)
    view = view_of(make_view, [0.5] * 8, margin=margins, tokens=np.arange(9))
    assert chosen(Lsp(), view) == [1, 2, 3]
    assert chosen(Lsp(delimiters=(2,)), view) == [1, 2]
    assert chosen(Lsp(delimiters=(2,), snap=0), view) == [1, 2, 3]
    assert chosen(Lsp(0.5, 0.5), view) == [1, 2, 3]  # none after 4 of 8: the longest shorter one
    rising = replace(view, margin=np.arange(9, dtype=np.float32))
    assert chosen(Lsp(), rising) == [1]


def test_streaming_gives_way_as_its_block_fills_up(make_view: MakeView) -> None:
    """Of four positions in sight two are undecided: 0.9 * (1 - 0.4 * 0.5) = 0.72."""
    masked = [False, False, True, True, False]
    view = make_view([1, 1, 0.75, 0.7, 1], np.eye(5), masked, (1, 5))
    rule = Streaming(alpha=0.4)
    assert chosen(rule, view) == [2]
    begun = replace(view, memory=rule.remember(view))
    assert chosen(rule, begun) == [2]
    assert chosen(rule, replace(begun, confidence=view.confidence + np.float32(0.04))) == [2, 3]
    low = replace(view, confidence=np.array([1, 1, 0.1, 0.99, 1], dtype=np.float32))
    assert chosen(Streaming(opening="first"), low) == [2]
    assert chosen(Streaming(), low) == [3]


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (Clad, {"threshold": 2}, "policy 'clad': threshold is 2; expected a number from 0 to 1"),
        (Clad, {"even_over": "all"}, "even_over is 'all'; use one of window, sequence"),
        (Conv, {"width": 0}, "policy 'conv': width is 0; expected an integer >= 1"),
        (Hierarchy, {"low_threshold": -1}, "low_threshold is -1; expected a number from 0 to 1"),
        (Lsp, {"most_part": 0.1}, "most_part is 0.1; expected a number from 0.25 to 1"),
        (Lsp, {"delimiters": 13}, "delimiters is 13; expected a list of token ids"),
        (Lsp, {"delimiters": [13, -1]}, r"delimiters is \[13, -1\]; expected ids >= 0"),
        (Streaming, {"opening": "last"}, "opening is 'last'; use one of threshold, first"),
    ],
)
def test_bad_option_is_named(rule: type[Policy], options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        rule(**options)


def test_lsp_without_margins_says_what_it_needs(make_view: MakeView) -> None:
    view = replace(view_of(make_view, [0.5, 0.4]), margin=None)
    with pytest.raises(OptionError, match="policy 'lsp' reads margins"):
        Lsp().select(view)
