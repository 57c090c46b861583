"""Artifacts that keep keys and values in 8 bits: verified, cached, batched, refused."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_export import ExportOptions, export
from dawn_export.cli import main
from dawn_export.verification.computed_outputs import TOLERANCES, tolerances_of
from dawn_runtime import (
    Artifact,
    Decoder,
    Engine,
    EngineError,
    OptionError,
    StepInputs,
    open_engine,
)
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.ort.device import OrtDeviceEngine
from support.checkpoints import write_checkpoint
from support.host_device import HostDevice

OPTIONS = ExportOptions(evidence_layers=2, kv="int8")
PROMPTS = [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11, 12, 13, 14, 15]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verified artifact, heads of 64 in two groups."""
    root = tmp_path_factory.mktemp("kv")
    wide = {"hidden_size": 128, "num_attention_heads": 2, "num_key_value_heads": 1}
    checkpoint = write_checkpoint(root / "checkpoint", "dream", **wide)
    report = export(checkpoint, root / "out", OPTIONS, verify="all")
    assert report.verification is not None
    assert report.verification.accepted
    return root / "out"


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    opened = open_engine(Artifact.open(folder), threads=1)
    yield opened
    opened.close()


def whole(length: int) -> StepInputs:
    ids = np.random.default_rng(length).integers(0, 38, (2, length))
    rows = np.tile(np.arange(length), (2, 1))
    mask = np.ones((2, 1, length, length), dtype=bool)
    return StepInputs(ids, rows, mask, rows, rows, want_logits=True, want_present=True)


def test_the_manifest_tells_the_bytes_of_a_row(folder: Path, engine: Engine) -> None:
    manifest, info = read_manifest(folder), engine.describe()
    assert (manifest.kv, manifest.kv_dtype, manifest.activation_dtype) == (
        *("int8", "uint8"),
        "float32",
    )
    assert (info.head_dim, info.kv_width, info.kv_dtype) == (64, 68, "uint8")
    assert {array.shape[-1] for array in engine.run(whole(3)).present} == {68}


def test_a_cached_pass_is_the_full_pass_whatever_the_order(engine: Engine) -> None:
    inputs = whole(13)
    full = engine.run(inputs)
    order = np.random.default_rng(1).permutation(13)
    kept, fed = order[:7], order[7:]
    step = replace(
        inputs,
        input_ids=inputs.input_ids[:, fed],
        position_ids=np.tile(fed, (2, 1)),
        attention_mask=np.ones((2, 1, 6, 13), dtype=bool),
        logit_rows=inputs.logit_rows[:, :6],
        attention_rows=inputs.logit_rows[:, :6],
        past=tuple(np.ascontiguousarray(array[:, :, kept]) for array in full.present),
    )
    found = engine.run(step)
    assert full.logits is not None
    assert found.logits is not None
    np.testing.assert_allclose(found.logits[..., :39], full.logits[:, fed, :39], atol=5e-3)
    np.testing.assert_allclose(found.attention, full.attention[:, fed][:, :, order], atol=1e-3)
    for new, all_ in zip(found.present, full.present, strict=True):
        # What lies between two bytes may become either.
        assert np.abs(new[..., :64].astype(int) - all_[:, :, fed, :64]).max() <= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"cache": "dual", "policy": "dawn"},
        {"cache": "prefix", "policy": "threshold"},
        {"cache": "none", "policy": "one-per-step", "guidance": 1.0},
    ],
    ids=str,
)
def test_an_answer_of_a_batch_is_the_one_it_is_alone(
    folder: Path, settings: dict[str, Any]
) -> None:
    rules = {"max_new_tokens": 16, "block_length": 8, "stop_at_eos": False, **settings}
    with Decoder.open(folder, threads=1) as decoder:
        together = decoder.generate_batch(PROMPTS, **rules)
        for prompt, found in zip(PROMPTS, together, strict=True):
            alone = decoder.generate(input_ids=prompt, **rules)
            assert found.tokens.tolist() == alone.tokens.tolist()
            assert found.trace == alone.trace


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_on_a_device_the_kernels_that_move_keys_move_rows_of_bytes(
    folder: Path, engine: Engine, host: HostDevice, cache: str
) -> None:
    artifact = Artifact.open(folder)
    bound = OrtDeviceEngine(artifact.graph(), artifact.manifest, host, threads=1)
    rules: dict[str, Any] = {"policy": "dawn", "cache": cache, "block_length": 8}
    found = []
    for one in (bound, engine):
        decoder = Decoder(artifact.manifest, one)
        batch = decoder.generate_batch(PROMPTS, max_new_tokens=16, stop_at_eos=False, **rules)
        found.append([result.tokens.tolist() for result in batch])
    assert found[0] == found[1]
    assert "kv_write" in host.launched
    bound.close()


def test_other_keys_are_refused(engine: Engine) -> None:
    inputs = whole(4)
    floats = (np.zeros((2, 1, 2, 64), np.float32),) * 4
    step = replace(inputs, past=floats, attention_mask=np.ones((2, 1, 4, 6), dtype=bool))
    with pytest.raises(EngineError, match=r"past_key\.0 is float32 .*expected uint8 .*2, 68"):
        engine.run(step)


def test_another_kind_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError, match=r"^kv: got 'int4', expected one of float, int8$"):
        ExportOptions(kv="int4")
    assert main(["--model", "nowhere", "--output", "out", "--kv", "int4"]) == 2
    said = capsys.readouterr().err
    assert "--kv: invalid choice: 'int4'" in said
    assert len(said.splitlines()) == 1


def test_bytes_are_given_what_float16_is(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert tolerances_of(manifest) == TOLERANCES["fp16"]
    assert tolerances_of(replace(manifest, kv="float")) == TOLERANCES["fp32"]
    assert tolerances_of(replace(manifest, precision="int8")) == TOLERANCES["int8"]
