"""What turns come to, by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from dawn_runtime.bench.measuring import Timed
from dawn_runtime.bench.plan import Case, Rules, Sweep, check
from dawn_runtime.bench.record import Record
from dawn_runtime.bench.report import table
from dawn_runtime.bench.turns import summaries
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import Attention

CASE = Case("dawn", "none", "a", 1, 2, None, None, None)
OTHER = replace(CASE, artifact="b")
CACHED = replace(CASE, cache="dual")


def turn(seconds: float, tokens: int = 10, **joules: float) -> Timed:
    steps, answers = (0.25 * seconds, 0.75 * seconds), (seconds, seconds / 2)
    first = (0.25 * seconds,) * 2
    parts = Timed(seconds, seconds / 2, steps, first, answers, tokens, 2, 40, 8)
    return Timed.of([parts], int(1e6 * seconds), joules)


def test_ratios_are_those_within_a_turn() -> None:
    slow = [turn(1.0), turn(4.0), turn(2.0)]  # of a machine that is busy in its second turn
    other = [turn(0.5), turn(1.0), turn(1.0)]
    cached = [turn(2.0, 30), turn(4.0, 30), turn(1.0, 30)]
    first, second, third = summaries([CASE, OTHER, CACHED], [slow, other, cached])
    assert (first.ratio, first.speedup, first.ratio_interval) == (1, 1, (1, 1))
    assert (second.speedup, second.speedup_interval) == (2, (2, 4))
    assert third.speedup == 1, "the first artifact of its own combination"
    assert third.ratio == pytest.approx(3), "ratios of the turns are 1.5, 3 and 6"
    assert third.ratio_interval == pytest.approx((1.5, 6))
    assert (first.tokens_per_second, first.milliseconds_per_forward) == (5, 1000)
    assert (first.outside_share, first.answers, first.peak_bytes) == (0.5, 2, 4_000_000)
    assert first.first_token is not None
    assert (first.first_token.p50, first.answer.p50) == (0.5, 1.5)


def test_joules_are_those_of_every_turn() -> None:
    turns = [turn(1.0, VDD_IN=5.0, GPU=1.0), turn(1.0, VDD_IN=7.0), turn(1.0, VDD_IN=6.0, GPU=2.0)]
    (one,) = summaries([CASE], [turns])
    assert one.joules == {"VDD_IN": 6.0}, "a rail that fell asleep in between is left out"
    header = {"repeat": 3}
    assert table(Record(header, (one,))).splitlines()[-1].endswith(" 0.600"), "6 J, 10 tokens"


def test_answers_of_nothing_but_ends_have_no_ratio() -> None:
    (one,) = summaries([CASE], [[turn(1.0, 0, VDD_IN=5.0)]])
    assert (one.tokens_per_second, one.ratio) == (0, 0)
    assert table(Record({"repeat": 1}, (one,))).splitlines()[-1].endswith(" -")


@pytest.mark.parametrize(
    ("attention", "caches"),
    [
        (Attention(), ["none", "dual"]),
        (Attention("causal", 8, "prompt"), ["none", "causal"]),
        (Attention("block-causal", 8, "start"), ["none", "causal"]),
    ],
    ids=lambda value: getattr(value, "kind", ""),
)
def test_caches_that_are_timed_by_default_are_those_of_the_model(
    attention: Attention, caches: list[str]
) -> None:
    manifest = replace(fake_manifest(), attention=attention)
    assert [case.cache for case in Sweep().cases([Path("a")], manifest)] == caches


def test_a_rule_that_the_model_cannot_be_decoded_by_is_refused_before_any_turn() -> None:
    manifest = replace(fake_manifest(), prediction_shift=1)
    with pytest.raises(OptionError, match="this model predicts the next one"):
        check([CASE, replace(CASE, policy="wino")], Rules(), [manifest])
