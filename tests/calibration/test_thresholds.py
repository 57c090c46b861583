"""`dawn-calibrate thresholds`: the search, what it writes, and how that is undone."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_calibration.answers import Likeness, agreement, judged
from dawn_calibration.cli import main
from dawn_calibration.judges import judge_tasks
from dawn_calibration.prompts import Question, data_sha256, questions_of_tasks
from dawn_calibration.tasks import split_of
from dawn_calibration.thresholds.defaults import restore_published, write_tuned
from dawn_calibration.thresholds.grids import FURTHER, GRIDS, grid_of
from dawn_calibration.thresholds.length import Lengths
from dawn_calibration.thresholds.report import report_text
from dawn_calibration.thresholds.search import Point, Search, pareto
from dawn_calibration.thresholds.strengths import LINES, OF_THE_CALL
from dawn_calibration.thresholds.tune import Benchmark, Measured, Tuned, TuneOptions, divide, tune
from dawn_runtime import Artifact, ArtifactError, Decoder, OptionError
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.manifest import DecodingDefaults
from dawn_runtime.policies import POLICIES
from dawn_runtime.rules import make_rule

QUESTIONS = [Question([1 + i, 2], f"prompt {i}") for i in range(6)]


def made_up(options: Any) -> Likeness:
    """A rule that gets better and slower with its threshold, right from 0.8 on."""
    threshold = options["threshold"]
    return Likeness(min(1.0, threshold + 0.2), 0.0, 10 * threshold, None)


def fake_decoder() -> Decoder:
    manifest = fake_manifest(vocab_size=32, max_length=96)
    return Decoder(manifest, FakeEngine(manifest, HashModel(32, 0)))


@pytest.mark.parametrize(("wanted", "expected"), [(1.0, 0.8), (0.89, 0.7), (0.0, 0.5)])
def test_the_search_finds_the_fewest_forwards_at_the_wanted_quality(
    wanted: float, expected: float
) -> None:
    search = Search("threshold", made_up, {"threshold": 0.9}, wanted)
    assert search.run(GRIDS["threshold"]).options == {"threshold": expected}
    assert len(search.points) == len(GRIDS["threshold"]["threshold"])


def test_a_quality_out_of_reach_gives_the_best_there_is() -> None:
    def poor(options: Any) -> Likeness:
        return replace(made_up(options), agreement=options["threshold"] / 2)

    search = Search("threshold", poor, {"threshold": 0.9}, 1.0)
    assert search.run(GRIDS["threshold"]).options == {"threshold": 0.995}


def test_without_a_wish_the_quality_of_the_start_is_kept() -> None:
    search = Search("threshold", made_up, {"threshold": 0.98}, None)
    assert search.wanted == 1.0
    assert search.run(GRIDS["threshold"]).likeness.forwards == 8.0


def test_settings_a_rule_refuses_are_not_tried() -> None:
    def even(options: Any) -> Likeness:
        assert options["relaxed_threshold"] <= options["threshold"]
        return Likeness(1.0, 1.0, options["threshold"] + options["radius"], None)

    start = POLICIES.make("local-leap").options()
    best = Search("local-leap", even, start, None).run(GRIDS["local-leap"])
    assert (best.options["threshold"], best.options["radius"]) == (0.8, 1)


def test_right_answers_go_before_agreement_where_there_is_a_checker() -> None:
    assert Point({}, Likeness(0.2, 0.1, 3.0, 0.9)).quality == 0.9
    assert Point({}, Likeness(0.2, 0.1, 3.0, None)).quality == 0.2


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=1))
def test_no_point_of_the_front_is_beaten_and_every_other_one_is(
    drawn: list[tuple[int, int]],
) -> None:
    points = [Point({}, Likeness(quality / 5, 0.0, cost, None)) for quality, cost in drawn]
    front = pareto(points)
    for point in points:
        beaten = any(
            other.quality >= point.quality
            and other.likeness.forwards <= point.likeness.forwards
            and other.likeness != point.likeness
            for other in points
        )
        assert (point in front) == (not beaten)


@pytest.mark.parametrize("policy", GRIDS)
def test_a_grid_holds_options_of_its_policy(policy: str) -> None:
    options = make_rule(policy).options()
    assert set(grid_of(policy)) <= set(options)
    for option, values in grid_of(policy).items():
        assert len(set(values)) == len(values)
        for value in values:
            make_rule(policy, {**_room(policy), option: value})


def _room(policy: str) -> dict[str, Any]:
    """Options that leave room for those whose bounds they are."""
    return {"dapd": {"tau_min": 0.0, "tau_max": 1.0}, "local-leap": {"threshold": 1.0}}.get(
        policy, {}
    )


def test_every_rule_with_a_strength_has_a_grid_and_no_value_is_listed_twice() -> None:
    with_strength = {line.policy for line in LINES if set(line.grid) - set(OF_THE_CALL)}
    assert with_strength == set(GRIDS)
    for policy, grid in FURTHER.items():
        for option, values in grid.items():
            swept = {
                v for line in LINES if line.policy == policy for v in line.grid.get(option, ())
            }
            assert not swept & set(values), (policy, option)


def test_a_policy_without_thresholds_has_no_grid() -> None:
    with pytest.raises(OptionError, match="'one-per-step' has no thresholds to tune"):
        grid_of("one-per-step")


def test_agreement_counts_places_of_the_longer_answer() -> None:
    arrays = [np.array(values, dtype=np.int64) for values in ([1, 2, 3, 4], [1, 9, 3], [])]
    four, three, none = arrays
    assert agreement(four, three) == agreement(three, four) == 0.5
    assert (agreement(four, none), agreement(none, none), agreement(four, four)) == (0, 1, 1)


def test_questions_without_a_checker_cannot_be_judged() -> None:
    result = fake_decoder().generate(input_ids=[1], max_new_tokens=2)
    with pytest.raises(OptionError, match="prompt 0: only questions of --tasks can be judged"):
        judged(judge_tasks, QUESTIONS[:1], [result])


def test_tasks_are_drawn_in_turn_from_one_side_and_judge_their_own_answers() -> None:
    questions = questions_of_tasks(["sort", "json"], 2, "train", 3)
    assert [question.group for question in questions] == ["sort", "json"] * 2
    for question in questions:
        assert question.item is not None
        assert split_of(question.item) == "train"
        assert question.is_right(question.item.answer)
        assert not question.is_right(None)


def test_the_hash_of_data_depends_on_prompts_and_their_order_alone() -> None:
    renamed = [replace(question, where="elsewhere") for question in QUESTIONS]
    arrays = [replace(q, prompt=np.asarray(q.prompt)) for q in QUESTIONS]
    assert data_sha256(QUESTIONS) == data_sha256(renamed) == data_sha256(arrays)
    assert data_sha256(QUESTIONS) != data_sha256(QUESTIONS[::-1])
    assert len(data_sha256([])) == 64


def test_held_out_prompts_are_others_and_the_same_for_a_seed() -> None:
    searched, held_out = divide(QUESTIONS, 0.34, 1)
    assert (len(searched), len(held_out)) == (4, 2)
    assert {q.where for q in searched + held_out} == {q.where for q in QUESTIONS}
    assert divide(QUESTIONS, 0.34, 1) == (searched, held_out)


@pytest.mark.parametrize(
    ("count", "share", "message"),
    [
        (1, 0.5, "held_out is 0.5 of 1 prompt, .* give at least 2 prompts"),
        (2, 0.9, "held_out is 0.9 of 2 prompts, which leaves none to search on; hold out less"),
        (6, 0.0, "held_out is 0; expected a share between 0 and 1"),
        (6, 1.0, "held_out is 1; expected"),
        (6, float("nan"), "held_out is nan; expected"),
    ],
)
def test_too_few_prompts_to_hold_some_out_are_refused(
    count: int, share: float, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        divide(QUESTIONS[:count], share, 0)


def test_a_rule_in_the_search_is_held_against_one_token_per_step() -> None:
    options = TuneOptions("threshold", max_new_tokens=32)
    careful = Benchmark(fake_decoder(), QUESTIONS, options)
    assert careful.careful == Likeness(1.0, 1.0, careful.careful.forwards, None)
    assert careful.try_rule({"threshold": 1.0}) == careful.careful
    fast = careful.try_rule({"threshold": 0.5})
    assert fast.forwards < careful.careful.forwards
    assert careful.lengths == Lengths(34, 34.0, 34)


def test_tuning_reports_what_was_gained_on_other_prompts() -> None:
    options = TuneOptions("threshold", wanted=0.0, max_new_tokens=32)
    tuned = tune(fake_decoder(), QUESTIONS[:4], QUESTIONS[4:], options)
    careful, before, after = (entry.likeness for entry in tuned.held_out)
    assert tuned.chosen.options == {"threshold": 0.5}
    assert careful.forwards > before.forwards > after.forwards
    assert len(tuned.points) == len(GRIDS["threshold"]["threshold"])
    assert tuned.gained
    assert tuned.prompts == (4, 2)


def test_a_loss_that_shows_on_held_out_prompts_alone_is_reported() -> None:
    point = Point({}, Likeness(0.9, 0.5, 3.0, None))
    before, after = (Measured(str(share), Likeness(share, 0.5, 3.0, None)) for share in (0.95, 0.9))
    tuned = Tuned(
        *("dapd", point, point, 0.9, (point,), point.likeness, (before, before, after), (2, 2)),
        lengths=Lengths(9, 9.0, 9),
    )
    assert "Held-out prompts lose 5.0 points of agreement" in report_text(tuned)
    assert "lose" not in report_text(replace(tuned, held_out=(before, after, before)))


@pytest.fixture
def artifact(exported: Callable[..., Path], tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    shutil.copytree(exported("dream"), folder)
    return folder


def test_tuned_thresholds_are_written_and_published_ones_brought_back(artifact: Path) -> None:
    before = (artifact / "dawn.json").read_bytes()
    published = Artifact.open(artifact).manifest.decoding
    change = write_tuned(artifact, "dawn", {**published.options, "tau_low": 0.6})
    assert change.lines() == ["tau_low: 0.8 -> 0.6"]
    opened = Artifact.open(artifact, verify="full").manifest.decoding
    assert opened.options == {**published.options, "tau_low": 0.6}
    write_tuned(artifact, "threshold", {"threshold": 0.7})
    again = Artifact.open(artifact).manifest.decoding
    assert (again.policy, again.options) == ("threshold", {"threshold": 0.7})
    assert again.published is not None
    assert again.published.options == published.options
    assert restore_published(artifact).new.options == published.options
    assert (artifact / "dawn.json").read_bytes() == before


def test_nothing_is_written_where_nothing_changes(artifact: Path) -> None:
    before = (artifact / "dawn.json").stat().st_mtime_ns
    published = Artifact.open(artifact).manifest.decoding
    whole = POLICIES.make("dawn", published.options).options()
    assert write_tuned(artifact, "dawn", whole).lines() == ["nothing to change"]
    assert restore_published(artifact).lines() == ["nothing to change"]
    assert (artifact / "dawn.json").stat().st_mtime_ns == before


def test_options_that_do_not_fit_the_policy_are_not_written(artifact: Path) -> None:
    before = (artifact / "dawn.json").read_bytes()
    with pytest.raises(OptionError, match="tau_low is 7"):
        write_tuned(artifact, "dawn", {"tau_low": 7})
    assert (artifact / "dawn.json").read_bytes() == before


def test_the_record_of_published_options_is_absent_until_there_is_one() -> None:
    assert "published" not in DecodingDefaults("dawn", {}).to_dict()


@pytest.mark.parametrize("record", [{"policy": "dawn"}, {"policy": "dawn", "options": {}, "x": 1}])
def test_a_malformed_record_of_published_options_is_refused(artifact: Path, record: Any) -> None:
    document = json.loads((artifact / "dawn.json").read_text())
    document["decoding"]["published"] = record
    (artifact / "dawn.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"field 'decoding\.published"):
        restore_published(artifact)


def test_the_command_shows_what_it_writes_and_undoes_it(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, picture = tmp_path / "data.jsonl", tmp_path / "pareto.png"
    data.write_text("".join(f'{{"input_ids": [{i}, 3]}}\n' for i in range(1, 5)))
    before = (artifact / "dawn.json").read_bytes()
    flags = ["--data", str(data), "--policy", "threshold", "--threads", "1", "--quiet"]
    flags += ["--max-new-tokens", "8", "--agreement", "0", "--picture", str(picture)]
    assert main(["thresholds", str(artifact), *flags]) == 0
    assert (artifact / "dawn.json").read_bytes() == before
    assert "held-out" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["thresholds", str(artifact), *flags, "--set", "tuned"]) == 0
    assert "policy: dawn -> threshold" in capsys.readouterr().out
    assert Artifact.open(artifact).manifest.decoding.policy == "threshold"
    assert main(["thresholds", str(artifact), "--set", "published", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"]["policy"] == "dawn"
    assert (artifact / "dawn.json").read_bytes() == before
