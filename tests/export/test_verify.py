"""The comparison of the exported graph with the checkpoint finds what is wrong with it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dawn_export import Difference, ExportOptions, Verification, VerificationError, export, verify
from dawn_export.verify import TOLERANCES
from dawn_models import Checkpoint
from dawn_runtime import Artifact
from support.golden import GOLDEN

TWO_LAYERS = ExportOptions(evidence_layers=2)
CASES = ("full", "cached", "batched", "minimal")
OUTPUTS = ("tokens", "confidence", "attention", "logits", "cache")


def verified(folder: Path, family: str) -> Verification:
    return verify.verify(
        folder, Artifact.open(folder).manifest, Checkpoint.open(GOLDEN / f"{family}-random")
    )


@pytest.mark.parametrize(
    ("family", "dialect", "precision"),
    [("dream", "portable", "fp32"), ("llada", "fused", "fp32"), ("dream", "fused", "fp16")],
)
def test_torch_and_onnx_runtime_agree(
    exported: Callable[..., Path], family: str, dialect: str, precision: str
) -> None:
    verification = verified(exported(family, dialect, precision), family)
    compared = {(entry.case, entry.output) for entry in verification.differences}
    assert compared == {(c, o) for c in CASES for o in OUTPUTS} - {("minimal", "attention")}
    assert not verification.failures
    for entry in verification.differences:
        assert entry.tolerance == TOLERANCES[precision][entry.output]
        assert 0 <= entry.largest <= entry.tolerance / 4


@pytest.mark.usefixtures("traced")
def test_the_report_carries_the_differences(small: Path, tmp_path: Path) -> None:
    report = export(small, tmp_path / "out", TWO_LAYERS, verify=True)
    assert report.verification is not None
    assert len(report.verification.differences) == 19


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("parameter", ["layers.0.up_proj.weight", "layers.1.k_proj.bias"])
def test_a_graph_that_computes_something_else_is_not_put_in_place(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameter: str
) -> None:
    load = verify.load_transformer

    def spoilt(checkpoint: Checkpoint) -> torch.nn.Module:
        model = load(checkpoint)
        model.get_parameter(parameter)[3] += 1
        return model

    monkeypatch.setattr(verify, "load_transformer", spoilt)
    message = r"verification failed: \w+ differs by .* in case '\w+', at most .* is accepted"
    with pytest.raises(VerificationError, match=message) as caught:
        export(small, tmp_path / "out", TWO_LAYERS, verify=True)
    assert caught.value.verification.failures
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_nothing_that_is_not_a_number_is_accepted() -> None:
    assert not Difference("full", "logits", float("nan"), 1.0).accepted
    assert Difference("full", "logits", 1.0, 1.0).accepted


def test_the_table_has_a_row_for_each_case_and_marks_what_failed() -> None:
    table = Verification(
        (
            Difference("full", "logits", 1e-6, 1e-3),
            Difference("full", "attention", 2e-5, 1e-5),
            Difference("minimal", "logits", 0.0, 1e-3),
        )
    ).table()
    assert [line.split() for line in table.splitlines()] == [
        ["largest", "difference", "logits", "attention"],
        ["full", "1.0e-06", "2.0e-05", "!"],
        ["minimal", "0.0e+00", "-"],
        ["tolerance", "1e-03", "1e-05"],
    ]
    assert len({len(line) for line in table.splitlines()}) == 1
