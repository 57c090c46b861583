"""What the script that times causal text decodes, counts and makes of it."""

import argparse
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

import bench_causal
from bench_causal import BLOCK, PLAIN, SPECULATION, Bench, cases, check
from bench_turns import Case, Turn, summary
from dawn_runtime import Artifact, DawnError, OptionError
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.manifest import Attention
from told_engine import Run, TimedEngine


def asked(*flags: str) -> argparse.Namespace:
    found: argparse.Namespace = bench_causal._parser().parse_args(["artifact", *flags])
    return found


def timed(case: Case, *flags: str, shift: int = 0) -> Turn:
    """One turn of a case on an engine whose own tokens are noise."""
    manifest = replace(fake_manifest(vocab_size=64, max_length=96), prediction_shift=shift)
    arguments = asked("--prompt-tokens", "5", "--new-tokens", "17", "--decide", "1", *flags)
    return Bench(manifest, FakeEngine(manifest, HashModel(64, 4)), arguments)._turn(case)


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize(
    ("scheme", "decides", "runs"),
    [
        (PLAIN, None, 16),  # the first of 17 tokens comes with the prefill
        (BLOCK, 1, 16),  # 7 in each of two blocks, whose first are carried: one of them by a run
        (BLOCK, 2, 10),
        (BLOCK, 8, 4),
        (SPECULATION, 1, 31),  # a draft and a check for each token; the last needs no draft
        (SPECULATION, 4, 8),
        (SPECULATION, 8, 4),
    ],
)
def test_so_many_runs_decide_the_text_as_were_told(
    scheme: str, decides: int | None, runs: int, shift: int
) -> None:
    batch = 1 + shift
    turn = timed(Case(scheme, decides, batch), "--block-length", "8", shift=shift)
    assert (len(turn.runs), turn.tokens) == (runs, 16 * batch)
    assert {run.batch for run in turn.runs} == {batch}
    assert turn.seconds > sum(run.seconds for run in turn.runs)


@pytest.mark.parametrize(
    ("origin", "first", "runs"),
    [
        ("prompt", 2, 8),  # of 4 blocks of 4 the first run is apart; the last block has 1 token
        ("start", 2, 8),  # 3 tokens end the block of the prompt, 2 begin the last one
    ],
)
def test_blocks_are_those_of_the_artifact(origin: str, first: int, runs: int) -> None:
    attention = Attention("block-causal", 4, origin)
    manifest = replace(fake_manifest(vocab_size=64, max_length=96), attention=attention)
    arguments = asked("--prompt-tokens", "5", "--new-tokens", "17", "--decide", "2")
    bench = Bench(manifest, FakeEngine(manifest, HashModel(64, 4)), arguments)
    turn = bench._turn(Case(BLOCK, 2, 2))
    assert (len(turn.runs), turn.tokens) == (runs, 2 * (17 - first))
    assert max(run.fed for run in turn.runs) == 8, "a block that ends goes with the next"
    assert len(bench._turn(Case(SPECULATION, 2, 2)).runs) == 16


def test_an_answer_that_was_not_told_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TimedEngine, "text", lambda self, positions: 0 * positions)
    timed(Case(PLAIN, None, 1))
    told = iter(range(100))
    monkeypatch.setattr(TimedEngine, "text", lambda self, positions: 0 * positions + next(told))
    with pytest.raises(DawnError, match="autoregressive did not decode the text"):
        timed(Case(PLAIN, None, 1))


def test_what_the_weights_say_is_decoded_where_nothing_is_told() -> None:
    attention = Attention("causal", 8, "prompt", carry=True)
    manifest = replace(fake_manifest(vocab_size=64, max_length=96), attention=attention)
    engine = FakeEngine(manifest, HashModel(64, 4))
    found = cases(manifest, [], [2])
    assert [case.scheme for case in found] == [PLAIN, BLOCK, SPECULATION]
    assert {case.decides for case in found} == {None}
    assert [case.scheme for case in cases(fake_manifest(), [], [1])] == [PLAIN, "threshold"]
    bench = Bench(manifest, engine, asked("--new-tokens", "17"))
    bench._prompts = [[1, 2, 3], [4, 5], [6]]
    _, *others = (bench._turn(case) for case in found)
    for turn in others:
        assert 0 < turn.tokens < 2 * 16 + 1
        assert len(turn.runs) > 8, "noise agrees with nothing"


def turn(seconds: float, tokens: int, *runs: Run) -> Turn:
    return Turn(seconds, tokens, runs, 0.5)


def test_ratios_are_those_of_a_turn_and_costs_those_of_a_run() -> None:
    one, wide = Run(2, 1, 9, 0.1), Run(2, 8, 9, 0.2)
    plain = [turn(scale * 4.0, 8, one, one, one, one) for scale in (1, 10, 2)]
    fast = [turn(scale * 3.0, 8, one, wide) for scale in (1, 10, 2)]
    found = summary(Case(SPECULATION, 2, 2), fast, plain)
    assert found.ratio == pytest.approx(4 / 3)
    assert found.interval == pytest.approx((4 / 3, 4 / 3))
    assert found.even_at == pytest.approx(1.5)
    assert found.tokens_per_run == 2.0
    assert found.tokens_per_run / found.even_at == pytest.approx(found.ratio)
    assert (found.rows_per_run, found.prefill_milliseconds) == (9.0, 500.0)
    assert found.shapes == {1: (1, pytest.approx(100.0)), 8: (1, pytest.approx(200.0))}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--decide", "9", "--block-length", "8"), "--decide is 9 and a block has 8 tokens"),
        (("--decide", "1", "--block-length", "1"), "at least 2; see --block-length"),
        (("--decide", "2", "--prompt-tokens", "500"), "are 628 together; the artifact takes 512"),
        (("--batch", "14", "--items", "1"), "--batch is 14, of 13 items"),
    ],
)
def test_what_cannot_be_decoded_is_refused(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        check(fake_manifest(max_length=512), asked(*flags))


def test_the_command_times_any_artifact(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = fake_manifest()
    monkeypatch.setattr(Artifact, "open", lambda folder: SimpleNamespace(manifest=manifest))
    engine = FakeEngine(manifest, HashModel(64, 4))
    monkeypatch.setattr(bench_causal, "open_engine", lambda artifact, threads: engine)
    command = ["bench_causal", "build/some", "--json", "--decide", "4", "--batch", "2"]
    sizes = ["--prompt-tokens", "8", "--new-tokens", "9", "--block-length", "8", "--repeat", "1"]
    monkeypatch.setattr(sys, "argv", [*command, *sizes])
    assert bench_causal.main() == 0
    printed = capsys.readouterr()
    plain, block, speculation = json.loads(printed.out)["measured"]
    assert (plain["ratio"], plain["even_at"], plain["tokens_per_run"]) == (1.0, 1.0, 1.0)
    assert block["tokens_per_run"] > 2
    assert speculation["tokens_per_run"] == 2.0
    assert printed.err.count("\n") == 4
