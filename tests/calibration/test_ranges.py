"""`dawn-calibrate ranges` on random checkpoints: what it records and what it writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dawn_calibration.checkpoints import load_model, open_checkpoint, read_surroundings
from dawn_calibration.cli import main
from dawn_calibration.errors import ActivationError
from dawn_calibration.ranges import calibrate
from dawn_calibration.ranges.calibrate import Calibrator, Found
from dawn_calibration.ranges.options import RangeOptions
from dawn_calibration.torch_engine import TorchEngine
from dawn_export.quantization.calibration_file import read_calibration
from dawn_runtime import Decoder, OptionError
from support.checkpoints import write_checkpoint
from support.golden import GOLDEN
from support.small_ranges import QUESTIONS, calibrator, found


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("small") / "checkpoint", "dream")


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_the_torch_engine_decodes_as_the_exported_artifact(
    family: str, exported: Callable[..., Path]
) -> None:
    source = open_checkpoint(GOLDEN / f"{family}-random")
    surroundings = read_surroundings(source)
    ours = surroundings.decoder(TorchEngine(load_model(source), surroundings.manifest))
    with Decoder.open(exported(family), threads=1) as theirs:
        for policy in ("dawn", "threshold"):
            settings: Any = {"input_ids": [5, 6, 7, 8], "max_new_tokens": 32, "policy": policy}
            ours_trace, theirs_trace = (d.generate(**settings).trace for d in (ours, theirs))
            assert [(c.step, c.position, c.token) for c in ours_trace] == [
                (c.step, c.position, c.token) for c in theirs_trace
            ]


def test_the_torch_engine_runs_cached_steps_too() -> None:
    source = open_checkpoint(GOLDEN / "llada-random")
    surroundings = read_surroundings(source)
    decoder = surroundings.decoder(TorchEngine(load_model(source), surroundings.manifest))
    settings: Any = {"max_new_tokens": 16, "block_length": 8, "policy": "one-per-step"}
    result = decoder.generate(input_ids=[5, 6, 7], cache="dual", **settings)
    assert result.rows_fed < decoder.generate(input_ids=[5, 6, 7], **settings).rows_fed


def test_every_product_has_a_range_and_readers_of_one_input_share_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    ranges = found(checkpoint, tmp_path).calibration.ranges
    for layer in ("layers.0", "layers.1"):
        assert len({ranges[f"{layer}.{name}"] for name in ("q_proj", "k_proj", "v_proj")}) == 1
        assert ranges[f"{layer}.gate_proj"] == ranges[f"{layer}.up_proj"]


def test_the_range_without_clipping_is_the_largest_input_of_a_product(
    checkpoint: Path, tmp_path: Path
) -> None:
    options = RangeOptions(max_new_tokens=4, block_length=4, smooth=False)
    prompts = QUESTIONS[:1]
    ranges = calibrator(checkpoint, tmp_path / "state", options, questions=prompts).run()
    source = open_checkpoint(checkpoint)
    model, surroundings = load_model(source), read_surroundings(source)
    seen: list[float] = []
    product = model.get_submodule("layers.1.down_proj")
    product.register_forward_pre_hook(lambda _, inputs: seen.append(float(inputs[0].abs().max())))
    decoder = surroundings.decoder(TorchEngine(model, surroundings.manifest))
    settings: Any = {"policy": "one-per-step", "max_new_tokens": 4, "stop_at_eos": False}
    decoder.generate(input_ids=prompts[0].prompt, **settings)
    assert len(seen) == 4
    assert ranges.calibration.ranges["layers.1.down_proj"] == pytest.approx(max(seen))
    assert ranges.calibration.smoothing == {}


def test_every_mask_ratio_is_seen_and_every_row_is_counted_once(
    checkpoint: Path, tmp_path: Path
) -> None:
    result = found(checkpoint, tmp_path)
    rows = [stratum.rows for stratum in result.calibration.strata]
    assert all(rows)
    assert sum(rows) == len(QUESTIONS) * 8 * (3 + 8)
    assert sum(s.rows for s in result.calibration.strata if s.masked) == len(QUESTIONS) * 36
    counts = result.statistics.sites["layers.0.o_proj"].counts.numpy()
    assert counts.sum(axis=1).tolist() == [16 * count for count in rows]


def test_unmasked_text_alone_is_one_pass_over_each_finished_answer(
    checkpoint: Path, tmp_path: Path
) -> None:
    options = RangeOptions(seen="unmasked", max_new_tokens=8, block_length=4, samples=4)
    strata = found(checkpoint, tmp_path, options).calibration.strata
    assert [s.rows for s in strata] == [len(QUESTIONS) * (3 + 8)] + [0] * 9


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinity")])
def test_activations_that_are_not_finite_stop_with_the_name_of_the_layer(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, word: str
) -> None:
    def spoilt(*arguments: Any) -> torch.nn.Module:
        model = load_model(*arguments)
        # silu(gate) * up is what down_proj reads; the norm before keeps infinity out of gate.
        model.get_parameter("layers.1.up_proj.weight")[2, 3] = value
        model.get_parameter("layers.1.gate_proj.weight")[2] = 1.0
        return model

    monkeypatch.setattr(calibrate, "load_model", spoilt)
    with pytest.raises(ActivationError, match=f"input of layers.1.down_proj holds {word}"):
        calibrator(checkpoint, tmp_path / "state").run()


def test_a_device_that_is_not_there_is_refused(checkpoint: Path) -> None:
    with pytest.raises(OptionError, match="device 'nowhere' cannot be used"):
        load_model(open_checkpoint(checkpoint), "nowhere")


def interrupt(calibrator: Calibrator) -> Found:
    raise KeyboardInterrupt


def command(checkpoint: Path, data: Path, output: Path, *more: str) -> int:
    flags = ["--model", str(checkpoint), "--data", str(data), "--output", str(output)]
    return main(["ranges", *flags, "--quiet", "--max-new-tokens", "4", "--samples", "2", *more])


def test_the_command_writes_file_report_and_picture_and_deletes_its_state(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, output = tmp_path / "data.jsonl", tmp_path / "calibration.json"
    data.write_text('{"input_ids": [1, 2, 3]}\n\n{"input_ids": [4, 5]}\n')
    assert command(checkpoint, data, output, "--clip", "mse", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    written = read_calibration(output)
    assert document["ranges"] == dict(written.ranges)
    assert written.settings["prompts"] == 2
    assert written.settings["clip"] == "mse"
    assert "## Ranges after smoothing" in (tmp_path / "calibration.md").read_text()
    assert (tmp_path / "calibration.png").read_bytes().startswith(b"\x89PNG")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"data.jsonl", "calibration.json", "calibration.md", "calibration.png"}
    assert command(checkpoint, data, output) == 1
    assert "calibration.json: a calibration is there already" in capsys.readouterr().err
    assert read_calibration(output) == written
    assert command(checkpoint, data, output, "--force") == 0
    assert read_calibration(output).settings["clip"] == "max"


@pytest.mark.parametrize(("prompts", "warned"), [(1, True), (7, True), (8, False)])
def test_few_prompts_are_warned_of(
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    prompts: int,
    *,
    warned: bool,
) -> None:
    monkeypatch.setattr(calibrate.Calibrator, "run", interrupt)
    data = tmp_path / "data.jsonl"
    data.write_text('{"input_ids": [1]}\n' * prompts)
    flags = ["--model", str(checkpoint), "--data", str(data), "--output", str(tmp_path / "c.json")]
    assert main(["ranges", *flags]) == 130
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    noun = "prompt" if prompts == 1 else "prompts"
    expected = f"ranges may be too narrow, recorded on {prompts} {noun}; give 8 or more"
    assert lines == ([f"dawn-calibrate: warning: {expected}"] if warned else [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no prompts"),
        ("not json\n", "line 1: not valid JSON"),
        ('{"input_ids": [1]}\n{"text": "x"}\n', "line 2: expected an object with exactly one of"),
        ('{"input_ids": [1, 4000]}\n', "line 1: the prompt holds id 4000"),
        ('{"input_ids": []}\n', "line 1: the prompt is empty"),
        ('{"template": ["a", 2]}\n', "line 1: is a template"),
        ('{"prompt": "text"}\n', "line 1: this artifact has no tokenizer"),
    ],
)
def test_hostile_data_is_refused_by_line_before_any_work(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    data = tmp_path / "data.jsonl"
    data.write_text(text)
    assert command(checkpoint, data, tmp_path / "calibration.json") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "calibration.json").exists()
