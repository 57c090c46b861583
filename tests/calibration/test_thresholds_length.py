"""Thresholds of attention and the length of sequences: reference, exponent, and what is written."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_calibration.answers import Likeness
from dawn_calibration.cli import main
from dawn_calibration.prompts import Question
from dawn_calibration.thresholds.defaults import restore_published, write_tuned
from dawn_calibration.thresholds.grids import GRIDS
from dawn_calibration.thresholds.length import EXPONENT, Lengths, anchored, searchable, settled
from dawn_calibration.thresholds.report import report_text
from dawn_calibration.thresholds.search import Search
from dawn_calibration.thresholds.tune import Tuned, TuneOptions, tune
from dawn_runtime import Artifact, Dawn, Decoder
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.manifest import DecodingDefaults

ALIKE = [Question([1 + i, 2], f"prompt {i}") for i in range(4)]
UNLIKE = [*ALIKE[:2], *(Question([3 + i] * 30, f"long prompt {i}") for i in range(2))]


def tuned_on(searched: list[Question], options: dict[str, Any]) -> Tuned:
    """Tunes dawn of a fake artifact that has some options."""
    manifest = fake_manifest(vocab_size=32, max_length=96)
    manifest = replace(manifest, decoding=DecodingDefaults("dawn", options))
    decoder = Decoder(manifest, FakeEngine(manifest, HashModel(32, 0)))
    rule = TuneOptions("dawn", wanted=0.0, max_new_tokens=32)
    return tune(decoder, searched, ALIKE[3:], rule)


@given(st.integers(1, 500), st.integers(1, 500), st.floats(0, 1), st.integers(1, 500))
def test_another_reference_changes_no_decision(
    old: int, new: int, exponent: float, keys: int
) -> None:
    rule = Dawn(1e-4, 1e-3, reference_length=old, length_exponent=exponent)
    moved = Dawn(**anchored("dawn", rule.options(), Lengths(new, new, new)))  # type: ignore[arg-type]
    assert moved.reference_length == new
    assert moved.attention_thresholds(keys) == pytest.approx(rule.attention_thresholds(keys))


def test_published_thresholds_only_get_a_reference() -> None:
    published = Dawn().options()
    found = anchored("dawn", published, Lengths(60, 99.6, 140))
    assert found == {**published, "reference_length": 100}


def test_thresholds_beyond_any_attention_stay_legal_options() -> None:
    long = Dawn(tau_edge=0.5, reference_length=1000, length_exponent=1.0).options()
    assert anchored("dawn", long, Lengths(10, 10.0, 10))["tau_edge"] == 1.0


def test_other_rules_have_nothing_to_anchor() -> None:
    options = {"threshold": 0.8}
    assert anchored("threshold", options, Lengths(1, 1.0, 1)) is options
    assert settled(options, {"threshold": 0.9}) is options


def test_a_reference_without_effect_stays_what_it_was() -> None:
    start = Dawn(reference_length=17, length_exponent=0.5).options()
    found = {**anchored("dawn", start, Lengths(30, 34.0, 40)), "tau_low": 0.6}
    assert settled(found, start) is found
    plain = settled({**found, EXPONENT: 0.0}, start)
    assert plain == {**found, EXPONENT: 0.0, "reference_length": 17}


def test_lengths_are_those_of_the_shortest_the_longest_and_the_mean() -> None:
    assert Lengths.of([8, 2, 5]) == Lengths(2, 5.0, 8)


@pytest.mark.parametrize(("longest", "searched"), [(100, False), (124, False), (125, True)])
def test_the_exponent_is_searched_where_lengths_differ(longest: int, *, searched: bool) -> None:
    found = searchable(GRIDS["dawn"], Lengths(100, 110.0, longest))
    assert (EXPONENT in found) == searched
    assert {**found, EXPONENT: GRIDS["dawn"][EXPONENT]} == GRIDS["dawn"]


def test_the_search_finds_the_exponent_that_pays() -> None:
    def made_up(options: Any) -> Likeness:
        return Likeness(1.0, 1.0, 5 + abs(options[EXPONENT] - 0.5), None)

    search = Search("dawn", made_up, Dawn(reference_length=80).options(), None)
    best = search.run(GRIDS["dawn"]).options
    assert (best[EXPONENT], best["reference_length"]) == (0.5, 80)


def test_tuning_sets_the_mean_length_and_tries_the_exponents() -> None:
    tuned = tuned_on(UNLIKE, {})
    assert tuned.lengths == Lengths(34, 48.0, 62)
    assert tuned.start.options == Dawn().options()
    assert {point.options["reference_length"] for point in tuned.points} == {48}
    assert {point.options[EXPONENT] for point in tuned.points} == {0.0, 0.5, 1.0}
    assert "have 34 to 62 tokens, prompt and answer together" in report_text(tuned)


@pytest.mark.parametrize("start", [0, 17])
def test_tuning_without_an_exponent_leaves_the_reference_as_it_is(start: int) -> None:
    tuned = tuned_on(ALIKE, {"reference_length": start})
    assert tuned.gained
    assert {point.options["reference_length"] for point in tuned.points} == {34}
    assert tuned.chosen.options["reference_length"] == start
    assert f"reference_length  {start}\n" in report_text(tuned)


@pytest.mark.parametrize(
    ("exponent", "line"),
    [
        (0.0, "together; scaling tau_edge and tau_sink by length gained nothing."),
        (0.5, "together. tau_edge and tau_sink are for 48; where there are more or fewer they"),
    ],
)
def test_the_report_says_what_the_length_means(exponent: float, line: str) -> None:
    tuned = tuned_on(UNLIKE, {})
    options = {**tuned.chosen.options, EXPONENT: exponent, "reference_length": 48}
    assert line in report_text(replace(tuned, chosen=replace(tuned.chosen, options=options)))


def test_lengths_that_are_alike_leave_the_exponent_as_it_is() -> None:
    tuned = tuned_on(ALIKE, {"reference_length": 17, "length_exponent": 0.5})
    assert {point.options[EXPONENT] for point in tuned.points} == {0.5}
    assert tuned.points[0].options["tau_edge"] == pytest.approx(0.07 * (17 / 34) ** 0.5)
    assert tuned.start.options["reference_length"] == 17
    assert tuned.chosen.options["reference_length"] == 34
    line = (
        "All sequences have 34 tokens, prompt and answer together: length_exponent cannot be told"
    )
    assert line in report_text(tuned)


@pytest.fixture
def artifact(exported: Callable[..., Path], tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    shutil.copytree(exported("dream"), folder)
    return folder


def test_scaling_is_written_read_back_and_removed_to_the_last_byte(artifact: Path) -> None:
    before = (artifact / "dawn.json").read_bytes()
    published = dict(Artifact.open(artifact).manifest.decoding.options)
    scaling = {"reference_length": 119, "length_exponent": 0.5}
    change = write_tuned(artifact, "dawn", {**published, **scaling})
    assert change.lines() == ["reference_length: 0 -> 119", "length_exponent: 0.0 -> 0.5"]
    assert Artifact.open(artifact, verify="full").manifest.decoding.options == {
        **published,
        **scaling,
    }
    with Decoder.open(artifact, threads=1) as decoder:
        result = decoder.generate(input_ids=[1, 2], max_new_tokens=32)
    assert {name: result.options[name] for name in scaling} == scaling
    restore_published(artifact)
    assert (artifact / "dawn.json").read_bytes() == before


def test_the_command_writes_the_reference_it_shows_and_undoes_it(
    artifact: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def scaled(*arguments: Any) -> Tuned:
        """What a search would give that has found an exponent."""
        tuned = tune(*arguments)
        options = {**tuned.start.options, "reference_length": 34, EXPONENT: 0.5}
        return replace(tuned, chosen=replace(tuned.chosen, options=options))

    monkeypatch.setattr("dawn_calibration.cli.thresholds.tune", scaled)
    data = tmp_path / "data.jsonl"
    data.write_text('{"input_ids": [1]}\n{"input_ids": [2, 3]}\n')
    before = (artifact / "dawn.json").read_bytes()
    flags = ["--data", str(data), "--max-new-tokens", "32", "--threads", "1", "--quiet"]
    assert main(["thresholds", str(artifact), *flags, "--set", "tuned"]) == 0
    shown = capsys.readouterr().out
    assert "  reference_length  0 -> 34\n" in shown
    assert shown.endswith("dawn.json: reference_length: 0 -> 34; length_exponent: 0.0 -> 0.5\n")
    assert Artifact.open(artifact).manifest.decoding.options["reference_length"] == 34
    assert main(["thresholds", str(artifact), "--set", "published"]) == 0
    assert "reference_length: 34 -> 0;" in capsys.readouterr().out
    assert (artifact / "dawn.json").read_bytes() == before
