"""The comparison of an artifact with its checkpoint finds what is wrong with it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dawn_export import (
    Difference,
    EndToEnd,
    ExportOptions,
    ValueCheck,
    Verification,
    VerificationError,
    export,
    exporter,
)
from dawn_export.graph.step import build_graph
from dawn_export.verification import computed_outputs, first_layers, verify, written_weights
from dawn_export.verification.computed_outputs import TOLERANCES, check_parity
from dawn_export.verification.first_layers import layers_that_fit
from dawn_models import Checkpoint, read_config
from dawn_runtime import Artifact
from dawn_runtime.manifest import GRAPH_FILE, WEIGHTS_FILE
from support.checkpoints import write_config
from support.golden import GOLDEN

TWO_LAYERS = ExportOptions(evidence_layers=2)
CASES = ("full", "cached", "batched", "minimal")
OUTPUTS = ("tokens", "confidence", "attention", "logits", "entropy", "margin", "cache", "other")
NOT_OF_ONE_ROW = {("minimal", "attention"), ("minimal", "other")}


@pytest.mark.parametrize(
    ("family", "dialect", "precision"),
    [("dream", "portable", "fp32"), ("llada", "fused", "fp32"), ("dream", "fused", "fp16")],
)
def test_torch_and_onnx_runtime_agree(
    exported: Callable[..., Path], family: str, dialect: str, precision: str
) -> None:
    folder = exported(family, dialect, precision)
    checkpoint = Checkpoint.open(GOLDEN / f"{family}-random")
    differences = check_parity(folder / GRAPH_FILE, Artifact.open(folder).manifest, checkpoint)
    compared = {(entry.case, entry.output) for entry in differences}
    assert compared == {(c, o) for c in CASES for o in OUTPUTS} - NOT_OF_ONE_ROW | {
        ("keys", "cache")
    }
    for entry in differences:
        assert entry.tolerance == TOLERANCES[precision][entry.output]
        assert 0 <= entry.largest <= entry.tolerance / 4


@pytest.mark.usefixtures("traced")
def test_the_result_is_kept_in_the_artifact(small: Path, tmp_path: Path) -> None:
    report = export(small, tmp_path / "out", TWO_LAYERS, verify="all")
    assert report.verification is not None
    assert report.verification.accepted
    assert len(report.verification.end_to_end.differences) == len(CASES) * len(OUTPUTS) - 1
    artifact = Artifact.open(tmp_path / "out", verify="full")
    kept = json.loads(artifact.path("verification.json").read_text())
    assert kept["values"] == {
        "mode": "all",
        "tensors": 26,
        "values": 4624,
        "differing": {},
        "rounded": 0,
    }
    assert (kept["end_to_end"]["layers"], kept["end_to_end"]["of_layers"]) == (2, 2)
    assert len(kept["end_to_end"]["differences"]) == len(CASES) * len(OUTPUTS) - 1


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("parameter", ["layers.0.up_proj.weight", "layers.1.k_proj.bias"])
def test_a_graph_that_computes_something_else_is_not_put_in_place(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameter: str
) -> None:
    load = computed_outputs.load_transformer

    def spoilt(checkpoint: Checkpoint, **how: Any) -> torch.nn.Module:
        model = load(checkpoint, **how)
        model.get_parameter(parameter)[3] += 1
        return model

    monkeypatch.setattr(computed_outputs, "load_transformer", spoilt)
    message = r"verification failed: \w+ differs by .* in case '\w+', at most .* is accepted"
    with pytest.raises(VerificationError, match=message) as caught:
        export(small, tmp_path / "out", TWO_LAYERS, verify="all")
    assert caught.value.verification.failures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def flip(path: Path, offset: int) -> None:
    """Changes one bit of a file."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("mode", ["all", "sample"])
