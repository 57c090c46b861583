"""What an export can be asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_export import ExportOptions
from dawn_export.quantization.schemes import SCHEMES
from dawn_export.tensorrt import EngineOptions
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evidence_layers": True}, "evidence layers: got True, expected a whole number"),
        ({"evidence_layers": None}, "evidence layers: got None, expected a whole number"),
        ({"context_length": 2.0}, "context length: got 2.0, expected a whole number"),
        ({"context_length": 10**400}, "context length: got 1000.*, expected at most 2147483647"),
        ({"precision": "int4", "int4_block": 32.0}, "int4 block: got 32.0, expected one of 16"),
        ({"precision": "x" * 10**5}, r"precision: got 'xx.*\.\.\..*', expected one of"),
    ],
)
def test_a_value_of_another_type_or_size_is_one_short_line(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        ExportOptions(**options)
    assert len(str(caught.value)) < 300


def test_numbers_of_numpy_are_numbers() -> None:
    options = ExportOptions(evidence_layers=np.int64(2), context_length=np.int8(64))
    assert (type(options.evidence_layers), options.context_length) == (int, 64)
    assert ExportOptions(precision="int4", int4_block=np.int64(64)).int4_block == 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": "64"}, "max length: got '64', expected a whole number"),
        ({"batch": None}, "batch: got None, expected a whole number"),
        ({"batch": 2.5}, "batch: got 2.5, expected a whole number"),
        ({"block_length": True}, "block length: got True, expected a whole number"),
        ({"logits": "no"}, "logits: got 'no', expected True or False"),
        ({"stripped": 1}, "stripped: got 1, expected True or False"),
        ({"capability": "87"}, "capability: got '87', expected two numbers"),
    ],
)
def test_a_plan_is_asked_for_in_the_same_way(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EngineOptions(**options)
