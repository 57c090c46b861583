"""What can be known before the work is found before it, and nothing of the work is lost."""

import builtins
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawn_export import ExportOptions, OutputError, SourceError, export, exporter
from dawn_export.cli import main
from dawn_runtime import Artifact, DawnError, OptionError
from dawn_runtime.errors import DependencyError
from support.checkpoints import write_checkpoint

SMALL = ExportOptions(evidence_layers=2)


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Tracing and writing must not be reached."""
    if "traced" in request.fixturenames:
        return

    def reached(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(exporter, "build_graph", reached)


def refused(model: Path, output: Path, **options: Any) -> str:
    with pytest.raises(DawnError) as caught:
        export(model, output, options.pop("options", SMALL), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may be fetched or read either."""

    def reached(*arguments: Any, **options: Any) -> None:
        raise AssertionError("the checkpoint is read")

    monkeypatch.setattr(exporter, "open_checkpoint", reached)


@pytest.mark.usefixtures("no_reading")
@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("file/artifact", "file cannot be written to: "),
        ("n" * 250, "cannot be written to: File name too long"),
        ("n" * 300, "File name too long"),
        ("a\0b", "no usable path (embedded null"),
        ("loop/artifact", "loop"),
        (os.fsdecode(b"name-\xff"), "no usable path ('utf-8' codec can't encode"),
    ],
)
def test_a_place_that_cannot_be_written_is_known_before_anything_is_read(
    small: Path, tmp_path: Path, place: str, message: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.iterdir())
    assert message in refused(small, tmp_path / place)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("no_reading")
def test_permissions_are_known_before_anything_is_read(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def forbidden(self: Path, *arguments: Any, **options: Any) -> None:
        if self.parent.name == "above":  # where it is allowed beside what is there already
            raise PermissionError(13, "Permission denied", str(self))
        make(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", forbidden)
    message = refused(small, tmp_path / "above" / "out")
    assert "above cannot be written to: Permission denied; choose another place" in message
    assert not (tmp_path / "above").exists()


def bad_normalizer(folder: Path) -> None:
    write_llada_tokenizer(
        folder, normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    )


def write_llada_tokenizer(folder: Path, **changes: Any) -> None:
    shipped = Path(__file__).parents[2] / "models" / "tiny-llada" / "tokenizer.json"
    document = json.loads(shipped.read_text()) | changes
    (folder / "tokenizer.json").write_text(json.dumps(document))


def write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def other_mask(folder: Path) -> None:
    write_llada_tokenizer(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"mask_token": "<|endoftext|>"}))


