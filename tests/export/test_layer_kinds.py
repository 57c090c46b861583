"""Layers of several kinds, some of them with norms of queries and keys, in every scheme.

The checkpoints are random and of families that the tests add; see `support.families`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from dawn_calibration.checkpoints import load_model, open_checkpoint, read_surroundings
from dawn_calibration.torch_engine import TorchEngine
from dawn_export import ExportOptions, ExportReport, export
from dawn_export.graph import step
from dawn_export.preflight import artifact_bytes
from dawn_export.quantization.schemes import SCHEMES
from dawn_export.verification import computed_outputs
from dawn_export.verification import first_layers as truncation
from dawn_export.verification.computed_outputs import check_parity
from dawn_export.verification.first_layers import first_layers, layers_that_fit
from dawn_models import Checkpoint, Family, ModelConfig, parameter_shapes
from dawn_runtime import Artifact, Decoder
from dawn_runtime.manifest import GRAPH_FILE, WEIGHTS_FILE
from support.calibrations import calibrate
from support.families import MIXED, QWEN3, registered, write_sample

TRIED = [
    (MIXED, "cpu", "fp32", "fused"),
    (MIXED, "cpu", "fp32", "portable"),
    (MIXED, "cpu", "int8", "fused"),
    (MIXED, "tensorrt", "int8", "portable"),
    (QWEN3, "cpu", "fp32", "fused"),
    (QWEN3, "cpu", "fp16", "fused"),
    (QWEN3, "cpu", "int4", "fused"),
]


def name_of(value: object) -> str:
    return value.name if isinstance(value, Family) else str(value)


@dataclass(frozen=True)
class Made:
    """An artifact, verified, and where it comes from.

    Attributes:
        source: The checkpoint.
        folder: The artifact.
        options: How it was exported.
        report: What the export says.
        traced: Pieces that were traced, in order.
    """

    source: Path
    folder: Path
    options: ExportOptions
    report: ExportReport
    traced: tuple[str, ...]


Make = Callable[..., Made]


@pytest.fixture(scope="module", autouse=True)
def families() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Exports when it is first asked for: (family, target, precision, dialect) -> artifact."""
    made: dict[tuple[Any, ...], Made] = {}

    def artifact(family: Family, target: str, precision: str, dialect: str) -> Made:
        key = (family.name, target, precision, dialect)
        if key not in made:
            folder = tmp_path_factory.mktemp("-".join(key))
            source = write_sample(folder / "checkpoint", family)
            made[key] = exported(source, folder / "out", options_of(source, *key[1:]))
        return made[key]

    return artifact


def options_of(source: Path, target: str, precision: str, dialect: str) -> ExportOptions:
    """With evidence of two layers, which are of different kinds, and smoothing where there is."""
    used = SCHEMES[target, precision].calibration != "unused"
    found = calibrate(Checkpoint.open(source), smooth=True) if used else None
    return ExportOptions(target, precision, dialect, evidence_layers=2, calibration=found)


