"""Properties that hold for every policy, and the registry that makes them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Dapd,
    Dawn,
    Factor,
    Klass,
    LocalLeap,
    OnePerStep,
    OptionError,
    Policy,
    RowView,
    Threshold,
)
from dawn_runtime.arrays import IntArray
from dawn_runtime.policies import POLICIES, Clad, Conv, Dico, Hierarchy, Lsp, Streaming
from dawn_runtime.registry import Registry

MakeView = Callable[..., RowView]
UNIT = st.floats(0, 1, width=32)


@st.composite
def newer_policies(draw: st.DrawFn, name: str) -> Policy:
    """The same by name, of the rules that came later."""
    if name == "clad":
        even_over = draw(st.sampled_from(["window", "sequence"]))
        return Clad(draw(UNIT), draw(st.floats(0, 4)), even_over)
    if name == "conv":
        return Conv(draw(st.integers(1, 20)), draw(st.floats(0, 3)), draw(st.integers(0, 20)))
    if name == "dico":
        counts = {"seeds": draw(st.integers(1, 4)), "tolerance": draw(st.integers(0, 3))}
        return Dico(**counts, dense=draw(UNIT), share=draw(UNIT), margin=draw(st.floats(0, 5)))
    if name == "hierarchy":
        low, threshold = sorted((draw(UNIT), draw(UNIT)))
        return Hierarchy(threshold, low)
    if name == "lsp":
        low, high = sorted((draw(UNIT), draw(UNIT)))
        return Lsp(low, high, draw(st.integers(0, 8)), (1, 3))
    if name == "streaming":
        opening = draw(st.sampled_from(["threshold", "first"]))
        return Streaming(draw(UNIT), draw(UNIT), opening)
    return POLICIES.make(name)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Any registered policy with any legal options."""
    name = draw(st.sampled_from(POLICIES.names()))
    if name == "threshold":
        return Threshold(draw(UNIT))
    if name == "dawn":
        rest = {name: draw(UNIT) for name in ("tau_sink", "tau_induce", "tau_low", "tau_high")}
        edge = draw(st.floats(0.01, 1))
        length = {"reference_length": draw(st.integers(0, 50)), "length_exponent": draw(UNIT)}
        adjacency = draw(st.sampled_from(["both", "union"]))
        return Dawn(tau_edge=edge, adjacency=adjacency, **rest, **length)
    if name == "dapd":
        low, high = sorted((draw(UNIT), draw(UNIT)))
        variant = draw(st.sampled_from(["staged", "direct"]))
        return Dapd(variant, low, high, draw(UNIT), draw(UNIT), draw(UNIT))
    if name == "factor":
        return Factor(draw(st.floats(0, 50)))
    if name == "klass":
        warm_up = draw(st.sampled_from(["none", "window"]))
        return Klass(draw(UNIT), draw(st.floats(0, 10)), draw(st.integers(1, 3)), warm_up)
    if name == "local-leap":
        relaxed, threshold = sorted((draw(UNIT), draw(UNIT)))
        return LocalLeap(threshold, relaxed, draw(st.integers(0, 20)))
    return draw(newer_policies(name))


def with_margin(view: RowView) -> RowView:
    """The same row with margins."""
    margins = np.random.default_rng(len(view.candidates)).exponential(2, len(view.masked))
    return replace(view, margin=margins.astype(np.float32))


def ask(policy: Policy, view: RowView) -> IntArray:
    """Asks after three steps that differ in the logits alone, with what the policy needs."""
    rng = np.random.default_rng(len(view.masked))
    view = with_margin(view) if policy.needs.margin else view
    for _ in range(3 if policy.needs.history else 0):
        logits = rng.normal(size=(len(view.predicted), 4)).astype(np.float32)
        view = replace(view, logits=logits if policy.needs.logits else None)
        view = replace(view, memory=policy.remember(view))
    return policy.select(view)


@st.composite
def rows(draw: st.DrawFn) -> tuple[Any, ...]:
    """Confidence, attention, mask and window of a row with at least one candidate."""
    length = draw(st.integers(2, 16))
    begin = draw(st.integers(1, length - 1))
    end = draw(st.integers(begin + 1, length))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    masked = rng.random(length) < draw(UNIT)
    masked[:begin] = False
    masked[draw(st.integers(begin, end - 1))] = True
    attention = rng.random((length, length)) ** 4
    confidence = draw(st.lists(UNIT, min_size=length, max_size=length))
    return confidence, attention / attention.sum(axis=1, keepdims=True), masked, (begin, end)


@given(policy=policies(), row=rows())
@settings(max_examples=300)
def test_every_policy_chooses_candidates_and_at_least_one(
    policy: Policy, row: tuple[Any, ...], make_view: MakeView
) -> None:
    view = make_view(*row)
    found = ask(policy, view)
    assert found.dtype == np.int64
    assert found.size >= 1
    assert np.isin(found, view.candidates).all()
    assert len(set(found.tolist())) == found.size


