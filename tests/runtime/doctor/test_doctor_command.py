"""`dawn-doctor`: its report, its exit status, and what it says of an artifact."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.cli.doctor import main
from dawn_runtime.cuda.nvrtc import Nvrtc
from dawn_runtime.doctor import examination
from dawn_runtime.doctor.examination import needed_devices
from dawn_runtime.doctor.target import target_findings
from dawn_runtime.engine.canary.onnx_writer import field
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.engine.ort.session import CUDA_PROVIDER
from dawn_runtime.machine.driver import Cuda, Gpu
from dawn_runtime.machine.onnx_bytes import GraphVersions, minimal_model
from dawn_runtime.machine.providers import CPU, OnnxRuntime
from dawn_runtime.manifest import Manifest

Run = Callable[..., tuple[int, str, str]]
WriteManifest = Callable[[Path, Manifest], None]
BIG = Gpu("Big", (9, 0), integrated=False, free_bytes=2**40, total_bytes=2**40)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command on a machine with a CPU engine and the GPUs given."""

    def call(*arguments: object, gpus: tuple[Gpu, ...] = ()) -> tuple[int, str, str]:
        found = OnnxRuntime("1.31", None, {CPU: ""})
        monkeypatch.setattr(examination, "read_onnxruntime", lambda versions: found)
        monkeypatch.setattr(examination, "read_trials", lambda found: {})
        monkeypatch.setattr(examination, "read_nvrtc", lambda: Nvrtc((12, 6)))
        monkeypatch.setattr(examination, "read_cuda", lambda: Cuda((12, 6), gpus, "no device"))
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


@pytest.fixture
def artifact(artifact_folder: Path, manifest_writer: WriteManifest) -> Path:
    """An artifact whose graph is the smallest there is."""
    (artifact_folder / "model.onnx").write_bytes(minimal_model(GraphVersions(23, 11)))
    manifest_writer(artifact_folder, fake_manifest(vocab_size=259, max_length=256))
    return artifact_folder


def findings(run: Run, *arguments: object, **machine: Any) -> dict[str, list[dict[str, str]]]:
    """Findings of a run with --json, by topic."""
    _, out, _ = run(*arguments, "--json", **machine)
    by_topic: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(out)["findings"]:
        by_topic.setdefault(finding["topic"], []).append(finding)
    return by_topic


def test_a_sound_machine_is_status_0(run: Run) -> None:
    status, out, err = run()
    assert (status, err) == (0, "")
    assert "ok       python" in out
    assert "ONNX Runtime 1.31: CPU" in out
    assert "note     gpu" in out


def test_a_sound_artifact_is_status_0(run: Run, artifact: Path) -> None:
    status, out, err = run(artifact)
    assert (status, err) == (0, "")
    assert "4 files, 0.00 GB: sizes and SHA-256 as in dawn.json" in out
    assert "the graph is opset 23, IR 11; ONNX Runtime 1.31 reads it" in out
    assert "CPU, length 256, batch 1: about 0.1" in out


def test_every_damaged_file_is_named_and_the_status_is_1(run: Run, artifact: Path) -> None:
    (artifact / "tokenizer.json").write_bytes(b"{}")
    (artifact / "model.onnx.data").write_bytes(bytes(200))
    status, out, err = run(artifact)
    assert status == 1
    text = " ".join(out.split())
    assert "tokenizer.json: the file is truncated" in text
    assert "model.onnx.data: the content does not have" in text
    assert err == "dawn-doctor: error: 2 problems found (files); the report says what to do\n"


def test_files_of_others_are_noted(run: Run, artifact: Path) -> None:
    (artifact / "notes.txt").touch()
    files = findings(run, artifact)["files"]
    assert [f["level"] for f in files] == ["ok", "note"]
    assert "notes.txt: not listed" in files[1]["found"]


def test_files_of_tensorrt_are_ours_and_a_plan_that_is_missing_is_noted(
    run: Run, artifact: Path
) -> None:
    for name in ("trtexec.txt", "timing.cache"):
        (artifact / name).touch()
    files = findings(run, artifact)["files"]
    assert [f["level"] for f in files] == ["ok", "note"]
    assert "was made for TensorRT, and no plan is built yet" in files[1]["found"]


def test_a_folder_that_is_no_artifact_is_a_problem_among_the_others(
    run: Run, tmp_path: Path
) -> None:
    status, out, err = run(tmp_path)
    assert (status, err.count("\n")) == (1, 1)
    assert "holds no dawn.json" in " ".join(out.split())
    assert "ok       python" in out


def test_a_graph_that_is_no_graph_is_a_problem(run: Run, artifact_folder: Path) -> None:
    assert "not an ONNX model" in findings(run, artifact_folder)["opset"][0]["found"]


def test_memory_is_compared_on_every_device(run: Run, artifact: Path) -> None:
    orin = Gpu("Orin", (8, 7), integrated=True, free_bytes=0, total_bytes=2**33)
    small = Gpu("Small", (8, 6), integrated=False, free_bytes=0, total_bytes=2**30)
    asked = (artifact, "--length", 128, "--batch", 4)
    memory = findings(run, *asked, gpus=(BIG, orin, small))["memory"]
    assert [f["level"] for f in memory] == ["ok", "ok", "ok", "note"]
    assert all("length 128, batch 4" in f["found"] for f in memory)