def exported(source: Path, folder: Path, options: ExportOptions) -> Made:
    traced: list[str] = []
    trace: Callable[..., Any] = step.trace

    def noting(piece: Any, *arguments: Any) -> Any:
        traced.append(type(piece.module).__name__)
        return trace(piece, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(step, "trace", noting)
        report = export(source, folder, options, verify="all")
    return Made(source, folder, options, report, tuple(traced))


@pytest.mark.parametrize(("family", "target", "precision", "dialect"), TRIED, ids=name_of)
def test_every_scheme_computes_what_torch_computes(
    make: Make, family: Family, target: str, precision: str, dialect: str
) -> None:
    made = make(family, target, precision, dialect)
    verified, config = made.report.verification, Checkpoint.open(made.source).config
    assert verified is not None
    assert verified.values.tensors == len(parameter_shapes(config))
    assert verified.end_to_end.layers == 3
    if precision == "fp32":
        assert max(one.largest for one in verified.end_to_end.differences) < 1e-4
    graph = onnx.load(made.folder / GRAPH_FILE, load_external_data=False).graph
    for norm in ("q_norm", "k_norm"):
        read = {name.split(".")[1] for node in graph.node for name in node.input if norm in name}
        assert read == ({"0", "2"} if family is MIXED else {"0", "1", "2"})
    assert (made.folder / WEIGHTS_FILE).stat().st_size <= artifact_bytes(config, made.options)


@pytest.mark.parametrize(
    ("family", "dialect"), [(MIXED, "fused"), (MIXED, "portable"), (QWEN3, "fused")], ids=name_of
)
def test_an_artifact_decodes_token_for_token_as_torch(
    make: Make, family: Family, dialect: str
) -> None:
    made = make(family, "cpu", "fp32", dialect)
    manifest = Artifact.open(made.folder).manifest
    checkpoint = open_checkpoint(made.source)
    ours = replace(read_surroundings(checkpoint), manifest=manifest).decoder(
        TorchEngine(load_model(checkpoint), manifest)
    )
    with Decoder.open(made.folder, threads=1) as theirs:
        for settings in ({"policy": "dawn"}, {"policy": "threshold", "cache": "dual"}):
            asked: Any = {"input_ids": [5, 6, 7, 8], "max_new_tokens": 48, "block_length": 16}
            asked |= {"stop_at_eos": False, **settings}
            traces = [one.generate(**asked).trace for one in (ours, theirs)]
            expected, found = ([(c.step, c.position, c.token) for c in trace] for trace in traces)
            assert len(found) == 48
            assert found == expected


def test_each_kind_of_layer_is_traced_once(make: Make) -> None:
    pieces = ("Enter", "RunLayer", "RunLayer", "MeanAttention", "Leave")
    assert make(MIXED, "cpu", "fp32", "fused").traced == pieces
    assert make(QWEN3, "cpu", "fp32", "fused").traced == pieces[:2] + pieces[3:]


def test_a_norm_of_keys_that_differs_is_found(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    load = computed_outputs.load_transformer

    def spoilt(checkpoint: Checkpoint, **how: Any) -> torch.nn.Module:
        model = load(checkpoint, **how)
        model.get_parameter("layers.2.k_norm.weight")[3] += 1
        return model

    monkeypatch.setattr(computed_outputs, "load_transformer", spoilt)
    made = make(MIXED, "cpu", "fp32", "fused")
    manifest, checkpoint = Artifact.open(made.folder).manifest, Checkpoint.open(made.source)
    differences = check_parity(made.folder / GRAPH_FILE, manifest, checkpoint)
    assert any(one.largest > one.tolerance for one in differences)


def values(config: ModelConfig) -> int:
    return sum(torch.Size(shape).numel() for shape in parameter_shapes(config).values())


def test_as_many_first_layers_are_run_as_fit_whatever_their_kinds(tmp_path: Path) -> None:
    config = Checkpoint.open(write_sample(tmp_path, MIXED)).config
    scale = truncation._BYTES_A_VALUE / truncation._USED
    for number in (1, 2, 3):
        needed = values(config.first_layers(number)) * scale
        assert layers_that_fit(config, int(needed) + 16) == number
        assert layers_that_fit(config, int(needed) - 16) == number - 1


def test_the_first_layers_keep_their_kinds(make: Make) -> None:
    whole = Checkpoint.open(make(MIXED, "cpu", "fp32", "fused").source)
    first = first_layers(whole, 2)
    assert (len(first.config.kinds), first.config.layers) == (2, whole.config.layers[:2])
    assert set(first.tensors) == set(parameter_shapes(first.config))


def test_a_family_without_published_thresholds_decodes_with_those_of_the_rule(make: Make) -> None:
    with Decoder.open(make(QWEN3, "cpu", "fp32", "fused").folder, threads=1) as decoder:
        defaults = decoder.manifest.decoding
        assert (defaults.policy, defaults.options) == ("dawn", {})
        found, spelled = (
            decoder.generate(input_ids=[1, 2, 3], max_new_tokens=40, options=options)
            for options in (None, {"tau_edge": 0.07, "tau_low": 0.75})
        )
        assert found.tokens.tolist() == spelled.tokens.tolist()
