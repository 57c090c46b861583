"""Plans and their records: what is checked before TensorRT sees a byte."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.artifact import Artifact, sha256_of
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.engine.tensorrt.plans import (
    NO_DRIVER,
    Machine,
    PlanKey,
    PlanRecord,
    choose_plan,
    plan_files,
    read_plans,
)
from dawn_runtime.engine.tensorrt.profiles import plan_profiles
from dawn_runtime.errors import ArtifactError, EngineError
from dawn_runtime.manifest import FileEntry, Manifest

HERE = Machine("tensorrt", "10.3.0", (8, 7), 12)


@pytest.fixture
def artifact(artifact_folder: Path) -> Artifact:
    return Artifact.open(artifact_folder)


@pytest.fixture
def add(artifact: Artifact) -> Callable[..., PlanRecord]:
    """Writes a plan of a few bytes and its record."""

    def write(name: str = "a", length: int = 64, **changes: Any) -> PlanRecord:
        path = artifact.folder / f"{name}.engine"
        path.write_bytes(b"plan of " + name.encode())
        profiles = plan_profiles(length, 16, 1)
        known = {f: changes.pop(f) for f in ("version_compatible", "stripped") if f in changes}
        key = replace(PlanKey.of(artifact.manifest, HERE, profiles), **changes)
        entry = FileEntry(path.stat().st_size, sha256_of(path))
        flags = {"logits": False, "version_compatible": False, "stripped": False, **known}
        record = PlanRecord(path.name, entry, key, profiles, 16, **flags)
        (artifact.folder / f"{name}.engine.json").write_text(record.to_json())
        return record

    return write


def test_a_record_survives_json(add: Callable[..., PlanRecord], artifact: Artifact) -> None:
    record = add(stripped=True)
    assert read_plans(artifact.folder) == (record,)


def test_plans_leave_the_artifact_as_it_was(
    add: Callable[..., PlanRecord], artifact: Artifact
) -> None:
    assert read_plans(artifact.folder) == ()
    add()
    assert Artifact.open(artifact.folder, verify="full").manifest == artifact.manifest
    assert plan_files(artifact.folder) == {"a.engine", "a.engine.json"}


def test_the_plan_for_the_longest_sequences_is_taken(
    add: Callable[..., PlanRecord], artifact: Artifact
) -> None:
    add("short", length=32)
    longest = add("long", length=128)
    add("longer-elsewhere", length=256, sm="9.0")
    assert choose_plan(artifact.folder, artifact.manifest, HERE) == longest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"product": "tensorrt_rtx"}, "was built by tensorrt_rtx, this machine has tensorrt"),
        ({"version": "10.13.2"}, "was built by version 10.13.2, this machine has 10.3.0"),
        ({"sm": "9.0"}, "was built for a GPU of compute capability 9.0, this one has 8.7"),
        ({"cuda": 13}, "was built with CUDA 13, this machine has 12"),
        ({"weights": "0" * 64}, "was built from other weights than those of this artifact"),
        ({"graph": "0" * 64}, "was built from another graph than that of this artifact"),
        ({"precision": "fp16"}, "was built at fp16, the artifact is fp32"),
    ],
)
def test_a_difference_of_the_key_is_one_line_that_says_how_to_rebuild(
    add: Callable[..., PlanRecord], artifact: Artifact, changes: dict[str, Any], words: str
) -> None:
    add(**changes)
    with pytest.raises(EngineError) as caught:
        choose_plan(artifact.folder, artifact.manifest, HERE)
    folder = artifact.folder
    again = f"build it again: dawn-export --target tensorrt --artifact {folder}"
    assert str(caught.value) == f"{folder / 'a.engine'}: {words}; {again}"


def test_only_newer_releases_load_a_version_compatible_plan(
    add: Callable[..., PlanRecord], artifact: Artifact
) -> None:
    record = add(version_compatible=True)

    def mismatch(version: str) -> str | None:
        return record.mismatch(artifact.manifest, replace(HERE, version=version))

    assert mismatch("10.3.0") is None
    assert mismatch("11.4.0.106") is None
    assert "this machine has 10.2.9" in str(mismatch("10.2.9"))


def test_a_plan_built_without_a_driver_runs_under_any_cuda(
    add: Callable[..., PlanRecord], artifact: Artifact
) -> None:
    record = add(cuda=NO_DRIVER)
    assert record.mismatch(artifact.manifest, replace(HERE, cuda=13)) is None


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:-1]),
            "is truncated, 8 bytes instead of 9",
        ),
        (lambda path: path.write_bytes(b"Plan of a"), "the plan is damaged, its SHA-256 differs"),
        (lambda path: path.unlink(), "the plan is missing"),
    ],
)
def test_a_spoilt_plan_is_refused_before_it_is_loaded(
    add: Callable[..., PlanRecord],
    artifact: Artifact,
    spoil: Callable[[Path], Any],
    message: str,
) -> None:
    record = add()
    spoil(artifact.folder / "a.engine")
    with pytest.raises(EngineError, match=f"{message}; build it again: dawn-export"):
        record.check_file(artifact.folder)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("record_version", 2, "another version of dawn-edge wrote it"),
        ("logits", 1, "field 'logits' is 1; expected true or false"),
        ("block_length", 0, "field 'block_length' is 0"),
        ("extra", 0, "field 'extra' is unknown"),
    ],
)
def test_a_malformed_record_names_its_field(
    add: Callable[..., PlanRecord], artifact: Artifact, field: str, value: Any, message: str
) -> None:
    document = json.loads(add().to_json())
    (artifact.folder / "a.engine.json").write_text(json.dumps({**document, field: value}))
    with pytest.raises(ArtifactError, match=message):
        read_plans(artifact.folder)


def test_the_key_holds_all_that_decides(artifact: Artifact) -> None:
    def key(manifest: Manifest = artifact.manifest, machine: Machine = HERE) -> PlanKey:
        return PlanKey.of(manifest, machine, plan_profiles(64, 16, 1))

    others = [
        replace(HERE, version="10.4"),
        replace(HERE, capability=(9, 0)),
        replace(HERE, cuda=13),
    ]
    assert len({key(), *(key(machine=machine) for machine in others)}) == 4
    changed = dict(artifact.manifest.files)
    changed["model.onnx.data"] = FileEntry(4, "0" * 64)
    assert key(replace(artifact.manifest, files=changed)) != key()
    assert fake_manifest().precision == key().precision
