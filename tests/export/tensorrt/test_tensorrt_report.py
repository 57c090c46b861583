"""What is said of a plan: its layers, the trtexec commands, the command line."""

import json
import shlex
import sys
from pathlib import Path

import pytest

from dawn_export import ExportOptions
from dawn_export.cli import main
from dawn_export.tensorrt import EngineOptions, write_commands
from dawn_export.tensorrt.inspection import summarise
from dawn_export.tensorrt.trtexec import trtexec_command
from dawn_runtime.artifact import read_manifest
from dawn_runtime.engine.tensorrt.plans import plan_files
from dawn_runtime.errors import OptionError
from support.tensorrt_machine import FakeMachine


def layer(name: str, *nodes: str, kind: str = "kgen", dtype: str = "Half") -> dict[str, object]:
    metadata = "\x1e".join(f"[ONNX Layer: {node}]" for node in nodes)
    outputs = [{"Name": "y", "Format/Datatype": dtype}]
    return {"Name": name, "LayerType": kind, "Metadata": metadata, "Outputs": outputs}


def test_attention_is_fused_where_one_kernel_does_softmax_and_a_product() -> None:
    found = summarise(
        [
            layer("mha", "layers.0/MatMul_9", "layers.0/Softmax_11", "layers.0/MatMul_12"),
            layer("scores", "layers.1/MatMul_9"),
            layer("softmax", "layers.1/Softmax_11", dtype="Float"),
            layer("attention", "layers.2/Attention_7", kind="fused_mha"),
            layer("evidence", "layers.2.evidence/Softmax_4", dtype="Float"),
        ]
    )
    assert (found.layers, found.fused, found.separate) == (5, (0, 2), (1,))
    assert dict(found.types) == {"Half": 3, "Float": 2}
    assert found.line() == (
        "5 kernels (3 Half, 2 Float); attention fused in 2 layers, not in layers 1"
    )


def test_the_type_is_read_under_its_newer_name_too() -> None:
    assert summarise([{"Name": "x", "Outputs": [{"Datatype": "BFloat16"}]}]).types == {
        "BFloat16": 1
    }


def test_layers_of_which_only_the_name_is_kept_are_counted() -> None:
    found = summarise(["layers.0/MatMul_1 + layers.0/Softmax_2", "other"])
    assert (found.layers, found.fused, dict(found.types)) == (2, (0,), {"unknown": 2})


def test_the_command_names_every_shape_of_every_profile(portable: Path) -> None:
    options = EngineOptions(max_length=48, block_length=8, batch=2)
    command = trtexec_command(read_manifest(portable), options, 10)
    assert command[:4] == [
        *("trtexec", "--onnx=model.onnx", "--saveEngine=model.engine", "--stronglyTyped"),
    ]
    assert [part for part in command if part.startswith("--profile=")] == [
        *("--profile=0", "--profile=1", "--profile=2", "--profile=3"),
    ]
    last = command[-3:]
    assert last[0].startswith("--minShapes=input_ids:2x1,position_ids:2x1,attention_mask:2x1x1x2,")
    assert last[1].startswith("--optShapes=input_ids:2x16,position_ids:2x16,")
    assert last[2].endswith("past_key.1:2x2x48x4,past_value.1:2x2x48x4")
    assert "past_key.0:1x2x0x4" in " ".join(command)


def test_release_11_differs_in_the_flag_for_types_alone(portable: Path) -> None:
    manifest, options = read_manifest(portable), EngineOptions()
    ten, eleven = (trtexec_command(manifest, options, major) for major in (10, 11))
    assert set(ten) - set(eleven) == {"--stronglyTyped"}
    assert set(eleven) < set(ten)


def test_options_become_flags(portable: Path) -> None:
    options = EngineOptions(version_compatible=True, stripped=True)
    command = trtexec_command(read_manifest(portable), options, 11)
    assert {"--versionCompatible", "--stripWeights"} < set(command)


def test_the_commands_end_with_one_that_our_own_command_line_takes(folder: Path) -> None:
    text = write_commands(folder, read_manifest(folder), EngineOptions(batch=3)).read_text()
    assert (folder / "trtexec.txt").read_text() == text
    assert "trtexec.txt" in plan_files(folder)
    adopt = shlex.split(text.splitlines()[-1])
    assert adopt[:7] == [
        *("dawn-export", "--target", "tensorrt", "--artifact", ".", "--adopt", "model.engine"),
    ]
    assert adopt[-2:] == ["--batch", "3"]


def run(*arguments: object) -> int:
    return main([*map(str, arguments)])


def test_the_command_builds_the_plan_of_an_artifact(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    FakeMachine(monkeypatch)
    flags = ("--max-length", 48, "--block-length", 8, "--batch", 2)
    assert run("--target", "tensorrt", "--artifact", folder, *flags, "--json") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert plan["profiles"] == ["full-48", "full-48x2", "cached-48", "cached-48x2"]
    assert run("--target", "tensorrt", "--artifact", folder, *flags) == 0
    assert "48x2.engine" in (shown := capsys.readouterr().out)
    assert "is up to date" in shown


@pytest.mark.usefixtures("traced")
def test_the_command_exports_and_builds(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    FakeMachine(monkeypatch)
    output = tmp_path / "new"
    asked = ("--model", small, "--output", output, "--evidence-layers", 2)
    assert run(*asked, "--target", "tensorrt", "--quiet") == 0
    assert (output / "tensorrt-sm87-fp32-64x1.engine").exists()
    assert "attention fused in 1 layers" in capsys.readouterr().out


@pytest.mark.usefixtures("traced")
def test_without_tensorrt_only_the_graph_and_the_commands_are_written(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)
    output = tmp_path / "new"
    asked = ("--model", small, "--output", output, "--evidence-layers", 2, "--target", "tensorrt")
    assert run(*asked) == 1
    assert "or give --onnx-only, and run trtexec there" in capsys.readouterr().err
    assert not output.exists()
    assert run(*asked, "--onnx-only", "--quiet") == 0
    assert f"11.x: {output / 'trtexec.txt'}" in capsys.readouterr().out
    assert "trtexec --onnx=model.onnx" in (output / "trtexec.txt").read_text()
    assert run(*asked, "--onnx-only", "--quiet", "--json", "--force") == 0
    assert json.loads(capsys.readouterr().out)["commands"] == str(output / "trtexec.txt")
    assert read_manifest(output).dialect == "portable"
    assert plan_files(output) == {"trtexec.txt"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--artifact", "x"],
            "--artifact: goes with --target tensorrt or --push; got --target cpu",
        ),
        (["--model", "x", "--output", "y", "--batch", "2"], "--batch: goes with --target tensorrt"),
        ([], "give either --model, or --artifact with --target tensorrt"),
        (["--model", "x"], "--output: missing; give the folder of the artifact"),
        (
            ["--target", "tensorrt", "--artifact", "x", "--onnx-only", "--for-sm", "89"],
            "--for-sm: got '89'; expected a compute capability such as 8.9",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(*arguments) != 0
    assert message in capsys.readouterr().err


def test_the_target_is_portable_by_default_and_knows_its_precisions() -> None:
    assert ExportOptions(target="tensorrt").graph_dialect == "portable"
    for precision in ("fp16", "bf16", "fp32"):
        assert ExportOptions(target="tensorrt", precision=precision).opset == 20
    with pytest.raises(OptionError, match="precision"):
        ExportOptions(target="tensorrt", precision="fp64")
