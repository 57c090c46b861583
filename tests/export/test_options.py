"""What an export can be asked for."""

from pathlib import Path

import pytest

from dawn_export import ExportOptions
from dawn_export.quantization.schemes import SCHEMES
from dawn_models import read_config
from dawn_runtime import OptionError
from dawn_runtime.contract import TARGETS
from support.checkpoints import write_config


def test_the_defaults_are_float32_for_the_cpu() -> None:
    options = ExportOptions()
    assert (options.target, options.precision, options.evidence_layers) == ("cpu", "fp32", 4)
    assert (options.graph_dialect, options.opset, options.ir_version) == ("fused", 23, 11)


def test_every_target_of_a_manifest_can_be_exported_for() -> None:
    assert tuple(dict.fromkeys(target for target, _ in SCHEMES)) == TARGETS


def test_the_portable_dialect_stays_readable_for_old_engines() -> None:
    options = ExportOptions(dialect="portable")
    assert (options.opset, options.ir_version) == (20, 9)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("target", "tpu", "target: got 'tpu', expected one of cpu, cuda"),
        ("precision", "fp8", "precision: got 'fp8', expected one of fp32, fp16, bf16"),
        (
            "precision",
            "bf16",
            "cpu cannot run bf16; use fp32 or fp16 or int8 or int4, or .* cuda or tensorrt",
        ),
        ("context_length", 0, "context length: got 0, expected at least 1"),
        ("dialect", "both", "dialect: got 'both', expected one of portable, fused"),
        ("evidence_layers", 0, "evidence layers: got 0, expected at least 1"),
    ],
)
def test_unknown_values_are_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        ExportOptions(**{field: value})


def test_evidence_needs_as_many_layers(tmp_path: Path) -> None:
    write_config(tmp_path, "dream", num_hidden_layers=3)
    _, config = read_config(tmp_path)
    ExportOptions(evidence_layers=3).check_model(config)
    with pytest.raises(OptionError, match="got 4, but the model has 3 layers; ask for 3 or fewer"):
        ExportOptions(evidence_layers=4).check_model(config)


def test_a_context_is_at_most_as_long_as_the_models(tmp_path: Path) -> None:
    write_config(tmp_path, "dream", max_position_embeddings=64)
    _, config = read_config(tmp_path)
    assert ExportOptions().max_length(config) == 64
    shorter = ExportOptions(evidence_layers=1, context_length=48)
    shorter.check_model(config)
    assert shorter.max_length(config) == 48
    message = "got 65, but the model was made for 64 tokens; ask for 64 or fewer"
    with pytest.raises(OptionError, match=message):
        ExportOptions(evidence_layers=1, context_length=65).check_model(config)
