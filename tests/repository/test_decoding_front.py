"""The script that compares every rule at settings of its own, on items that chose none of them."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_calibration.tasks import TASKS
from dawn_runtime import Decoder
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import DecodingDefaults
from dawn_runtime.rules import known_rules
from dawn_runtime.settings import make_plan
from front.groups import ALL, groups
from front.questions import phase_of, questions
from front.record import Conditions, Job, Outcome, Record
from front.report import Table
from front.rules import LEFT_OUT, LINES, RULES, Line, Setting, settings_of
from front.short import short
from front.summary import Judged
from front.sweep import Sweep, by_rule, refusals

ROOT = Path(__file__).parent.parent.parent
ARTIFACT = ROOT / "models" / "tiny-dream-int8"
CONDITIONS = Conditions(items=2, seed=7, max_new_tokens=16, block_length=16, batch=2, threads=1)


def job(setting: Setting = Setting("threshold", "threshold"), task: str = "sort") -> Job:  # noqa: B008
    return Job("tiny", "0" * 64, setting, task, "judge", CONDITIONS)


def outcome(right: Sequence[int], forwards: int, rows: int = 10, seconds: float = 0.01) -> Outcome:
    items = len(right)
    return Outcome(
        tuple(map(bool, right)), (forwards,) * items, (rows,) * items, (seconds,) * items
    )


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "scripts/decoding_front.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


# What is compared


def test_every_registered_rule_has_a_line_or_a_reason_to_have_none() -> None:
    listed = {line.policy for line in LINES}
    assert listed | set(LEFT_OUT) == set(known_rules())
    assert not listed & set(LEFT_OUT)
    assert all(LEFT_OUT.values())


def test_lines_have_names_of_their_own_and_settings_that_differ() -> None:
    assert len(set(RULES)) == len(LINES)
    settings = settings_of(RULES)
    assert len(set(settings)) == len(settings)


@pytest.mark.parametrize("rule", RULES)
def test_every_setting_of_a_rule_is_one_that_the_decoder_takes(rule: str) -> None:
    for setting in settings_of((rule,)):
        make_plan(setting.settings(64, 32), DecodingDefaults("threshold", {}))


def test_a_grid_is_every_combination_and_says_what_is_an_argument_of_the_decoder() -> None:
    line = Line("dawn", {"tau_low": (0.5, 0.7), "window": ("single",), "cache": ("dual",)}, "mine")
    first, second = line.settings()
    assert (first.rule, str(second)) == ("mine", "tau_low=0.7, window=single, cache=dual")
    assert first.settings(64, 32) == {
        "policy": "dawn",
        "options": {"tau_low": 0.5},
        "max_new_tokens": 64,
        "block_length": None,
        "window": "single",
        "cache": "dual",
    }


# On which items


@pytest.mark.parametrize("task", ["brackets", "coupled-code"])
def test_no_problem_is_for_choosing_and_for_judging(task: str) -> None:
    # Of other seeds too, and where a task has fewer problems than are asked for.
    choose = {item.key for seed in (1, 2) for item in questions(task, "choose", 60, seed)}
    judge = {item.key for item in questions(task, "judge", 60, 1)}
    assert choose
    assert not choose & judge


def test_problems_come_once_and_the_same_from_the_same_seed() -> None:
    drawn = questions("coupled-code", "judge", 1000, 3)
    keys = [item.key for item in drawn]
    assert 200 <= len(keys) == len(set(keys)) < 1000, "the task has no more"
    assert drawn[:40] == questions("coupled-code", "judge", 40, 3)
    assert {phase_of(item) for item in drawn} == {"judge"}


def test_every_task_is_in_one_group_and_in_all() -> None:
    found = groups(tuple(TASKS))
    assert found.pop(ALL) == tuple(TASKS)
    assert sorted(task for group in found.values() for task in group) == sorted(TASKS)
    assert set(found) == {"arithmetic", "copied", "coupled", "free"}


# What is kept


def test_what_was_recorded_is_read_again_as_it_was(tmp_path: Path) -> None:
    one = job(Setting("verify", "verify", (("threshold", 0.98), ("how", "rows"))))
    Record(tmp_path / "r.jsonl").add(one, outcome([1, 0], 3))
    assert Record(tmp_path / "r.jsonl").outcomes == {one: outcome([1, 0], 3)}


def test_a_line_that_was_being_written_when_the_run_was_killed_is_forgotten(
    tmp_path: Path,
) -> None:
    path = tmp_path / "r.jsonl"
    Record(path).add(job(), outcome([1, 0], 3))
    Record(path).add(job(task="json"), outcome([1, 1], 3))
    path.write_bytes(path.read_bytes()[:-9])
    record = Record(path)
    assert list(record.outcomes) == [job()]
    record.add(job(task="json"), outcome([1, 1], 4))
    assert Record(path).outcomes == {
        job(): outcome([1, 0], 3),
        job(task="json"): outcome([1, 1], 4),
    }


@pytest.mark.parametrize("line", ["[]", "{}", "nonsense", '{"setting": 3}'])
def test_a_file_that_is_no_record_is_refused_and_kept(tmp_path: Path, line: str) -> None:
    path = tmp_path / "r.jsonl"
    Record(path).add(job(), outcome([1, 0], 3))
    with path.open("a") as file:
        file.write(f"{line}\n")
    before = path.read_bytes()
    with pytest.raises(OptionError, match=r"line 2 is not one of a record \(.*remove it"):
        Record(path)
    assert path.read_bytes() == before


def test_an_outcome_of_which_something_is_missing_is_refused() -> None:
    with pytest.raises(ValueError, match="not as many"):
        Outcome((True,), (1, 2), (3,), (0.1,))


def sweep(record: Record, said: list[str]) -> Sweep:
    phases: Any = {"choose": CONDITIONS, "judge": CONDITIONS}
    return Sweep("golden", "0" * 64, record, ("sort",), phases, said.append)


def test_what_is_in_the_record_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [Setting("threshold", "threshold", (("threshold", 0.5),))]
    more = [*settings, Setting("one-per-step", "one-per-step")]
    record, said = Record(tmp_path / "r.jsonl"), list[str]()
    with Decoder.open(ARTIFACT, threads=1) as decoder:
        sweep(record, said).run(decoder, settings, "judge")
        (first,) = record.outcomes.values()
        assert len(first.right) == CONDITIONS.items
        sweep(Record(tmp_path / "r.jsonl"), said).run(decoder, more, "judge")
        calls = []
        monkeypatch.setattr(decoder, "generate_batch", lambda *a, **k: calls.append(a))
        sweep(Record(tmp_path / "r.jsonl"), said).run(decoder, more, "judge")
    assert not calls
    assert [line.partition(": ")[2] for line in said] == ["1 settings, 2 items"] * 2
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 2


def test_the_items_of_a_group_are_spread_over_its_tasks(tmp_path: Path) -> None:
    conditions: Any = dict.fromkeys(("choose", "judge"), replace(CONDITIONS, items=10))
    tasks = ("arithmetic", "sort", "reverse", "json", "coupled-names")
    own = Sweep("golden", "0" * 64, Record(tmp_path / "r.jsonl"), tasks, conditions, print)
    assert [own.conditions_of(task, "judge").items for task in tasks] == [10, 4, 4, 4, 10]
    assert own.job(Setting("eb", "eb"), "sort", "judge").conditions.items == 4


def test_the_settings_of_a_rule_that_none_of_its_own_beats_are_judged(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.jsonl")
    ours = sweep(record, [])
    found = {0.5: ([1, 0], 2), 0.7: ([1, 0], 3), 0.9: ([1, 1], 4), 0.99: ([1, 1], 9)}
    settings = [Setting("threshold", "threshold", (("threshold", value),)) for value in found]
    slow = Setting("one-per-step", "one-per-step")
    for setting, (right, forwards) in zip(settings, found.values(), strict=True):
        record.add(ours.job(setting, "sort", "choose"), outcome(right, forwards))
    record.add(ours.job(slow, "sort", "choose"), outcome([0, 0], 16))
    assert ours.chosen([*settings, slow], 5) == [settings[0], settings[2], slow]
    assert ours.chosen([*settings, slow], 1) == [settings[2], slow]


def test_of_a_rule_that_is_far_behind_the_most_careful_setting_is_judged(tmp_path: Path) -> None:
    record = Record(tmp_path / "r.jsonl")
    ours = sweep(record, [])
    quick = Setting("threshold", "threshold")
    slow = [Setting("llada", "llada", (("steps", steps),)) for steps in (16, 32)]
    found = ((quick, [1, 0], 4), (slow[0], [0, 0], 8), (slow[1], [1, 0], 9))
    for setting, right, forwards in found:
        record.add(ours.job(setting, "sort", "choose"), outcome(right, forwards))
    assert ours.chosen([quick, *slow], 3) == [quick, slow[1]]
    record.add(ours.job(slow[1], "sort", "choose"), outcome([1, 1], 9))
    assert ours.chosen([quick, *slow], 3) == [quick, *slow]


def test_what_the_model_cannot_be_decoded_by_is_named_with_the_reason() -> None:
    threshold = Line("threshold", {"threshold": (0.5,)}).settings()
    uneven = Setting("sliding", "threshold", (("window", "sliding:near=9999"),))
    settings = (*threshold, *Line("wino", {"threshold": (0.6, 0.7)}).settings())
    with Decoder.open(ARTIFACT, threads=1) as decoder:
        found = refusals(decoder, (*settings, uneven), CONDITIONS)
    assert list(found) == [*settings[1:], uneven]
    assert "predicts its own position" in found[settings[1]]
    named = by_rule({settings[1]: "why", settings[2]: "why", uneven: "odd"}, settings)
    assert named == {"wino": "why", "sliding": "odd"}
    assert by_rule({settings[1]: "why"}, settings) == {"wino at threshold=0.6": "why"}


def test_in_one_table_a_row_is_a_setting_and_a_column_a_group(tmp_path: Path) -> None:
    tables = []
    settings = Line("threshold", {"threshold": (0.5, 0.9)}).settings()
    for group, second in (("all", [1, 1]), ("copied", [1, 0])):
        judged = Judged(settings, [[outcome([1, 0], 2)], [outcome(second, 4, rows=30)]], batch=2)
        tables.append(Table("tiny", group, ("sort",), judged.rows(), []))
    lines = short(tables).splitlines()
    assert lines[2] == "| rule | setting | all (2) | copied (2) | rows fed | ms |"
    assert lines[4].startswith("| threshold | threshold=0.5 | **50.0 ± 40.5, 2.00** | **50.0 ± ")
    assert lines[5].endswith(" | 50.0 ± 40.5, 4.00 | 30 | 10.0 |")
    assert "| **100.0 ± 32.9, 4.00** |" in lines[5]
    assert len(lines) == 6


# The whole


def test_a_run_goes_from_settings_to_tables_and_pictures_and_again_without_decoding(
    tmp_path: Path,
) -> None:
    given = [ARTIFACT, "--record", tmp_path / "r.jsonl", "--pictures", tmp_path, "--threads", "1"]
    given += ["--rules", "threshold", "wino", "--tasks", "sort", "--items", "2"]
    given += ["--choose-items", "2", "--max-new-tokens", "8", "--block-length", "8"]
    first = run(*given)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("\n") == 2, "a line for each phase of the task"
    assert f"### {ARTIFACT.name}, all: 2 items of sort" in first.stdout
    assert "was not decoded by wino: scheme 'wino' checks" in first.stdout
    for name in ("all.png", "all.svg", "copied.png", "copied.svg"):
        assert (tmp_path / f"front-{ARTIFACT.name}-{name}").stat().st_size > 5000
    again = run(*given, "--json")
    assert (again.returncode, again.stderr) == (0, "")
    document = json.loads(again.stdout)
    assert [table["group"] for table in document["tables"]] == ["all", "copied"]
    for row in document["tables"][0]["settings"]:
        assert f"threshold={row['set']['threshold']}" in first.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--record", "r.jsonl"], "nowhere: no such folder"),
        (["nowhere", "here/nowhere", "--record", "r"], "two artifacts are named 'nowhere'"),
        (["nowhere"], "required: --record"),
        (["nowhere", "--record", "r", "--items", "0"], "got '0', expected a number of at least 1"),
        (["nowhere", "--record", "r", "--rules", "luck"], "invalid choice: 'luck'"),
        (["nowhere", "--record", "r", "--pictures", "no"], "--pictures no: no such folder"),
        (
            ["models/tiny-dream-int8", "--record", "no/r"],
            "--record no/r: the folder does not exist",
        ),
    ],
)
def test_the_script_says_in_one_line_what_is_wrong(arguments: list[str], message: str) -> None:
    finished = run(*arguments)
    assert finished.returncode in (1, 2)
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert message in finished.stderr
    assert not (ROOT / "r.jsonl").exists()