def bad_template(folder: Path) -> None:
    write_llada_tokenizer(folder)
    (folder / "chat_template.jinja").write_text("{% for message in messages %}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (write("tokenizer.json", "{"), "tokenizer.json: not a tokenizer ("),
        (bad_normalizer, "tokenizer.json: not a tokenizer ("),
        (bad_template, "chat_template.jinja: the chat template does not compile (Unexpected end"),
        (other_mask, "mask_token '<|endoftext|>' of the tokenizer is id 1019, but mask_token_id"),
        (write("generation_config.json", '{"max_new_tokens": 0}'), "'max_new_tokens': got 0"),
        (write("generation_config.json", '{"max_new_tokens": "9"}'), "'max_new_tokens': got"),
        (write("generation_config.json", '{"eos_token_id": 5000}'), "token id 5000 of mask, eos"),
        (write("generation_config.json", '{"mask_token_id": 3}'), "'mask_token_id': got 3"),
    ],
)
def test_what_is_wrong_beside_the_weights_is_known_before_they_are_written(
    tmp_path: Path,
    spoil: Callable[[Path], object],
    message: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = write_checkpoint(
        tmp_path / "checkpoint", "llada", vocab_size=1024, embedding_size=1024, mask_token_id=1023
    )
    spoil(model)
    assert message in refused(model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert capfd.readouterr() == ("", "")  # no report of a panic either


def test_a_head_that_is_not_the_embedding_is_known_before_the_work(tmp_path: Path) -> None:
    def change(tensors: dict[str, Any]) -> None:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + 1

    model = write_checkpoint(tmp_path / "model", "dream", change, tie_word_embeddings=True)
    assert "differs from 'model.embed_tokens.weight'" in refused(model, tmp_path / "out")


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_verification_without_onnxruntime_is_known_before_the_work(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError("no onnxruntime", name=name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    options = ExportOptions(precision=precision, evidence_layers=2)
    with pytest.raises(DependencyError, match="needs onnxruntime, which is not installed"):
        export(small, tmp_path / "out", options, verify="sample")


@pytest.mark.parametrize(
    "fields",
    [
        {"evidence_layers": "4"},
        {"evidence_layers": True},
        {"evidence_layers": 2.0},
        {"context_length": "64"},
        {"allow_overflow": 0},
        {"static_down_proj": "no"},
        {"calibration": "calibration.json", "precision": "int8"},
        {"precision": 8},
        {"precision": "int4", "int4_block": "32"},
    ],
)
def test_an_option_of_another_type_is_one_line(fields: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="got ") as caught:
        ExportOptions(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("model", [3, None, b"models/tiny-dream", ["models/tiny-dream"]])
def test_a_model_that_is_no_text_is_one_line(model: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"export: model is .*, expected a text or a Path"):
        export(model, tmp_path / "out")


@pytest.mark.usefixtures("no_reading")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output": None}, "export: output is None, expected a text or a Path"),
        ({"output": b"out"}, "export: output is b'out', expected a text or a Path"),
        ({"output": ""}, "export: output is '', expected a text or a Path"),
        ({"output": "/"}, "/: is the root of all folders; give --output a new folder"),
        ({"model": ""}, "export: model is '', expected a text or a Path"),
        ({"options": {"precision": "fp16"}}, "expected ExportOptions"),
        ({"options": 0}, "export: options is 0; expected ExportOptions"),
        ({"revision": 1}, "export: revision is 1; expected a text"),
        ({"revision": ""}, "export: revision is ''; expected a text"),
        ({"force": "no"}, "force: got 'no', expected True or False"),
        ({"force": 1}, "force: got 1, expected True or False"),
        ({"progress": 1}, "progress: got 1, expected True, False or a function"),
        ({"progress": "no"}, "progress: got 'no', expected True, False or a function"),
        ({"progress": bool}, "progress: got <class 'bool'>, expected True, False or a function"),
    ],
)
def test_an_argument_of_another_type_is_one_line_and_replaces_nothing(
    small: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    given = {"model": small, "output": tmp_path / "out", "options": SMALL, **arguments}
    with pytest.raises(DawnError) as caught:
        export(given.pop("model"), given.pop("output"), given.pop("options"), **given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_no_checkpoint_folder(small: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is a file; give the folder of a Hugging Face"):
        export(small / "model.safetensors", tmp_path / "out")


@pytest.mark.usefixtures("traced")
def test_an_artifact_is_replaced_from_within_by_a_relative_path(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    export(small, tmp_path / "out", SMALL)
    monkeypatch.chdir(tmp_path / "out")
    arguments = ["--model", "../checkpoint", "--output", ".", "--evidence-layers", "2"]
    assert main([*arguments, "--force", "--quiet"]) == 0
    assert " -> . (" in capsys.readouterr().out
    Artifact.open(tmp_path / "out", verify="full")


def test_a_working_directory_that_is_gone_is_one_line(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(OutputError, match="working directory is gone"):
        export(small, "out", SMALL)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("traced")
def test_a_link_to_a_checkpoint_that_is_changed_meanwhile_changes_nothing(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "current"
    link.symlink_to(small)
    write = exporter.write_companions

    def swap(*arguments: Any) -> Any:
        link.unlink()
        link.symlink_to(tmp_path / "nowhere")
        return write(*arguments)

    monkeypatch.setattr(exporter, "write_companions", swap)
    export(link, tmp_path / "out", SMALL, verify="all")
    Artifact.open(tmp_path / "out", verify="full")


@pytest.mark.usefixtures("traced")
def test_the_manifest_names_every_file_of_the_folder(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(small, tmp_path / "out", SMALL, verify="all")
    artifact = Artifact.open(tmp_path / "out", verify="full")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    card = "README.md"  # is not listed: whoever edits it changes no hash
    assert names == {"dawn.json", card, *artifact.manifest.files}
    monkeypatch.setattr(
        exporter, "_with_report", lambda manifest, folder, *_: stray(manifest, folder)
    )
    with pytest.raises(DawnError, match=r"left\.bin: left in the folder, or missing"):
        export(small, tmp_path / "other", SMALL, verify="all")
    assert not (tmp_path / "other").exists()


def stray(manifest: Any, folder: Path) -> Any:
    (folder / "left.bin").write_bytes(b"")
    return manifest
