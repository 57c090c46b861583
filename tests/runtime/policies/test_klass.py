"""KLASS: what it remembers of a row, its rule over many steps, and rows beside each other."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Blocks, Klass, NoCache, OptionError, RowView, Threshold
from dawn_runtime.decoding import RowState, Unmask
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.policies import klass
from support.decoding import batch_of, states

MakeView = Callable[..., RowView]
MANIFEST = fake_manifest(vocab_size=16)


def view_of(
    make_view: MakeView, probabilities: Any, masked: Any, window: tuple[int, int], **changes: Any
) -> RowView:
    """A row whose undecided positions from the window on are predicted with [L, V] distributions.

    The confidence is the greatest probability.
    """
    probabilities = np.asarray(probabilities, dtype=np.float32)
    masked = np.asarray(masked)
    predicted = window[0] + np.flatnonzero(masked[window[0] :])
    return make_view(
        probabilities.max(axis=1),
        np.eye(len(masked)),
        masked,
        window,
        predicted=predicted,
        logits=np.log(probabilities[predicted]),
        **changes,
    )


def ask(policy: Klass, view: RowView) -> tuple[list[int], Any]:
    """What the loop does in a step: the choice and what is remembered."""
    view = replace(view, memory=policy.remember(view))
    return sorted(policy.select(view).tolist()), view.memory


def random_steps(rng: np.random.Generator, make_view: MakeView) -> list[RowView]:
    """A row over several steps: distributions drift, positions get decided, the block moves on."""
    length, block = 12, 5
    masked = np.arange(length) >= 2
    logits = rng.normal(size=(length, 5)) * 2
    steps = []
    while masked.any() and len(steps) < 8:
        begin = 2 + (int(masked.argmax()) - 2) // block * block
        drift = rng.choice([0.02, 0.3], size=(length, 1))
        logits = logits + rng.normal(size=logits.shape) * drift
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        window = (begin, min(begin + block, length))
        steps.append(view_of(make_view, probabilities, masked.copy(), window))
        candidates = begin + np.flatnonzero(masked[begin : window[1]])
        masked[rng.choice(candidates, size=min(2, len(candidates)), replace=False)] = False
    return steps


def slow_reference(policy: Klass, steps: list[RowView]) -> list[list[int]]:
    """The published loop over one row, in Python numbers."""
    before: dict[int, list[float]] = {}
    changes: dict[int, list[float]] = {}
    answers = []
    opened, end = 0, 0
    for number, view in enumerate(steps):
        assert view.logits is not None
        now = {}
        for i, row in zip(view.predicted.tolist(), view.logits.tolist(), strict=True):
            total = sum(map(math.exp, row))
            now[i] = [math.exp(z) / total for z in row]
        for i in range(len(view.masked)):
            change = math.inf
            if i in now and i in before:
                pairs = zip(now[i], before[i], strict=True)
                change = sum(p * (math.log(p + 1e-12) - math.log(q + 1e-12)) for p, q in pairs)
            changes.setdefault(i, []).append(change)
        before = now
        if view.window[0] >= end:
            opened = number
        end = view.window[1]
        p = view.confidence.tolist()
        candidates = view.candidates.tolist()
        late = policy.warm_up == "none" or number - opened >= policy.history - 1
        ready = [
            i
            for i in candidates
            if late
            and number + 1 > policy.history
            and all(change < policy.kl_threshold for change in changes[i][-policy.history :])
            and p[i] >= np.float32(policy.threshold)
        ]
        answers.append(ready or [max(candidates, key=lambda i: (p[i], -i))])
    return answers


@pytest.mark.parametrize("warm_up", ["none", "window"])
def test_choices_equal_those_of_a_slow_reference_in_1000_random_states(
    warm_up: str, make_view: MakeView
) -> None:
    rng = np.random.default_rng(17)
    states, several = 0, 0
    while states < 1000:
        policy = Klass(rng.uniform(0.2, 0.7), 0.02, int(rng.integers(1, 4)), warm_up)
        steps = random_steps(rng, make_view)
        memory, answers = None, []
        for view in steps:
            answer, memory = ask(policy, replace(view, memory=memory))
            answers.append(answer)
        assert answers == slow_reference(policy, steps)
        states += len(steps)
        several += sum(len(answer) > 1 for answer in answers)
    assert several > 50, "the states must exercise more than the fallback"


def test_rows_that_are_worked_on_in_turn_come_to_the_same(
    make_view: MakeView, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = random_steps(np.random.default_rng(3), make_view)
    memories: list[Any] = []
    for at_once in (1, 10, 1 << 18):  # one row of five tokens, two, all of them
        monkeypatch.setattr(klass, "_AT_ONCE", at_once)
        memory = None
        for view in steps:
            memory = Klass().remember(replace(view, memory=memory))
        memories.append(memory)
    assert np.isfinite(memories[0].divergences[:, -1]).any()
    for other in memories[1:]:
        np.testing.assert_array_equal(other.log_probabilities, memories[0].log_probabilities)
        np.testing.assert_array_equal(other.divergences, memories[0].divergences)


CALM = [[0.9, 0.1], [0.7, 0.3], [0.8, 0.2]]
MASKED = [False, True, True]


def test_nothing_is_ready_before_the_history_is_full(make_view: MakeView) -> None:
    policy, memory, answers = Klass(), None, []
    for _ in range(3):
        view = view_of(make_view, CALM, MASKED, (1, 3), memory=memory)
        answer, memory = ask(policy, view)
        answers.append(answer)
    assert answers == [[2], [2], [1, 2]]


def test_a_candidate_that_changed_waits_although_it_is_confident(make_view: MakeView) -> None:
    policy, memory = Klass(history=1), None
    moved = [[0.9, 0.1], [0.7, 0.3], [0.99, 0.01]]
    _, memory = ask(policy, view_of(make_view, CALM, MASKED, (1, 3)))
    answer, memory = ask(policy, view_of(make_view, moved, MASKED, (1, 3), memory=memory))
    assert answer == [1]
    change = 0.99 * math.log(0.99 / 0.8) + 0.01 * math.log(0.01 / 0.2)
    np.testing.assert_allclose(memory.divergences[1:, -1], [0, change], atol=1e-6)


@pytest.mark.parametrize(("warm_up", "expected"), [("none", [2, 3]), ("window", [3])])
def test_history_of_a_block_begins_before_the_block(
    warm_up: str, expected: list[int], make_view: MakeView
) -> None:
    policy, memory = Klass(warm_up=warm_up), None
    calm = [*CALM, [0.9, 0.1]]
    for _ in range(3):
        view = view_of(make_view, calm, [False, True, True, True], (1, 2), memory=memory)
        _, memory = ask(policy, view)
    view = view_of(make_view, calm, [False, False, True, True], (2, 4), memory=memory)
    assert ask(policy, view)[0] == expected


def test_a_position_that_was_not_predicted_begins_anew(make_view: MakeView) -> None:
    policy = Klass(history=1)
    _, memory = ask(policy, view_of(make_view, CALM, MASKED, (1, 3)))
    only_last = view_of(make_view, CALM, [False, False, True], (1, 3), memory=memory)
    _, memory = ask(policy, only_last)
    answer, memory = ask(policy, view_of(make_view, CALM, MASKED, (1, 3), memory=memory))
    assert answer == [2]
    assert memory.divergences[:, -1].tolist() == [math.inf, math.inf, 0]


def test_memory_is_replaced_and_never_written(make_view: MakeView) -> None:
    _, memory = ask(Klass(), view_of(make_view, CALM, MASKED, (1, 3)))
    assert not memory.log_probabilities.flags.writeable
    assert not memory.divergences.flags.writeable
    _, later = ask(Klass(), view_of(make_view, CALM, MASKED, (1, 3), memory=memory))
    assert later is not memory
    assert np.isinf(memory.divergences).all()


def rows_after(prompts: list[list[int]], policies: list[Any]) -> tuple[RowState, ...]:
    """Decodes rows together on the hash model and returns them."""
    rows = [RowState.begin(np.array(p), 9, MANIFEST.tokens.mask) for p in prompts]
    schemes = [Unmask(policy, Blocks(4), NoCache()) for policy in policies]
    after: tuple[RowState, ...] = ()
    for after in states(batch_of(FakeEngine(MANIFEST, HashModel(16)), rows, [*schemes])):
        assert all((row.memory is None) == row.finished for row in after[:1])
    return after


def test_every_row_has_its_own_memory_and_drops_it_at_the_end() -> None:
    """The neighbours differ in length and rule; the predictions of the hash model jump a lot."""
    policy = Klass(0.2, kl_threshold=8.0)
    prompts = [[1, 2, 3], [4], [5, 6]]
    together = rows_after(prompts, [policy, policy, Threshold(0.5)])
    again = rows_after(prompts, [policy, policy, Threshold(0.5)])
    assert together[0].step < 9, "the rule must have committed several at once"
    for row, twin, prompt in zip(together[:2], again[:2], prompts[:2], strict=True):
        (alone,) = rows_after([prompt], [policy])
        for other in (twin, alone):
            np.testing.assert_array_equal(row.ids, other.ids)
            np.testing.assert_array_equal(row.commit_step, other.commit_step)
            np.testing.assert_array_equal(row.commit_confidence, other.commit_confidence)


def test_an_engine_without_logits_is_refused(make_view: MakeView) -> None:
    view = make_view([0.9, 0.9], np.eye(2), [False, True], (1, 2))
    with pytest.raises(OptionError, match="policy 'klass' reads logits; run it on an engine"):
        Klass().remember(view)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.2}, "threshold is 1.2; expected a number from 0 to 1"),
        ({"kl_threshold": -1}, "kl_threshold is -1; expected a number from 0 to 100"),
        ({"history": 0}, "history is 0; expected an integer >= 1"),
        ({"warm_up": "block"}, "warm_up is 'block'; use one of none, window"),
    ],
)
def test_bad_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"policy 'klass': {message}"):
        Klass(**options)