def test_one_bit_that_changed_in_the_file_is_found(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    write = exporter.write_weights

    def spoiling(*arguments: Any, **options: Any) -> object:
        written = write(*arguments, **options)
        flip(arguments[3], 4 * 1000)
        return written

    monkeypatch.setattr(exporter, "write_weights", spoiling)
    message = (
        r"verification failed: 1 values of weight [\w.]+ differ from the checkpoint; check the "
        r"disk, export again; no artifact was written"
    )
    with pytest.raises(VerificationError, match=message) as caught:
        export(small, tmp_path / "out", TWO_LAYERS, verify=mode)
    assert sum(caught.value.verification.values.differing.values()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("traced")
def test_a_sample_of_a_large_weight_finds_a_wrong_conversion(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(written_weights, "_TILE", 2)
    convert = exporter.write_weights.__globals__["convert"]
    report = export(small, tmp_path / "fine", TWO_LAYERS, verify="sample")
    assert report.verification is not None
    assert 0 < report.verification.values.values < 4624 / 2

    def spoiling(block: torch.Tensor, *arguments: Any) -> torch.Tensor:
        converted: torch.Tensor = convert(block, *arguments)
        return converted.flip(0)

    monkeypatch.setitem(exporter.write_weights.__globals__, "convert", spoiling)
    with pytest.raises(VerificationError, match=r"differ from the checkpoint"):
        export(small, tmp_path / "out", TWO_LAYERS, verify="sample")


@pytest.mark.parametrize("precision", ["fp32", "int4"])
def test_a_model_that_does_not_fit_is_run_on_its_first_layers(
    exported: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    source = exported("dream", precision=precision)
    folder = tmp_path / "artifact"
    folder.mkdir()
    for name in (GRAPH_FILE, WEIGHTS_FILE):
        shutil.copyfile(source / name, folder / name)
    checkpoint = Checkpoint.open(GOLDEN / "dream-random")
    monkeypatch.setattr(verify, "layers_that_fit", lambda config, free: 1)
    manifest = Artifact.open(source).manifest
    options = ExportOptions(precision=precision, evidence_layers=len(manifest.evidence_layers))
    weights = build_graph(checkpoint.config, options).weights
    found = verify._end_to_end(folder, manifest, checkpoint, weights, options)
    assert (found.layers, found.of_layers) == (1, manifest.dims.layers)
    assert found.reason == "more does not fit the free memory"
    assert len(found.differences) == len(CASES) * len(OUTPUTS) - 1
    assert all(entry.accepted for entry in found.differences)
    assert sorted(path.name for path in folder.iterdir()) == [GRAPH_FILE, WEIGHTS_FILE]


@pytest.mark.usefixtures("traced")
def test_a_model_of_which_nothing_fits_has_its_weights_compared(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "read_available", lambda: 1000)
    report = export(small, tmp_path / "out", TWO_LAYERS, verify="all")
    assert report.verification is not None
    assert report.verification.values.values == 4624
    assert report.verification.end_to_end == EndToEnd(
        0, 2, (), "not even one layer fits the free memory"
    )


def test_as_many_layers_are_run_as_fit(tmp_path: Path) -> None:
    write_config(tmp_path, "dream", num_hidden_layers=7)
    _, config = read_config(tmp_path)
    value = first_layers._BYTES_A_VALUE / first_layers._USED
    layer = 2 * 16 + 3 * 16 * 24 + 2 * 16 * 16 + 2 * 8 * 16 + (16 + 2 * 8)
    outside = 2 * 16 * 40 + 16
    for layers in range(8):
        free = round(value * (outside + layer * layers)) + 1
        assert layers_that_fit(config, free) == layers
        assert layers_that_fit(config, free - 100) == max(0, layers - 1)
    assert layers_that_fit(config, 2**40) == 7


def test_nothing_that_is_not_a_number_is_accepted() -> None:
    assert not Difference("full", "logits", float("nan"), 1.0).accepted
    assert Difference("full", "logits", 1.0, 1.0).accepted


SAME = ValueCheck("all", 3, 4000, {})


def test_the_table_has_a_row_for_each_case_and_marks_what_failed() -> None:
    differences = (
        Difference("full", "logits", 1e-6, 1e-3),
        Difference("full", "attention", 2e-5, 1e-5),
        Difference("minimal", "logits", 0.0, 1e-3),
    )
    lines = Verification(SAME, EndToEnd(2, 2, differences)).text().splitlines()
    assert lines[:2] == [
        "4,000 values of 3 weights read back: all as in the checkpoint",
        "run end to end: 2 layers",
    ]
    assert [line.split() for line in lines[2:]] == [
        ["largest", "difference", "logits", "attention"],
        ["full", "1.0e-06", "2.0e-05", "!"],
        ["minimal", "0.0e+00", "-"],
        ["tolerance", "1.0e-03", "1.0e-05"],
    ]
    assert len({len(line) for line in lines[2:]}) == 1


def test_what_was_not_compared_is_said() -> None:
    sampled = Verification(
        ValueCheck("sample", 3, 4000, {"a": 2, "b": 3}), EndToEnd(0, 2, (), "no memory")
    )
    assert not sampled.accepted
    assert sampled.text().splitlines() == [
        "4,000 values of 3 weights read back (a sample): 5 differ",
        "run end to end: 0 of 2 layers; no memory",
    ]
