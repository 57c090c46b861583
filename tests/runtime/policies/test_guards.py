"""Guards: hand-computed cases, slow plain references, and several around any rule."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Adjacent,
    Blocks,
    Decoder,
    Eb,
    Guard,
    NoCache,
    OptionError,
    Policy,
    RowView,
    Rpd,
    Single,
    Threshold,
    Unmask,
)
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import SCHEMES
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.policies import GUARDS, Apart, Budget, EntropyBound, Needs, guarded
from dawn_runtime.settings import make_plan
from support.decoding import DAWN, MANIFEST, POLICIES, batch_of, begin, finished, states

MakeView = Callable[..., RowView]
LN2 = float(np.float32(np.log(2)))


def view_of(make_view: MakeView, confidence: list[float], entropy: list[float]) -> RowView:
    """One given position followed by a block with these predictions."""
    length = len(confidence) + 1
    return make_view(
        [1, *confidence],
        np.eye(length),
        np.arange(length) >= 1,
        (1, length),
        entropy=np.array([np.nan, *entropy], dtype=np.float32),
    )


def measured_view(rng: np.random.Generator, random_view: MakeView) -> RowView:
    """A random row with entropies of which some are equal and one was not predicted."""
    view = random_view(rng)
    entropy = (rng.integers(0, 9, len(view.masked)) / 4).astype(np.float32)
    entropy[0] = np.nan
    return replace(view, entropy=entropy)


def some(rng: np.random.Generator, view: RowView) -> IntArray:
    """A few of the candidates, at least one."""
    wanted = rng.random(len(view.candidates)) < rng.choice([0.2, 0.6, 1.0])
    wanted[rng.integers(len(wanted))] = True
    return view.candidates[wanted]


def slow_apart(view: RowView, chosen: list[int]) -> list[int]:
    waiting, taken = list(chosen), []
    while waiting:
        best = max(waiting, key=lambda i: (view.confidence[i], -i))
        taken.append(best)
        waiting = [i for i in waiting if abs(i - best) > 1]
    return sorted(taken)


def entropies_of(view: RowView) -> list[float]:
    assert view.entropy is not None
    return [0.0 if np.isnan(h) else h for h in view.entropy.tolist()]


def slow_budget(view: RowView, chosen: list[int], nats: float) -> list[int]:
    h, passed = entropies_of(view), list[int]()
    for i in chosen:
        left = sum(h[j] for j in range(i) if view.masked[j] and j not in passed)
        if left <= nats:
            passed.append(i)
    return passed


def slow_bound(view: RowView, chosen: list[int], gamma: float) -> list[int]:
    h = entropies_of(view)
    ordered = sorted(chosen, key=lambda i: (h[i], i))
    return sorted(i for n, i in enumerate(ordered) if sum(h[j] for j in ordered[:n]) <= gamma)


def test_each_guard_equals_a_slow_one_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(7)
    waited = {"adjacent": 0, "budget": 0, "entropy-bound": 0}
    for _ in range(1000):
        view = measured_view(rng, random_view)
        chosen, nats = some(rng, view), float(rng.choice([0, 0.25, 1, 4, 9]))
        expected: dict[Guard, list[int]] = {
            Apart(): slow_apart(view, chosen.tolist()),
            Budget(nats): slow_budget(view, chosen.tolist(), nats),
            EntropyBound(nats): slow_bound(view, chosen.tolist(), nats),
        }
        for guard, slow in expected.items():
            found = guard.allowed(view, chosen)
            assert found.tolist() == slow
            assert found.dtype == np.int64
            waited[guard.name] += len(slow) < len(chosen)
            alone = [guard.allowed(view, chosen[n : n + 1]).size > 0 for n in range(len(chosen))]
            assert guard.alone(view, chosen).tolist() == alone
    assert all(count > 100 for count in waited.values()), waited


def test_rules_made_of_guards_equal_slow_ones_on_1000_random_states(random_view: MakeView) -> None:
    rng = np.random.default_rng(8)
    fallbacks = 0
    for _ in range(1000):
        view, tau = measured_view(rng, random_view), float(rng.choice([0.2, 0.6, 0.9]))
        nats, near = float(rng.choice([0, 0.5, 2, 6])), int(rng.integers(1, 5))
        p, candidates = view.confidence.tolist(), view.candidates.tolist()
        sure = [i for i in candidates if p[i] >= np.float32(tau)]
        best = max(candidates, key=lambda i: (p[i], -i))
        assert Adjacent(tau).select(view).tolist() == slow_apart(view, sure or [best])
        assert Eb(nats).select(view).tolist() == slow_bound(view, candidates, nats)
        passed = slow_budget(view, sure, nats)
        fallbacks += not passed
        first = max(candidates[:near], key=lambda i: (p[i], -i))
        assert Rpd(tau, nats, near).select(view).tolist() == (passed or [first])
    assert 100 < fallbacks < 900


def test_of_neighbours_the_more_confident_goes_first(make_view: MakeView) -> None:
    flat = [0.0] * 5
    view = view_of(make_view, [0.91, 0.95, 0.92, 0.93, 0.99], flat)
    assert Apart().allowed(view, view.candidates).tolist() == [2, 5]
    assert Adjacent(0.9).select(view).tolist() == [2, 5]
    view = view_of(make_view, [0.9, 0.9, 0.9, 0.9, 0.9], flat)
    assert Adjacent(0.9).select(view).tolist() == [1, 3, 5], "the lower of equals"
    assert Adjacent(0.95).select(view).tolist() == [1], "the best where none is sure"


def test_the_budget_counts_what_stays_undecided_to_the_left(make_view: MakeView) -> None:
    """Entropies 1, 2, 3, 1: position 4 waits behind 1 + 3 if 2 is committed, else behind 6."""
    view = view_of(make_view, [0.5, 0.95, 0.5, 0.95], [1, 2, 3, 1])
    assert Budget(4).allowed(view, np.array([2, 4])).tolist() == [2, 4]
    assert Budget(3.9).allowed(view, np.array([2, 4])).tolist() == [2]
    assert Budget(4).allowed(view, np.array([4])).tolist() == []
    assert Budget(0.9).allowed(view, np.array([2, 4])).tolist() == [], "2 waits, and counts"
    assert Budget(0).allowed(view, np.array([1])).tolist() == [1]
    assert Rpd(nats=4).select(view).tolist() == [2, 4]
    assert Rpd(nats=0.9).select(view).tolist() == [2], "the most confident of the first 32"
    assert Rpd(nats=0.9, near=1).select(view).tolist() == [1]
    assert Rpd(0.99, 4).select(view).tolist() == [2]


def test_the_entropy_bound_adds_up_those_that_come_first(make_view: MakeView) -> None:
    view = view_of(make_view, [0.5] * 4, [2 * LN2, 0, LN2, 8])
    assert Eb(0).select(view).tolist() == [2, 3], "the first costs nothing"
    assert Eb(0.5 * LN2).select(view).tolist() == [2, 3]
    assert Eb(LN2).select(view).tolist() == [1, 2, 3]
    assert Eb(3 * LN2).select(view).tolist() == [1, 2, 3, 4]
    assert EntropyBound(0).allowed(view, np.array([1, 4])).tolist() == [1]


def test_guards_without_a_choice_have_nothing_to_let_through(make_view: MakeView) -> None:
    view, none = view_of(make_view, [0.5] * 3, [1.0] * 3), np.zeros(0, dtype=np.int64)
    for name in GUARDS.names():
        assert GUARDS.make(name).allowed(view, none).tolist() == []


def test_several_guards_hold_together_in_any_order(make_view: MakeView) -> None:
    """The budget lets 4 through only while 3 is committed, which then waits for its neighbour."""
    view = view_of(make_view, [0.9, 0.5, 0.9, 0.95], [0, 1, 3, 1])
    chosen = np.array([1, 3, 4])
    assert Budget(2).allowed(view, chosen).tolist() == [1, 3, 4]
    for guards in ((Budget(2), Apart()), (Apart(), Budget(2))):
        assert guarded(view, chosen, view.candidates, guards).tolist() == [1]


def test_what_several_let_through_each_lets_through_again(random_view: MakeView) -> None:
    rng, several = np.random.default_rng(10), 0
    for _ in range(500):
        view = measured_view(rng, random_view)
        guards: list[Guard] = [Apart(), Budget(float(rng.choice([1, 4, 9]))), EntropyBound(3)]
        rng.shuffle(guards)  # type: ignore[arg-type]  # a list is a sequence that can be shuffled
        chosen = some(rng, view)
        kept = guarded(view, chosen, view.candidates, guards)
        if kept.size > 1:
            assert np.isin(kept, chosen).all()
            assert all(guard.allowed(view, kept).tolist() == kept.tolist() for guard in guards)
        several += kept.size > 1
    assert several > 100


def test_rpd_is_the_budget_around_a_threshold_wherever_something_passes(
    random_view: MakeView,
) -> None:
    rng, passed = np.random.default_rng(11), 0
    for _ in range(500):
        view, nats = measured_view(rng, random_view), float(rng.choice([0, 1, 4]))
        sure = view.candidates[view.confidence[view.candidates] >= np.float32(0.6)]
        if Budget(nats).allowed(view, sure).size:
            passed += 1
            chosen = Threshold(0.6).select(view)
            kept = guarded(view, chosen, view.candidates, (Budget(nats),))
            assert kept.tolist() == Rpd(0.6, nats).select(view).tolist()
    assert passed > 200


@dataclass(frozen=True, slots=True)
class Never(Guard):
    """Lets nothing through."""

    name: ClassVar[str] = "never"

    def allowed(self, view: RowView, chosen: IntArray) -> IntArray:
        return chosen[:0]


@dataclass(frozen=True, slots=True)
class Wild(Guard):
    """Returns what was not chosen, and what is not there."""

    name: ClassVar[str] = "wild"

    def allowed(self, view: RowView, chosen: IntArray) -> IntArray:
        return np.array([-1, 0, 999, *view.candidates])


def test_what_stays_if_guards_leave_nothing(make_view: MakeView) -> None:
    view = view_of(make_view, [0.5, 0.6, 0.7, 0.95], [1, 1, 9, 1])
    every, far = view.candidates, np.array([4])
    # Of the choice, one that passes by itself: 3 does not go with 4, 4 not without 3.
    pair = np.array([3, 4])
    assert guarded(view, pair, every, (Apart(), Budget(2))).tolist() == [3]
    # Else a candidate that does, the most confident: 1 to 3 pass.
    assert guarded(view, far, every, (Budget(2),)).tolist() == [3]
    assert guarded(view, far, every, (Budget(1),)).tolist() == [2]
    assert guarded(view, far, np.array([1, 4]), (Budget(1),)).tolist() == [1]
    # Else the most confident of the choice.
    assert guarded(view, every, every, (Never(),)).tolist() == [4]
    assert guarded(view, np.array([1, 2]), every, (Never(),)).tolist() == [2]


def test_a_guard_only_takes_away(make_view: MakeView) -> None:
    view = view_of(make_view, [0.5] * 4, [1.0] * 4)
    assert guarded(view, np.array([2, 3]), view.candidates, (Wild(),)).tolist() == [2, 3]


ANY = st.lists(
    st.one_of(
        st.just(Apart()),
        st.floats(0, 30).map(Budget),
        st.floats(0, 30).map(EntropyBound),
        st.just(Never()),
    ),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.name)
@given(guards=ANY, seed=st.integers(0, 99))
@settings(max_examples=10)
def test_guards_around_any_rule_let_through_a_part_of_its_choice(
    policy: Policy, guards: list[Guard], seed: int
) -> None:
    """The answer is complete, a step commits at least one, and what holds together holds."""
    scheme = Unmask(policy, Blocks(6), NoCache(), guards=tuple(guards))
    rows = begin([[1, 2, 3 + seed % 7]], 11)
    ends = list(states(batch_of(FakeEngine(MANIFEST), rows, scheme)))
    assert not ends[-1][0].masked.any()
    for step, (row,) in enumerate(ends):
        decided = np.flatnonzero(row.commit_step == step)
        assert decided.size >= 1
        if any(isinstance(guard, Apart) for guard in guards):
            assert (np.diff(decided) > 1).all()
        if any(isinstance(guard, Never) for guard in guards):
            assert decided.size == 1


def test_needs_of_guards_join_those_of_the_policy() -> None:
    wanted = Needs(evidence="all", known_predictions=True, entropy=True)
    assert replace(DAWN.needs, entropy=True) == wanted
    scheme = Unmask(DAWN, Blocks(4), NoCache(), guards=(Apart(), Budget()))
    assert scheme.needs == wanted
    (ask,) = scheme.ask(begin([[1, 2]], 6)[0])
    assert (ask.entropy, ask.margin, ask.logits) == (True, False, False)
    every = Needs(known_predictions=True, evidence="candidates", margin=True)
    assert every | Needs(evidence="all", logits=True, history=True, later_predictions=True) == (
        Needs(True, "all", later_predictions=True, logits=True, history=True, margin=True)
    )
    assert Needs() | Needs() == Needs()


def test_no_kernel_chooses_where_a_guard_has_a_say() -> None:
    (row,) = begin([[1, 2]], 6)
    for policy in (DAWN, Threshold(0.5)):
        plain = Unmask(policy, Blocks(4), NoCache())
        assert plain.kernel_view(row, plain.ask(row)[0]) is not None
        careful = replace(plain, guards=(Apart(),))
        assert careful.kernel_view(row, careful.ask(row)[0]) is None


def test_a_mask_that_is_predicted_is_never_what_stays() -> None:
    """Guards are asked about what can be committed only."""
    scheme = Unmask(Threshold(0.0), Single(), NoCache(), guards=(Never(),))
    (row,) = begin([[1, 2]], 5)
    (after,) = next(states(batch_of(FakeEngine(MANIFEST), [row], scheme)))
    assert (after.ids[~after.masked] != MANIFEST.tokens.mask).all()


def scheme_of(**given_: Any) -> Unmask:
    scheme = make_plan(given_, MANIFEST.decoding).scheme
    assert isinstance(scheme, Unmask)
    return scheme


def test_settings_take_a_guard_by_name_as_an_object_or_several() -> None:
    assert scheme_of().guards == ()
    assert scheme_of(guard="budget:nats=2").guards == (Budget(2.0),)
    assert scheme_of(guard=Budget(3)).guards == (Budget(3.0),)
    several = ["adjacent", Budget(3), "entropy-bound:gamma=1"]
    assert scheme_of(guard=several).guards == (Apart(), Budget(3.0), EntropyBound(1.0))
    assert scheme_of(guard=()).guards == ()


@pytest.mark.parametrize(
    ("guard", "message"),
    [
        ("budgt", "unknown guard: 'budgt'; did you mean 'budget'"),
        ("budget:nats=x", "guard 'budget': nats is 'x'; expected a number"),
        ("budget:gamma=1", "unknown option of guard 'budget': 'gamma'; .*known: nats"),
        ("adjacent:radius=1", "unknown option of guard 'adjacent': 'radius'; there are none"),
        (["adjacent", Apart()], "guard 'adjacent' is given twice; give it once"),
        (5, r"guard is 5; expected a name \(adjacent, budget, entropy-bound\), a guard, or"),
        ({"budget": 4}, "guard is {'budget': 4}; expected a name"),
        ([5], "guard is 5; expected a name"),
        (Budget, "guard is .*; expected a name"),
        ([Threshold(0.5)], "guard is Threshold.*; expected a name"),
        ([np.array([], bool)], r"guard is array\(\[\].*; expected a name"),
        ([np.array(["none", "none"])], r"guard is array\(\['none'.*; expected a name"),
    ],
)
def test_a_guard_that_is_none_is_refused(guard: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        scheme_of(guard=guard)


def test_schemes_that_choose_by_themselves_take_no_guard() -> None:
    for policy in (*SCHEMES.names(), SCHEMES.make("wino")):
        with pytest.raises(OptionError, match="takes no guard, which belongs to a policy; leave"):
            make_plan({"policy": policy, "guard": "adjacent"}, MANIFEST.decoding)


def test_a_result_records_its_guards(fake_decoder: Decoder) -> None:
    given_ = {"max_new_tokens": 12, "policy": "threshold", "options": {"threshold": 0.0}}
    free = fake_decoder.generate(input_ids=[1, 2], **given_, stop_at_eos=False)
    assert (free.guards, free.forwards) == ((), 1)
    kept = fake_decoder.generate(
        input_ids=[1, 2], **given_, stop_at_eos=False, guard=["adjacent", "budget:nats=1"]
    )
    assert kept.guards == ("adjacent", "budget:nats=1.0")
    assert kept.to_dict()["guards"] == list(kept.guards)
    assert kept.forwards > 1
    assert tuple(GUARDS.parse(text) for text in kept.guards) == (Apart(), Budget(1.0))


def test_the_short_form_of_a_rule_keeps_its_guards() -> None:
    plan = make_plan(
        {"policy": "dawn", "guard": "adjacent", "fallback_length": 32}, MANIFEST.decoding
    )
    scheme, fallback = plan.scheme_for(8)
    assert fallback
    assert isinstance(scheme, Unmask)
    assert scheme.guards == (Apart(),)


def test_rows_of_a_batch_have_their_own_guards() -> None:
    free = Unmask(Threshold(0.0), Single(), NoCache())
    careful = replace(free, guards=(Apart(),))
    rows = begin([[1, 2], [3, 4]], 8)
    batch = finished(batch_of(FakeEngine(MANIFEST), rows, [free, careful]))
    assert batch.row(0).step == 1
    assert batch.row(1).step > 1


def test_a_guard_that_lacks_what_it_reads_says_so(make_view: MakeView) -> None:
    view = replace(view_of(make_view, [0.9], [1.0]), entropy=None)
    with pytest.raises(OptionError, match="the view of a row has no entropy; say so in the needs"):
        Budget().allowed(view, view.candidates)
