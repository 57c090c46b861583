"""What searches and comparisons say while they work: how much there is, and where they stood."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawn_calibration.answers import decode_all
from dawn_calibration.cli import main
from dawn_calibration.compare import comparison
from dawn_calibration.compare.comparison import CompareOptions
from dawn_calibration.errors import CalibrationError
from dawn_calibration.prompts import (
    MOST_ITEMS,
    Question,
    listed_questions,
    questions_of_tasks,
    repeated,
)
from dawn_calibration.ranges.bounds import check_memory, check_room, recorded_bytes
from dawn_calibration.ranges.calibrate import Storage
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.ranges.sites import Site
from dawn_calibration.ranges.strata import Strata
from dawn_calibration.thresholds.grids import GRIDS
from dawn_calibration.thresholds.search import Search, most_settings
from dawn_calibration.thresholds.tune import TuneOptions, tune
from dawn_export.progress import Progress, reporting
from dawn_runtime import Decoder, OnePerStep
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.errors import OptionError, PromptError

QUESTIONS = [Question([1 + i, 2], f"prompt {i}") for i in range(6)]
RULE = TuneOptions("threshold", wanted=0.0, max_new_tokens=32)


def fake_decoder() -> Decoder:
    manifest = fake_manifest(vocab_size=32, max_length=96)
    return Decoder(manifest, FakeEngine(manifest, HashModel(32, 0)))


def test_a_search_says_first_how_many_answers_there_are_at_most_and_then_what_is_left() -> None:
    heard: list[Progress] = []
    with reporting(heard.append):
        tuned = tune(fake_decoder(), QUESTIONS[:4], QUESTIONS[4:], RULE)
    begun = {entry.stage: entry for entry in reversed(heard)}
    values = len(GRIDS["threshold"]["threshold"])
    settings = most_settings(GRIDS["threshold"])
    assert len(tuned.points) <= settings == 1 + 3 * values
    most = 4 + settings * 4 + 3 * 2
    assert begun["reference"].text.startswith(
        f"at most {most} answers to decode: at most {settings} sett"
    )
    last = {entry.stage: entry for entry in heard}
    assert [(last[name].done, last[name].total) for name in ("reference", "held-out")] == [
        (4, 4),
        (6, 6),
    ]
    search = last["search"]
    # The third round does not take place, because the second one changes nothing.
    assert (search.done, search.total) == (4 * (1 + 2 * values), 4 * settings)
    assert list(begun) == ["held-out", "search", "reference"]


def test_a_search_that_is_interrupted_says_what_was_best(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, attempt = [], Search._try

    def interrupted(self: Any, options: Any) -> Any:
        if len(tried) == 4:
            raise KeyboardInterrupt
        tried.append(options)
        return attempt(self, options)

    monkeypatch.setattr(Search, "_try", interrupted)
    with pytest.raises(KeyboardInterrupt) as stop:
        tune(fake_decoder(), QUESTIONS[:4], QUESTIONS[4:], RULE)
    said = str(stop.value)
    assert said.startswith(
        "after 4 of at most 34 settings; best until then: threshold 0.9 -> 0.5 ("
    )
    assert said.endswith("forwards an answer); nothing was written")


def test_a_comparison_that_is_interrupted_says_where(
    exported: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, folder, seen = tmp_path / "data.jsonl", str(exported("dream")), []
    data.write_text('{"input_ids": [1, 2]}\n{"input_ids": [2, 3]}\n')
    decisions = comparison.Replay.decisions

    def interrupted(self: Any, *arguments: Any) -> Any:
        seen.append(arguments)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return decisions(self, *arguments)

    monkeypatch.setattr(comparison.Replay, "decisions", interrupted)
    assert main(["compare", folder, folder, "--data", str(data), "--max-new-tokens", "4"]) == 130
    *before, last = capsys.readouterr().err.splitlines()
    assert last.endswith("interrupted at prompt 2 of 2; a comparison keeps nothing")
    assert any("asking both at every state of A on 2 prompts" in line for line in before)


@pytest.mark.parametrize("command", ["thresholds", "compare"])
def test_a_checker_that_fails_does_so_after_a_single_answer(
    command: str,
    exported: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, artifact, decoded = tmp_path / "data.jsonl", tmp_path / "artifact", []
    data.write_text("".join(f'{{"input_ids": [{i}, 2]}}\n' for i in range(1, 9)))
    shutil.copytree(exported("dream"), artifact)  # without a tokenizer, so without text to judge
    generate = Decoder.generate_batch

    def watched(self: Decoder, prompts: Any, **settings: Any) -> Any:
        decoded.extend(prompts)
        return generate(self, prompts, **settings)

    monkeypatch.setattr(Decoder, "generate_batch", watched)
    folders = [str(artifact)] * (1 if command == "thresholds" else 2)
    flags = ["--data", str(data), "--max-new-tokens", "32", "--checker", "cat", "--quiet"]
    assert main([command, *folders, *flags]) == 1
    assert "answers have no text to be judged" in capsys.readouterr().err
    assert len(decoded) == 1


def test_answers_are_told_as_they_are_decoded() -> None:
    prompts, told = [[1, 2], [2, 2], [3, 2]], []
    settings: Any = {"policy": OnePerStep.name, "max_new_tokens": 4}
    decode_all(fake_decoder(), prompts, 2, settings, told.append)  # type: ignore[arg-type]
    assert told == [2, 1]


@pytest.mark.parametrize("number", [MOST_ITEMS + 1, 999_999_999])
@pytest.mark.parametrize("command", ["thresholds", "compare", "ranges"])
def test_more_items_than_a_task_is_asked_for_are_refused_at_once(
    command: str, number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {
        "thresholds": ["x"],
        "compare": ["x", "y"],
        "ranges": ["--model", "x", "--output", str(tmp_path / "out.json")],
    }
    assert main([command, *flags[command], "--tasks", "--items", str(number)]) == 2
    line = capsys.readouterr().err
    assert f"--items is {number}; expected at most {MOST_ITEMS} of each task" in line


def test_items_that_repeat_because_there_are_no_more_are_told() -> None:
    questions = questions_of_tasks(["coupled-code", "sort"], 1000, "heldout", 0)
    (line,) = repeated(questions)
    assert line.startswith("1,000 items of coupled-code are of 262 problems alone")
    assert repeated(questions[:100]) == []
    assert repeated(QUESTIONS * 2) == []


def test_a_task_named_twice_is_refused() -> None:
    with pytest.raises(OptionError, match="task sort is named twice"):
        questions_of_tasks(["sort", "json", "sort"], 1, "train", 0)


@pytest.mark.parametrize("number", [0, -1, MOST_ITEMS + 1, 10**30, 2.5, "3", True])
def test_numbers_of_items_that_are_none_are_refused(number: Any) -> None:
    with pytest.raises(OptionError, match="tasks: items is"):
        questions_of_tasks(["sort"], number, "train", 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Strata(10**12),
        lambda: RangeOptions(samples=10**12),
        lambda: RangeOptions(seed=2**63),
        lambda: Storage(Path("state"), 0),
        lambda: TuneOptions("dawn", batch=0),
        lambda: TuneOptions("dawn", wanted=1.5),
        lambda: TuneOptions("dawn", wanted="all"),  # type: ignore[arg-type]
        lambda: CompareOptions(OnePerStep(), batch=2**40),
    ],
)
def test_numbers_out_of_bounds_are_refused_before_anything_is_made(make: Callable[[], Any]) -> None:
    with pytest.raises(OptionError, match="expected"):
        make()


SITES = [
    Site("layers.0.mlp_norm", ("a",), 4096, True),
    Site("layers.0.o_proj", ("b",), 4096, False),
]


def test_what_is_recorded_has_a_size_that_is_compared_with_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = RangeOptions(samples=100_000, strata=Strata(1000))
    assert recorded_bytes(SITES, RangeOptions(smooth=False)) == 2 * 10 * (1920 * 8 + 4096 * 4)
    needed = recorded_bytes(SITES, options)
    assert needed > 2 * 1000 * 100_000 * 4096 * 4
    with pytest.raises(OptionError, match=r"bins is 1000 and samples is 100000; .* ask for fewer"):
        check_memory(SITES, options)
    monkeypatch.setattr("dawn_calibration.ranges.bounds.read_available", lambda: needed)
    check_memory(SITES, options)


def test_a_disk_without_room_for_the_state_is_refused(tmp_path: Path) -> None:
    check_room(tmp_path / "state", 1000)
    with pytest.raises(CalibrationError, match=r"state of a run takes up to .* free some"):
        check_room(tmp_path / "state", 10**18)


@pytest.mark.parametrize("questions", [[], (), iter(()), ["a"], [None]])
def test_prompts_that_are_none_are_refused(questions: Any) -> None:
    with pytest.raises(PromptError):
        listed_questions(questions)
    with pytest.raises(PromptError):
        tune(fake_decoder(), QUESTIONS, questions, RULE)


def test_a_search_goes_through_its_prompts_once() -> None:
    listed = tune(fake_decoder(), QUESTIONS[:4], QUESTIONS[4:], RULE)
    assert tune(fake_decoder(), iter(QUESTIONS[:4]), iter(QUESTIONS[4:]), RULE) == listed
