"""Building plans with a fake `tensorrt`: what is checked, written, kept and refused."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_export import ExportError, ExportOptions, OutputError, export
from dawn_export.folder.artifact import check_output
from dawn_export.tensorrt import EngineOptions, adopt_plan
from dawn_export.tensorrt.machine import build_memory
from dawn_runtime.artifact import Artifact, read_manifest
from dawn_runtime.engine.tensorrt.plans import plan_files, read_plans
from dawn_runtime.errors import DependencyError, EngineError, OptionError
from support.tensorrt_machine import FEW, ORIN, FakeMachine

PLAN = "tensorrt-sm87-fp16-48x2.engine"


def test_a_plan_and_what_belongs_to_it_lie_beside_the_graph(
    machine: FakeMachine, folder: Path
) -> None:
    before = Artifact.open(folder)
    report = machine.build(folder)
    names = {PLAN, f"{PLAN}.json", PLAN.replace(".engine", ".layers.json"), "timing.cache"}
    assert plan_files(folder) == names
    assert Artifact.open(folder, verify="full") == before
    assert report.path == folder / PLAN
    assert report.profiles == ("full-48", "full-48x2", "cached-48", "cached-48x2")
    assert report.inspection is not None
    assert report.inspection.fused == (0,)
    assert not report.reused
    (record,) = read_plans(folder)
    assert (record.key.version, record.key.sm, record.key.cuda) == ("10.3.0", "8.7", 12)
    assert not list(folder.glob(".*"))


def test_the_same_plan_is_not_built_twice(machine: FakeMachine, folder: Path) -> None:
    machine.build(folder)
    machine.world.faults.add("build")
    assert machine.build(folder).reused


@pytest.mark.parametrize(
    "change",
    [
        lambda machine: machine.install("10.4.0"),
        lambda machine: machine.set_gpu(replace(ORIN, capability=(9, 0))),
    ],
)
def test_another_machine_builds_anew(
    machine: FakeMachine, folder: Path, change: Callable[[FakeMachine], None]
) -> None:
    machine.build(folder)
    change(machine)
    machine.world.capability = "9.0" if ORIN.capability != (8, 7) else "8.7"
    assert not machine.build(folder).reused


def test_other_profiles_build_anew(machine: FakeMachine, folder: Path) -> None:
    machine.build(folder)
    assert not machine.build(folder, replace(FEW, block_length=16)).reused
    assert len(read_plans(folder)) == 1
    machine.build(folder, replace(FEW, batch=1))
    assert len(read_plans(folder)) == 2


def test_a_truncated_plan_is_named_and_not_taken_for_good(
    machine: FakeMachine, folder: Path
) -> None:
    path = machine.build(folder).path
    path.write_bytes(path.read_bytes()[:-1])
    assert not machine.build(folder).reused


def test_the_timing_cache_of_another_machine_is_put_aside(
    machine: FakeMachine, folder: Path
) -> None:
    (folder / "timing.cache").write_bytes(b"of another GPU")
    machine.build(folder)
    assert (folder / "timing.cache").read_bytes() == b"times"
    machine.build(folder, replace(FEW, batch=1))
    assert (folder / "timing.cache").read_bytes() == b"timestimes"


def test_attention_may_be_decomposed_where_the_release_knows_it(
    machine: FakeMachine, folder: Path
) -> None:
    machine.install("11.4.0")
    assert machine.build(folder).builder == "tensorrt 11.4.0"  # the fake builder checks it


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("build", r"cannot build .*OutOfMemory; if memory ran out, ask for a smaller --max-length"),
        ("parse", r"cannot parse .*In importAttention: no such operator; export again with --dial"),
    ],
)
def test_a_build_that_fails_is_one_line_and_leaves_nothing(
    machine: FakeMachine, folder: Path, fault: str, message: str
) -> None:
    machine.world.faults.add(fault)
    with pytest.raises(ExportError, match=message) as caught:
        machine.build(folder)
    assert "\n" not in str(caught.value)
    assert not plan_files(folder)
    machine.world.faults.clear()
    machine.build(folder)


def test_a_plan_that_cannot_be_loaded_on_the_spot_is_an_error(
    machine: FakeMachine, folder: Path
) -> None:
    machine.world.faults.add("load")
    with pytest.raises(EngineError, match=r"refuses .*The engine plan file is not compatible"):
        machine.build(folder)


def test_without_a_gpu_the_way_out_is_named(machine: FakeMachine, folder: Path) -> None:
    machine.set_gpu(None)
    with pytest.raises(ExportError, match=r"no GPU to build for: libcuda.*--onnx-only"):
        machine.build(folder)
    with pytest.raises(OptionError, match="tensorrt builds for the GPU at hand only"):
        machine.build(folder, replace(FEW, capability=(8, 9)))


def test_memory_that_cannot_suffice_is_refused_before_the_build(
    machine: FakeMachine, folder: Path
) -> None:
    machine.set_gpu(replace(ORIN, integrated=False, free_bytes=1000))
    with pytest.raises(ExportError, match=r"memory of host and GPU is 0\.\d\d GB short; stop"):
        machine.build(folder)


def test_shared_memory_is_counted_once_for_host_and_gpu(portable: Path) -> None:
    artifact = Artifact.open(portable)
    weights = artifact.path("model.onnx.data").stat().st_size
    there = build_memory(artifact, 48, 1, ORIN)
    assert there.shared
    assert there.host == 2 * weights
    assert replace(there, host_free=there.host + there.device).missing == 0
    assert replace(there, host_free=there.host + there.device - 7).missing == 7
    apart = replace(there, shared=False, host_free=there.host - 3, device_free=there.device - 9)
    assert apart.missing == 9
    assert replace(apart, device_free=None).missing == 3


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    manifest = replace(read_manifest(folder), **changes)
    (folder / "dawn.json").write_text(manifest.to_json(), encoding="utf-8")


def test_bfloat16_needs_a_gpu_that_has_it(machine: FakeMachine, folder: Path) -> None:
    rewrite_manifest(folder, precision="bf16", activations="bf16")
    machine.set_gpu(replace(ORIN, capability=(7, 2)))
    with pytest.raises(ExportError, match=r"capability 7\.2 computes in fp32, fp16, int8, the"):
        machine.build(folder)


def test_blocks_of_int4_are_read_though_their_opset_is_newer(
    machine: FakeMachine, folder: Path
) -> None:
    rewrite_manifest(folder, precision="int4", activations="fp16", opset=21)
    machine.build(folder)


def test_a_graph_beyond_the_parser_is_refused_by_its_opset(
    machine: FakeMachine, folder: Path
) -> None:
    rewrite_manifest(folder, dialect="fused", opset=23)
    with pytest.raises(
        ExportError, match=r"tensorrt 10\.3\.0 reads up to 20, the graph is opset 23"
    ):
        machine.build(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 65}, "max length: got 65, but the artifact was made for 64 tokens"),
        ({"max_length": 8, "block_length": 9}, "a block no longer than the sequence"),
    ],
)
def test_options_that_do_not_fit_the_artifact_are_refused(
    machine: FakeMachine, folder: Path, options: dict[str, int], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        machine.build(folder, EngineOptions(**options))


def test_an_option_below_one_is_refused() -> None:
    with pytest.raises(OptionError, match="block length: got 0, expected at least 1"):
        EngineOptions(block_length=0)


def test_defaults_come_from_the_artifact(machine: FakeMachine, folder: Path) -> None:
    report = machine.build(folder, EngineOptions())
    assert report.profiles == ("full-64", "cached-64")
    assert read_plans(folder)[0].block_length == 32


def test_a_plan_of_trtexec_is_adopted(machine: FakeMachine, folder: Path) -> None:
    machine.build(folder, replace(FEW, logits=True))
    (folder / PLAN).rename(folder / "model.engine")
    (folder / f"{PLAN}.json").unlink()
    report = adopt_plan(folder, "model.engine", FEW)
    (record,) = read_plans(folder)
    assert (record.name, record.logits) == ("model.engine", True)
    assert report.inspection is not None


@pytest.mark.parametrize("name", ["model.engine", "../model.engine", "dawn.json"])
def test_only_a_plan_in_the_folder_is_adopted(
    machine: FakeMachine, folder: Path, name: str
) -> None:
    (folder.parent / "model.engine").write_bytes(b"plan")
    with pytest.raises(ExportError, match=r"no plan there; expected the name of a file \*\.engine"):
        adopt_plan(folder, name, FEW)


def test_an_artifact_with_plans_can_be_replaced_and_nothing_else_in_its_folder(
    machine: FakeMachine, folder: Path
) -> None:
    machine.build(folder)
    check_output(folder, force=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes\.txt, which dawn-export did not write"):
        check_output(folder, force=True)


@pytest.mark.usefixtures("traced")
def test_exporting_again_leaves_no_plan_of_the_old_weights_and_keeps_the_timing_cache(
    machine: FakeMachine, folder: Path, small: Path
) -> None:
    machine.build(folder)
    again = ExportOptions(target="tensorrt", evidence_layers=2)
    export(small, folder, again, force=True)
    assert plan_files(folder) == {"timing.cache"}
    machine.build(folder)
    assert (folder / "timing.cache").read_bytes() == b"timestimes", "both builds have added to it"
    assert Artifact.open(folder, verify="full").manifest.files.keys().isdisjoint(plan_files(folder))


def test_no_tensorrt_is_a_missing_dependency(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DependencyError, match="builds plans and cannot be imported"):
        FakeMachine.build(object.__new__(FakeMachine), folder)


def test_the_layers_report_is_what_tensorrt_said(machine: FakeMachine, folder: Path) -> None:
    machine.build(folder)
    layers = json.loads((folder / PLAN.replace(".engine", ".layers.json")).read_text())
    assert layers["Layers"][0]["Name"] == "_gemm_mha_v2_myl0_1"
