"""Tokens tried beside the row are committed exactly where the row would predict them too."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Blocks, Decoder, Dual, OptionError, Single, Sliding, Threshold
from dawn_runtime.decoding import CACHES, Answer, Ask, NoCache, RowState, Scheme, Unmask, Window
from dawn_runtime.decoding.caches import Prefix
from dawn_runtime.decoding.schemes import Verify
from dawn_runtime.decoding.schemes.beside import beside, parted
from dawn_runtime.decoding.schemes.drafting import Hand, in_hand
from dawn_runtime.decoding.schemes.verify import _Past, worth_trying
from dawn_runtime.engine import StepInputs
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from support.decoding import END, MANIFEST, MANY, MASK, Steady, batch_of, finished, states

TEMPLATES = st.lists(st.sampled_from([1, 2, 3, MASK, MASK, MASK]), min_size=1, max_size=24)
SHARES = st.sampled_from([0.0, 0.5, 0.8, 0.95, 1.0])
HOW = st.sampled_from(["rows", "shared"])
WINDOWS = st.sampled_from([Blocks(3), Blocks(8), Single()])


def decode(row: RowState, scheme: Scheme, model: Any) -> RowState:
    return finished(batch_of(FakeEngine(MANIFEST, model), [row], scheme)).row(0)


class Slow:
    """The rule as it is told, one full pass for every state there is, and dictionaries.

    Without a cache. The hash model is a function of what a row sees, so a draft that looks at the
    state for what is known predicts what it would predict as a row of its own.
    """

    def __init__(self, scheme: Verify, model: Any) -> None:
        self.scheme, self.engine = scheme, FakeEngine(MANIFEST, model)

    def predictions(self, ids: list[int], shift: int) -> dict[int, tuple[float, int]]:
        """Position -> (confidence, token) of every undecided position."""
        length = len(ids)
        rows = np.arange(length)[None]
        mask = np.ones((1, 1, length, length), dtype=bool)
        found = self.engine.run(StepInputs(np.array([ids]), rows, mask, rows, rows[:, :0]))
        return {
            position: (float(found.confidence[0, row]), int(found.tokens[0, row]))
            for position in range(length)
            if ids[position] == MASK
            for row in [max(position - shift, 0)]
        }

    def window(self, ids: list[int], start: int) -> range:
        length = getattr(self.scheme.window, "block_length", len(ids))
        open_ = [position for position, token in enumerate(ids) if token == MASK]
        first = open_[0] if open_ else len(ids)
        begin = first - (first - start) % length
        return range(begin, min(begin + length, len(ids)))

    def worth(self, confidences: list[float], share: float) -> int:
        """How many tokens are tried: those that decide most in a time."""
        added = self.scheme.cost * (1 if self.scheme.how == "rows" else share)
        best, saved, product, number = 1.0, 1.0, 1.0, 0
        for count, confidence in enumerate(confidences[: self.scheme.tries], start=1):
            product *= confidence
            saved += product
            if saved / (1 + count * added) > best:
                best, number = saved / (1 + count * added), count
        return number

    def decode(self, ids: list[int], start: int, shift: int) -> tuple[list[int], int]:
        """The sequence in the end, and the number of steps."""
        hand: dict[int, tuple[float, int]] = {}
        steps = 0
        while MASK in ids:
            steps += 1
            here = self.window(ids, start)
            best = sorted(hand, key=lambda position: (-hand[position][0], position))
            tried = [p for p in best if p in here and hand[p][0] >= self.scheme.floor]
            open_ = sum(ids[position] == MASK for position in here)
            tried = tried[: self.worth([hand[p][0] for p in tried], open_ / len(ids))]
            drafted = list(ids)
            confirmed = []
            for position in tried:
                confidence, token = self.predictions(drafted, shift)[position]
                if token != hand[position][1] or confidence < self.scheme.accept:
                    break
                confirmed.append(position)
                drafted[position] = token
            after = self.predictions(drafted, shift)
            now = self.window(drafted, start) if not {*here} & {*after} else here
            after = {p: after[p] for p in after if p in now}
            sure = [p for p in after if after[p][0] >= self.scheme.threshold]
            if not confirmed and not sure:
                sure = [min(after, key=lambda position: (-after[position][0], position))]
            ids = list(drafted)
            for position in sure:
                ids[position] = after.pop(position)[1]
            hand = after
        return ids, steps


@given(
    template=TEMPLATES,
    tries=st.integers(1, 6),
    threshold=st.sampled_from([0.5, 0.9, 0.98, 1.0]),
    floor=st.sampled_from([0.0, 0.3, 0.7]),
    accept=st.sampled_from([0.0, 0.4, 0.8]),
    how=HOW,
    cost=st.sampled_from([0.0, 0.3, 1.0]),
    shift=st.integers(0, 1),
    window=WINDOWS,
    share=SHARES,
    seed=st.integers(0, 10000),
)
@settings(max_examples=MANY)
def test_it_decides_what_the_slow_reference_decides(
    template: list[int],
    tries: int,
    threshold: float,
    floor: float,
    accept: float,
    how: str,
    cost: float,
    shift: int,
    window: Window,
    share: float,
    seed: int,
) -> None:
    ids, model = [5, 6, *template, MASK], Steady(share, seed)
    scheme = Verify(tries, threshold, floor, accept, how, cost, window)
    row = decode(RowState.fill(np.array(ids), 2, MASK, shift=shift), scheme, model)
    expected, steps = Slow(scheme, model).decode(ids, 2, shift)
    assert row.ids.tolist() == expected
    assert row.step == steps
    assert row.step <= ids.count(MASK), "every step commits a token"


class Coupled:
    """Ann or Bob, about as likely, at positions 0 and 2; one is sure where the other stands."""

    def __call__(
        self, tokens: Any, positions: Any, keys: Any, places: Any, visible: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, 7] = 20
        for row, position in enumerate(positions):
            if position in (0, 2):
                others = keys[visible[row] & np.isin(places, [0, 2]) & (keys != MASK)]
                logits[row, 7] = 0
                logits[row, [8, 9]] = [9, 8.9] if position == 0 else [8.9, 9]
                logits[row, others] += 20
        return logits, visible / visible.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("how", ["rows", "shared"])
def test_two_names_that_must_agree_do_and_by_a_threshold_they_do_not(how: str) -> None:
    row = RowState.fill(np.array([MASK, 7, MASK, 7]), 0, MASK)
    found = decode(row, Verify(how=how), Coupled())
    assert found.ids.tolist() == [8, 7, 8, 7]
    # 0.52 at 0 comes first; 9, tried at 2, is looked at again: with 8 at 0 it is not predicted.
    assert [commit.position for commit in found.trace()] == [0, 2]
    both = decode(row, Unmask(Threshold(0.5), Blocks(8), NoCache()), Coupled())
    assert both.ids.tolist() == [8, 7, 9, 7]


@pytest.mark.parametrize("how", ["rows", "shared"])
@pytest.mark.parametrize("shift", [0, 1])
def test_certain_predictions_cost_one_run_a_block_and_uncertain_ones_are_saved_runs(
    how: str, shift: int
) -> None:
    taken = []
    for share, threshold in ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0)):
        scheme = Verify(3, threshold, how=how, cost=0.0, window=Blocks(8))
        row = RowState.begin(np.array([5, 6]), 24, MASK, shift=shift)
        taken.append(decode(row, scheme, Steady(share, 3)).step)
    assert taken[0] == 3
    assert taken[0] < taken[1] < taken[2] <= 24


@given(
    template=TEMPLATES,
    tries=st.integers(1, 5),
    how=HOW,
    shift=st.integers(0, 1),
    cache=st.sampled_from([Prefix(), Dual()]),
    window=WINDOWS,
    share=SHARES,
    seed=st.integers(0, 1000),
)
@settings(max_examples=100)
def test_with_a_cache_it_ends_leaves_given_tokens_alone_and_commits_in_every_step(
    template: list[int],
    tries: int,
    how: str,
    shift: int,
    cache: Any,
    window: Window,
    share: float,
    seed: int,
) -> None:
    ids = np.array([5, 6, *template, MASK])
    row = RowState.fill(ids, 2, MASK, (END,), shift=shift)
    scheme = Verify(tries, how=how, cost=0.0, window=window, cache=cache)
    decided = 0
    for (after,) in states(batch_of(FakeEngine(MANIFEST, Steady(share, seed)), [row], scheme)):
        assert after.decided > decided
        decided = after.decided
        np.testing.assert_array_equal(after.ids[ids != MASK], ids[ids != MASK])
    assert after.finished


@pytest.mark.parametrize("how", ["rows", "shared"])
@pytest.mark.parametrize("shift", [0, 1])
def test_with_a_cache_only_the_block_is_fed_after_its_opening(how: str, shift: int) -> None:
    row = RowState.begin(np.array([5, 6, 7]), 16, MASK, shift=shift)
    scheme = Verify(2, 1.0, how=how, cost=0.0, window=Blocks(8), cache=Dual())
    fed = []
    before = row
    for (after,) in states(batch_of(FakeEngine(MANIFEST, Steady(0.9, 1)), [row], scheme)):
        fed.append((after.fed - before.fed, scheme.ask(before)))
        before = after
    openings = [count for count, asks in fed if not asks[0].kept.size]
    assert openings == [19, 19]
    for _, asks in fed:
        if asks[0].kept.size:
            base = asks[0].positions[: 8 + shift]
            assert len(base) == 8 + shift
            assert np.isin(asks[0].positions, base).all()


def test_a_draft_beside_the_row_feeds_what_is_open_and_looks_at_the_row_for_the_rest() -> None:
    """The example of `beside`."""
    ann, met, eve, ing = 1, 2, 11, 12
    row = RowState.fill(np.array([ann, met, MASK, MASK]), 2, MASK)
    scheme = Verify(2, cost=0.0, window=Single())
    hand = in_hand(np.array([2, 3]), np.array([eve, ing]), np.array([0.6, 0.5], dtype=np.float32))
    drafts = [scheme.draft(row, hand.some(slice(count))) for count in range(3)]
    ask = beside(drafts)
    assert ask.tokens.tolist() == [ann, met, MASK, MASK, eve, MASK]
    assert ask.positions.tolist() == [0, 1, 2, 3, 2, 3]
    assert ask.predict.tolist() == [2, 3, 5]
    assert seen(ask) == [*["xxxx.."] * 4, *["xx..xx"] * 2]
    answer = Answer(
        ask,
        np.array([11, 12, 13]),
        np.array([0.6, 0.5, 0.7], dtype=np.float32),
        np.zeros((0, 6), dtype=np.float32),
    )
    parts = parted(answer)
    assert [part.tokens.tolist() for part in parts] == [[11, 12], [13], []]
    assert [part.ask for part in parts] == drafts


def test_where_the_row_before_predicts_a_draft_feeds_it_too() -> None:
    row = RowState.fill(np.array([1, 2, MASK, MASK]), 2, MASK, shift=1)
    scheme = Verify(2, window=Single())
    hand = in_hand(np.array([3]), np.array([12]), np.array([0.6], dtype=np.float32))
    ask = beside([scheme.draft(row, hand.some(slice(count))) for count in range(2)])
    assert ask.tokens.tolist() == [1, 2, MASK, MASK, 2, MASK, 12]
    assert ask.predict.tolist() == [1, 2, 4]
    assert seen(ask) == [*["xxxx..."] * 4, *["x...xxx"] * 3]


def seen(ask: Ask) -> list[str]:
    assert ask.sees is not None
    return ["".join(".x"[int(one)] for one in line) for line in ask.sees]


def test_the_example_of_how_many_are_worth_trying() -> None:
    confidence = np.array([0.9, 0.5, 0.5], dtype=np.float32)
    assert worth_trying(confidence, 0.2) == 2
    assert worth_trying(confidence, 0.0) == 3
    assert worth_trying(confidence, 1.0) == 0
    assert worth_trying(confidence[:0], 0.2) == 0


def test_what_only_the_mask_is_predicted_for_is_told_from_all_drafts() -> None:
    row = RowState.fill(np.array([1, 2, MASK, MASK]), 2, MASK)
    scheme = Verify(1, threshold=1.0, cost=0.0, window=Single())
    (ask,) = scheme.ask(row)
    confidence = np.array([0.6, 0.5], dtype=np.float32)
    answer = Answer(ask, np.array([11, 12]), confidence, np.zeros((0, 4), dtype=np.float32))
    assert not scheme.stuck(row, [answer])
    # The best is committed, or nothing would move; the other is tried next.
    begun = RowState.fill(np.array([1, 2, 11, MASK, MASK]), 2, MASK)
    object.__setattr__(begun, "memory", _Past(_in_hand_at(3), (2, 5)))
    (ask,) = scheme.ask(begun)
    tokens = np.array([12, MASK, MASK])
    answer = Answer(ask, tokens, np.ones(3, dtype=np.float32), np.zeros((0, 8), dtype=np.float32))
    assert scheme.stuck(begun, [answer])


def _in_hand_at(position: int) -> Hand:
    return in_hand(np.array([position]), np.array([12]), np.array([0.6], dtype=np.float32))


def test_the_end_of_an_answer_ends_it() -> None:
    manifest = fake_manifest(vocab_size=32, max_length=96)
    decoder = Decoder(manifest, FakeEngine(manifest, HashModel(32, 4)))
    for how in ("rows", "shared"):
        options = {"how": how, "tries": 2}
        result = decoder.generate(
            input_ids=[1, 2], max_new_tokens=32, policy="verify", options=options
        )
        assert result.tokens.size <= 32
        assert result.policy == "verify"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tries": 0}, "tries"),
        ({"threshold": 1.5}, "threshold"),
        ({"how": "both"}, "how"),
        ({"window": Sliding()}, "decides block by block"),
        ({"cache": Dual(3)}, "a cache is refreshed at each block"),
    ],
)
def test_options_that_it_cannot_follow_are_refused(options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Verify(**options)


def test_caches_are_named_as_everywhere() -> None:
    assert isinstance(Verify(cache=CACHES.parse("dual")).cache, Dual)
