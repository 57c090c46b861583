"""`dawn-calibrate default`: what is chosen, what is recorded of it, and where it is written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_calibration.cli import main
from dawn_calibration.prompts import Question
from dawn_calibration.thresholds.choose import (
    RULES,
    ChooseOptions,
    choose,
    described,
    rule_of,
)
from dawn_calibration.thresholds.defaults import restore_published, write_default
from dawn_calibration.thresholds.strengths import LINES
from dawn_runtime import Artifact, Decoder, OptionError
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.manifest import DecodingDefaults, DefaultRule
from dawn_runtime.settings import check_default

QUESTIONS = [Question([1 + i, 2], f"prompt {i}") for i in range(6)]


def fake_decoder(shift: int = 0, **defaults: Any) -> Decoder:
    manifest = fake_manifest(vocab_size=32, max_length=96, prediction_shift=shift)
    decoding = DecodingDefaults(**{"policy": "dawn", "options": {}, **defaults})
    return Decoder(replace(manifest, decoding=decoding), FakeEngine(manifest, HashModel(32, 0)))


def chosen(decoder: Decoder, **options: Any) -> Any:
    wanted: Any = {"source": "made up", "max_new_tokens": 32, "rules": ("threshold",), **options}
    return choose(decoder, QUESTIONS[:4], QUESTIONS[4:], ChooseOptions(**wanted))


def test_the_cheapest_is_chosen_where_nothing_counts_as_lost() -> None:
    choice = chosen(fake_decoder(), most_lost=1.0)
    cost = {described(one.rule): one.score.forwards for one in choice.tried}
    assert cost[described(replace(choice.chosen, measured=None))] == min(cost.values())
    assert choice.tried[0].rule.policy == "one-per-step"
    assert choice.tried[0].score.quality == 1.0
    assert any(one.rule.policy == "dawn" for one in choice.tried), "the present default"
    assert choice.prompts == (4, 2)


def test_caches_are_tried_beside_every_strength_and_recorded() -> None:
    """Keys of the fake engine never age: a cache loses nothing and feeds fewer positions."""
    caches = ("none", "dual", "dual:refresh=4")
    wanted: Any = {"caches": caches, "cost": "rows", "rules": ("threshold", "wino")}
    choice = chosen(fake_decoder(), most_lost=1.0, **wanted)
    strengths = [one.rule for one in choice.tried if one.rule.policy == "threshold"]
    assert {rule.cache for rule in strengths} == {None, "dual", "dual:refresh=4"}
    assert {one.rule.cache for one in choice.tried if one.rule.policy == "wino"} == {None}
    plain = [one.rule for one in chosen(fake_decoder()).tried if one.rule.policy == "threshold"]
    assert [rule for rule in strengths if rule.cache is None and not rule.guard] == [
        rule for rule in plain if not rule.guard
    ]
    quality = {
        (r.options.get("threshold"), r.cache): one.score.quality
        for one in choice.tried
        if (r := one.rule).policy == "threshold" and not r.guard
    }
    assert all(quality[at, "dual"] == quality[at, None] for at, _ in quality)
    assert choice.chosen.cache == "dual"
    assert json.loads(json.dumps(choice.chosen.to_dict()))["cache"] == "dual"


def test_one_token_per_step_is_left_where_everything_else_loses() -> None:
    def unlike(answers: Any, results: Any) -> list[bool]:
        """Accepts what took many runs."""
        return [result.forwards > 16 for result in results]

    choice = chosen(fake_decoder(), judge=unlike, most_lost=0.0)
    assert choice.chosen.policy == "one-per-step"
    assert choice.quality == "right answers"


def test_what_is_recorded_was_measured_on_the_other_prompts() -> None:
    choice = chosen(fake_decoder(), most_lost=1.0, cost="rows")
    measured = choice.chosen.measured
    assert (measured.prompts, measured.items, measured.quality) == ("made up", 2, "agreement")
    assert measured.criterion == "fewest rows, losing at most 100 points of agreement"
    careful, before, after = (one.score for one in choice.held_out)
    assert measured.one_per_step.forwards == careful.forwards > 16
    assert measured.chosen.forwards == round(after.forwards, 4)
    assert before.forwards > 0
    assert "fp32" in measured.engine


def test_what_the_artifact_has_now_has_no_part_in_what_is_tried() -> None:
    plain = chosen(fake_decoder(), most_lost=1.0)
    record = {"policy": "threshold", "options": {"threshold": 1.0}, "guard": ("adjacent",)}
    other = chosen(fake_decoder(**record), most_lost=1.0)
    forwards = [
        {described(one.rule): one.score.forwards for one in choice.tried}
        for choice in (plain, other)
    ]
    shared = set(forwards[0]) & set(forwards[1])
    assert len(shared) > 8
    assert [forwards[0][name] for name in shared] == [forwards[1][name] for name in shared]


def test_a_present_default_that_cannot_be_made_does_not_stand_in_the_way() -> None:
    choice = chosen(fake_decoder(policy="tomorrow"), most_lost=1.0)
    assert [name for name, _ in choice.refused] == ["tomorrow"]
    assert len(choice.held_out) == 2


def test_a_rule_that_cannot_decode_the_model_is_left_out_with_the_reason() -> None:
    choice = chosen(fake_decoder(shift=1), rules=("threshold", "wino"), most_lost=1.0)
    assert {name.partition(" ")[0] for name, _ in choice.refused} == {"wino"}
    assert all(reason for _, reason in choice.refused)
    assert choice.chosen.policy != "wino"


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.rule)
def test_every_strength_can_be_recorded_and_read_back(line: Any) -> None:
    for setting in line.settings():
        rule = rule_of(setting)
        decoding = DecodingDefaults("threshold", {}).with_rule(rule, None)
        assert check_default(decoding).name in (rule.policy, "unmask")
        assert json.loads(json.dumps(rule.to_dict())) == rule.to_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rules": ("treshold",)}, "unknown policy: 'treshold'; did you mean 'threshold'"),
        ({"cost": "time"}, "cost is 'time'"),
        ({"caches": ("none", "duel")}, "unknown cache: 'duel'; did you mean 'dual'"),
        ({"most_lost": 2.0}, "most_lost is 2"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ChooseOptions("made up", **options)


@pytest.fixture
def artifact(exported: Callable[..., Path], tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    shutil.copytree(exported("dream"), folder)
    return folder


def test_a_default_is_written_with_all_that_belongs_to_it_and_taken_back(artifact: Path) -> None:
    before = (artifact / "dawn.json").read_bytes()
    rule = DefaultRule("verify", {"tries": 2, "threshold": 0.98}, window="single", cache="dual")
    change = write_default(artifact, rule)
    assert change.lines()[0] == "policy: dawn -> verify"
    assert "window: - -> single" in change.lines()
    manifest = Artifact.open(artifact, verify="full").manifest
    assert manifest.decoding.rule == rule
    assert manifest.decoding.published is not None
    assert manifest.decoding.published.policy == "dawn"
    restore_published(artifact)
    assert (artifact / "dawn.json").read_bytes() == before


def test_the_command_records_what_it_chose(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, record = tmp_path / "data.jsonl", tmp_path / "dawn_decoding.json"
    data.write_text("".join(f'{{"input_ids": [{i}, 3]}}\n' for i in range(1, 5)))
    before = (artifact / "dawn.json").read_bytes()
    flags = ["--data", str(data), "--policies", "eb", "--threads", "1", "--quiet"]
    flags += ["--max-new-tokens", "8", "--most-lost", "1", "--record", str(record)]
    assert main(["default", str(artifact), *flags]) == 0
    assert "Chosen: eb (gamma=" in capsys.readouterr().out
    assert (artifact / "dawn.json").read_bytes() == before
    assert main(["default", str(artifact), *flags, "--set", "chosen"]) == 0
    assert "policy: dawn -> eb" in capsys.readouterr().out
    written = Artifact.open(artifact).manifest.decoding
    assert written.policy == "eb"
    assert written.measured is not None
    assert written.measured.prompts == "lines of data.jsonl"
    assert str(tmp_path) not in (artifact / "dawn.json").read_text()
    assert json.loads(record.read_text())["policy"] == "eb"
    assert main(["thresholds", str(artifact), "--set", "published"]) == 0
    assert (artifact / "dawn.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--most-lost", "7"], "--most-lost is 7.0; expected a share from 0 to 1"),
        (["--policies", "nothing"], "invalid choice: 'nothing'"),
        (["--caches", "dual:refresh=0"], "refresh is 0"),
        (["--held-out", "0.5"], "--held-out: goes with --data"),
    ],
)
def test_bad_flags_are_one_line(
    flags: list[str], message: str, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["default", str(artifact), "--tasks", "sort", *flags]) == 2
    assert message in capsys.readouterr().err


def test_all_rules_of_the_lines_can_be_asked_for() -> None:
    assert set(RULES) == {line.policy for line in LINES}