@given(policy=policies(), row=rows())
@settings(max_examples=200)
def test_every_policy_gives_the_same_answer_twice_and_writes_nothing(
    policy: Policy, row: tuple[Any, ...], make_view: MakeView
) -> None:
    view = make_view(*row)
    before = view.confidence.copy(), view.attention.copy(), view.masked.copy()
    first = ask(policy, view)
    np.testing.assert_array_equal(first, ask(policy, make_view(*row)))
    for array, copy in zip((view.confidence, view.attention, view.masked), before, strict=True):
        np.testing.assert_array_equal(array, copy)


@given(row=rows(), tau_edge=st.floats(0.01, 0.5), tau_low=UNIT)
@settings(max_examples=200)
def test_free_candidates_of_dawn_never_conflict(
    row: tuple[Any, ...], tau_edge: float, tau_low: float, make_view: MakeView
) -> None:
    """Without sure and induced candidates the selection is an independent set."""
    confidence, attention, masked, window = row
    view = make_view(confidence, attention, masked, window)
    policy = Dawn(1.0, tau_edge, 1.0, tau_low, tau_high=1.0)
    found = policy.select(view)
    found = found[view.confidence[found] < 1.0]
    edges = view.attention[np.ix_(found, found)] >= tau_edge
    np.fill_diagonal(edges, val=False)
    assert not edges.any()


@given(row=rows(), tau_edge=st.floats(0.01, 0.5))
@settings(max_examples=200)
def test_with_union_no_free_candidate_depends_on_a_settled_one(
    row: tuple[Any, ...], tau_edge: float, make_view: MakeView
) -> None:
    view = make_view(*row)
    found = Dawn(1.0, tau_edge, 1.0, 0.0, tau_high=0.5, adjacency="union").select(view)
    settled = view.confidence[found] >= 0.5
    edges = view.attention[np.ix_(found[~settled], found[settled])] >= tau_edge
    assert not edges.any()


def test_threshold_takes_the_best_when_none_reaches_it(make_view: MakeView) -> None:
    view = make_view([1, 0.2, 0.6, 0.6], np.eye(4), [False, True, True, True], (1, 4))
    assert Threshold(0.9).select(view).tolist() == [2]
    assert Threshold(0.6).select(view).tolist() == [2, 3]
    assert Threshold(0).select(view).tolist() == [1, 2, 3]


def test_one_per_step_takes_the_lowest_of_equals(make_view: MakeView) -> None:
    view = make_view([1, 0.5, 0.7, 0.7], np.eye(4), [False, True, True, True], (1, 4))
    assert OnePerStep().select(view).tolist() == [2]


def test_policies_are_made_from_names_and_options() -> None:
    assert POLICIES.make("threshold", {"threshold": 0.8}) == Threshold(0.8)
    assert POLICIES.make("dawn", {"tau_edge": 0.05}) == Dawn(tau_edge=0.05)
    assert POLICIES.make("dapd", {"variant": "direct"}) == Dapd("direct")
    assert POLICIES.make("factor", {"factor": 2}) == Factor(2.0)
    assert POLICIES.make("klass", {"kl_threshold": 0.01}) == Klass(kl_threshold=0.01)
    assert POLICIES.make("local-leap", {"radius": 2}) == LocalLeap(radius=2)
    policy = Dawn()
    assert POLICIES.make(policy) is policy


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        (
            "dwan",
            {},
            "unknown policy: 'dwan'; did you mean 'dawn'\\? known: .*clad, conv, dapd",
        ),
        ("xyz", {}, "unknown policy: 'xyz'; known: .*clad, conv, dapd, dawn, dico"),
        ("dawn", {"tau_egde": 1}, "unknown option of policy 'dawn': 'tau_egde'; did you mean"),
        ("one-per-step", {"k": 1}, "unknown option of policy 'one-per-step': 'k'; there are none"),
        ("threshold", {"threshold": 2}, "policy 'threshold': threshold is 2; expected a number"),
        (Dawn(), {"tau_low": 1}, r"options \['tau_low'\] were given beside a policy object"),
    ],
)
def test_unknown_names_and_options_list_what_there_is(
    rule: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        POLICIES.make(rule, options)


def test_a_new_policy_is_one_class_and_one_line() -> None:
    registry: Registry[Policy] = Registry("policy")

    @registry.register
    @dataclass(frozen=True, slots=True)
    class Leftmost(Policy):
        name: ClassVar[str] = "leftmost"

        count: int = 2

        def select(self, view: RowView) -> IntArray:
            return view.candidates[: self.count]

    made = registry.make("leftmost", {"count": 3})
    assert made.options() == {"count": 3}
    assert made.short_form() is None
    with pytest.raises(OptionError, match="policy 'leftmost' is registered already"):
        registry.register(Leftmost)
