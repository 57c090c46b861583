"""Every engine gives a graph its mask of rows that draft, and a graph without one none."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dawn_export import ExportOptions, export
from dawn_export.tensorrt.trtexec import trtexec_command
from dawn_runtime import Decoder, EngineError
from dawn_runtime.artifact import Artifact, read_manifest
from dawn_runtime.cuda import CudaDevice
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.ort.device import OrtDeviceEngine
from dawn_runtime.engine.protocol import StepInputs
from dawn_runtime.engine.tensorrt import engine as engine_module
from dawn_runtime.engine.tensorrt.engine import TensorRTEngine, open_tensorrt
from dawn_runtime.manifest import Manifest, one_graph
from support.checkpoints import write_adapter, write_checkpoint
from support.fake_driver import FakeDriver
from support.families import tame
from support.host_device import HostDevice, get
from support.tensorrt_machine import FEW, FakeMachine, copied

LENGTH = 12
DRAFTING = Manifest.from_json(
    replace(fake_manifest(), graphs=one_graph(measures=True, drafts=True)).to_json()
)


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drafts")
    checkpoint = write_checkpoint(root / "checkpoint", "nemotron", tame, block_size=8)
    write_adapter(checkpoint)
    options = ExportOptions("tensorrt", "fp32", evidence_layers=2)
    export(checkpoint, root / "artifact", options)
    return root / "artifact"


@pytest.fixture
def plain(portable: Path) -> Iterator[OrtEngine]:
    artifact = Artifact.open(portable)
    engine = OrtEngine(artifact.graph(), artifact.manifest, threads=1)
    yield engine
    engine.close()


@pytest.fixture
def tensorrt(
    portable: Path, tmp_path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TensorRTEngine]:
    folder, machine = copied(portable, tmp_path / "artifact"), FakeMachine(monkeypatch)
    machine.world.enqueue = driver._do
    machine.world.recording = lambda: driver._captured is not None
    monkeypatch.setattr(engine_module, "CudaDevice", lambda: CudaDevice(driver=driver))
    machine.build(folder)
    engine = open_tensorrt(Artifact.open(folder))
    yield engine
    engine.close()


def step(drafts: list[bool] | None) -> StepInputs:
    """Two rows, which draft or not; in both the first tokens are text."""
    every = np.tile(np.arange(LENGTH), (2, 1))
    ids = np.random.default_rng(5).integers(0, 38, (2, LENGTH))
    sees = np.tril(np.ones((2, 1, LENGTH, LENGTH), dtype=bool))
    mask = None if drafts is None else np.array(drafts)[:, None] & (every >= 3)
    return StepInputs(ids, every, sees, every, every[:, :0], want_present=True, draft_mask=mask)


STEPS = [[True, True], None, [True, False], [False, False], [False, True], None]
"""What one engine is asked for, one after the other: no mask may outlast its run."""


def test_on_tensorrt_rows_draft_as_on_the_cpu(tensorrt: TensorRTEngine, plain: OrtEngine) -> None:
    assert tensorrt.describe().drafts
    for drafts in STEPS * 2:
        expected, inputs = plain.run(step(drafts)), step(drafts)
        found = tensorrt.run(inputs)
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-6)
        for one, other in zip(found.present, expected.present, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)
        left = tensorrt.run_on_device(replace(inputs, resident=True))
        tensorrt.device.synchronize()
        host = np.empty(left.confidence.shape, dtype=np.float32)
        tensorrt.device.download(host, left.confidence)
        tensorrt.device.synchronize()
        np.testing.assert_allclose(host[:, :LENGTH], expected.confidence, atol=1e-6)


def test_bound_to_a_device_rows_draft_as_on_the_cpu(
    portable: Path, plain: OrtEngine, host: HostDevice
) -> None:
    artifact = Artifact.open(portable)
    bound = OrtDeviceEngine(artifact.graph(), artifact.manifest, host, threads=1)
    for drafts in STEPS:
        expected = plain.run(step(drafts))
        np.testing.assert_array_equal(bound.run(step(drafts)).confidence, expected.confidence)
        left = bound.run_on_device(replace(step(drafts), resident=True))
        host.synchronize()
        np.testing.assert_array_equal(get(host, left.confidence), expected.confidence)
    bound.close()


def test_masks_make_a_difference(plain: OrtEngine) -> None:
    """Otherwise the tests above would hold of anything."""
    none, first = (plain.run(step(drafts)).confidence for drafts in (None, [True, False]))
    assert np.abs(first[0, 3:] - none[0, 3:]).max() > 0.01
    np.testing.assert_array_equal(first[0, :3], none[0, :3])
    np.testing.assert_array_equal(first[1], none[1])


def test_plans_and_commands_have_shapes_for_the_mask(portable: Path) -> None:
    command = " ".join(trtexec_command(read_manifest(portable), FEW, 10))
    assert "draft_mask:1x1" in command
    assert "draft_mask:2x48" in command


def test_speculation_on_tensorrt_is_that_of_the_cpu(
    tensorrt: TensorRTEngine, portable: Path, plain: OrtEngine
) -> None:
    manifest = read_manifest(portable)
    asked = {"input_ids": [1, 2, 3], "max_new_tokens": 10, "policy": "linear-speculation"}
    ours, theirs = (Decoder(manifest, one).generate(**asked) for one in (tensorrt, plain))
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert ours.forwards == theirs.forwards


def test_a_manifest_keeps_the_input_and_others_stay_as_they_were() -> None:
    assert DRAFTING.step.drafts
    names = [spec.name for spec in DRAFTING.inputs]
    assert names[5:8] == ["entropy_rows", "draft_mask", "past_key.0"]
    assert DRAFTING.to_json() == Manifest.from_json(DRAFTING.to_json()).to_json()
    assert "draft" not in fake_manifest().to_json()


def test_the_fake_engine_drafts_with_another_model() -> None:
    engine = FakeEngine(DRAFTING)
    none, mixed = (engine.run(step(drafts)) for drafts in (None, [True, False]))
    assert (mixed.tokens[0, 3:] != none.tokens[0, 3:]).any()
    np.testing.assert_array_equal(mixed.tokens[0, :3], none.tokens[0, :3])
    np.testing.assert_array_equal(mixed.tokens[1], none.tokens[1])


def test_a_graph_without_an_adapter_is_asked_for_none() -> None:
    with pytest.raises(EngineError, match=r"got a draft_mask, but .* no adapter for drafts"):
        FakeEngine(fake_manifest()).run(step([True, True]))


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 3), bool), np.zeros((2, LENGTH)), np.zeros((2, LENGTH, 1), bool)]
)
def test_a_mask_of_another_shape_or_type_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(EngineError, match=r"draft_mask is .*; expected bool \[B, S\]"):
        FakeEngine(DRAFTING).run(replace(step(None), draft_mask=mask))
