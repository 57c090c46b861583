"""A search that cannot succeed ends before it begins, and one that gains nothing writes nothing."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dawn_calibration.cli import main
from dawn_calibration.errors import CalibrationError
from dawn_calibration.prompts import Question
from dawn_calibration.thresholds.defaults import write_tuned
from dawn_calibration.thresholds.tune import TuneOptions, tune
from dawn_runtime import Decoder, PromptError
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.manifest import DecodingDefaults

QUESTIONS = [Question([1 + i, 2], f"prompt {i}") for i in range(6)]


def unused_decoder() -> Decoder:
    """Reads prompts, and fails a test that decodes one."""

    def model(*arrays: Any) -> NoReturn:
        pytest.fail("a prompt was decoded")

    manifest = fake_manifest(vocab_size=32, max_length=96)
    return Decoder(manifest, FakeEngine(manifest, model))


def test_answers_that_fall_back_to_the_plain_rule_cannot_be_tuned() -> None:
    options = TuneOptions("dawn", max_new_tokens=8)
    with pytest.raises(CalibrationError, match="8 tokens is below the artifact's fallback length"):
        tune(unused_decoder(), QUESTIONS[:1], QUESTIONS[1:2], options)


def test_prompts_to_measure_on_are_read_before_anything_is_decoded() -> None:
    bad = Question([1, 99], "data.jsonl line 7")
    with pytest.raises(PromptError, match=r"^data.jsonl line 7: .*id 99"):
        tune(unused_decoder(), QUESTIONS, [bad], TuneOptions("threshold"))


def test_a_long_prompt_to_measure_on_that_leaves_too_short_an_answer_is_found_before() -> None:
    long = Question([1] * 90, "long")
    with pytest.raises(CalibrationError, match=r"an answer of 6 tokens is below .* of 32, where"):
        tune(unused_decoder(), QUESTIONS, [long], TuneOptions("dawn"))


def test_a_search_that_finds_nothing_better_keeps_the_start() -> None:
    manifest = fake_manifest(vocab_size=32, max_length=96)
    manifest = replace(manifest, decoding=DecodingDefaults("threshold", {"threshold": 0.5}))
    decoder = Decoder(manifest, FakeEngine(manifest, HashModel(32, 0)))
    options = TuneOptions("threshold", wanted=0.0, max_new_tokens=32)
    tuned = tune(decoder, QUESTIONS[:4], QUESTIONS[4:], options)
    assert not tuned.gained
    assert tuned.chosen == tuned.start
    assert tuned.held_out[2].likeness == tuned.held_out[1].likeness


@pytest.fixture
def artifact(exported: Callable[..., Path], tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    shutil.copytree(exported("dream"), folder)
    return folder


def test_the_command_writes_nothing_where_nothing_was_gained(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tuned(artifact, "threshold", {"threshold": 0.5})
    data = tmp_path / "data.jsonl"
    data.write_text("".join(f'{{"input_ids": [{i}, 3]}}\n' for i in range(1, 5)))
    before = (artifact / "dawn.json").stat().st_mtime_ns
    flags = ["--data", str(data), "--threads", "1", "--max-new-tokens", "8", "--agreement", "0"]
    assert main(["thresholds", str(artifact), *flags, "--set", "tuned"]) == 0
    shown = capsys.readouterr()
    last = shown.out.splitlines()[-1]
    assert last == "nothing was written: none of 11 settings is better than the one it began with"
    assert "warning: thresholds may not hold elsewhere, searched on 2 prompts; give 8" in shown.err
    assert main(["thresholds", str(artifact), *flags, "--set", "tuned", "--quiet", "--json"]) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["gained"], document["written"], shown.err) == (False, False, "")
    assert (artifact / "dawn.json").stat().st_mtime_ns == before