def test_an_engine_makes_gpu_and_tensorrt_needed(
    run: Run, artifact: Path, manifest_writer: WriteManifest
) -> None:
    (artifact / "model.engine").write_bytes(b"plan")
    manifest_writer(artifact, fake_manifest(vocab_size=259, max_length=256))
    status, out, _ = run(artifact)
    assert status == 1
    assert "problem  gpu" in out
    found = findings(run, artifact, gpus=(BIG,))
    assert [f["level"] for f in found["gpu"]] == ["ok"]


def test_what_an_artifact_needs() -> None:
    assert needed_devices(None) == frozenset()
    assert needed_devices(fake_manifest()) == {"cpu"}


@pytest.mark.parametrize(
    ("target", "precision", "machine", "level", "text"),
    [
        (
            "cpu",
            "int8",
            "cuda",
            "note",
            "made for cpu at int8: it runs on the CPU, though CUDA wor",
        ),
        (
            "cpu",
            "int4",
            "cuda",
            "note",
            "made for cpu at int4: it runs on the CPU, though CUDA wor",
        ),
        ("cpu", "fp16", "cuda", "ok", "made for cpu at fp16, and runs on CUDA too"),
        ("cpu", "int8", "cpu", "ok", "made for cpu at int8"),
        ("cpu", "int8", "driver", "ok", "made for cpu at int8"),
        ("cuda", "int4", "cuda", "ok", "made for cuda at int4"),
        (
            "cuda",
            "int4",
            "cpu",
            "note",
            "made for cuda at int4, and its provider does not work here",
        ),
        ("cuda", "fp16", "driver", "note", "made for cuda at fp16, and its provider does not work"),
        ("tensorrt", "int8", "cpu", "note", "made for tensorrt at int8, and there is no GPU"),
        ("tensorrt", "int8", "driver", "ok", "made for tensorrt at int8"),
        (None, "int8", "cuda", None, ""),
    ],
)
def test_an_artifact_that_was_made_for_another_machine_is_noted(
    target: str | None,
    precision: str,
    machine: str,
    level: str | None,
    text: str,
    tmp_path: Path,
) -> None:
    found = OnnxRuntime(
        "1.31", None, {CPU: "", **({CUDA_PROVIDER: ""} if machine == "cuda" else {})}
    )
    cuda = Cuda((12, 6), () if machine == "cpu" else (BIG,), "no device")
    activations = precision if precision == "fp16" else "fp32"
    manifest = replace(fake_manifest(), target=target, precision=precision, activations=activations)
    findings = target_findings(manifest, tmp_path / "model.onnx", found, cuda)
    assert [f.level for f in findings] == ([] if level is None else [level])
    assert all(text in f.found and "--target" in (f.advice or "--target") for f in findings)


def test_an_older_artifact_is_known_by_its_operators(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(field(7, field(1, field(4, b"MatMulIntegerToFloat"))))
    manifest = replace(fake_manifest(), precision="int8")
    found = OnnxRuntime("1.31", None, {CPU: "", CUDA_PROVIDER: ""})
    (finding,) = target_findings(manifest, graph, found, Cuda((12, 6), (BIG,), ""))
    assert (finding.level, finding.topic) == ("note", "target")


def test_the_report_on_an_artifact_says_what_it_was_made_for(
    run: Run, artifact: Path, manifest_writer: WriteManifest
) -> None:
    assert "target" not in findings(run, artifact)
    manifest = fake_manifest(vocab_size=259, max_length=256)
    manifest_writer(artifact, replace(manifest, target="cuda"))
    (found,) = findings(run, artifact)["target"]
    assert found["level"] == "note"
    assert "made for cuda at fp32, and its provider does not work here" in found["found"]


def test_json_is_one_document_with_counts(run: Run, artifact: Path) -> None:
    status, out, err = run(artifact, "--json")
    document = json.loads(out)
    assert (status, err) == (0, "")
    assert document["artifact"] == str(artifact)
    assert document["problems"] == 0
    assert document["notes"] == sum(f["level"] == "note" for f in document["findings"])
    assert all(f["advice"] for f in document["findings"] if f["level"] != "ok")


def test_quiet_prints_what_is_not_ok(run: Run, artifact: Path) -> None:
    lines = run(artifact, "--quiet")[1].splitlines()
    assert lines
    assert not any(line.startswith("ok") for line in lines)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--length", "5"], "--length needs ARTIFACT"),
        (["ARTIFACT", "--length", "0"], "--length is 0; expected an integer >= 1"),
        (["ARTIFACT", "--batch", "-1"], "--batch is -1"),
        (["ARTIFACT", "--length", "257"], "--length 257: the model takes at most 256 tokens"),
        (["ARTIFACT", "--length", "x"], "invalid int value"),
        (["--verbose"], "unrecognized arguments"),
    ],
)
def test_wrong_usage_is_status_2(
    run: Run, artifact: Path, arguments: list[str], message: str
) -> None:
    given = [str(artifact) if word == "ARTIFACT" else word for word in arguments]
    status, out, err = run(*given)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
