"""`export`: what is in the folder, and that it is there whole or not at all."""

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models

from dawn_export import ExportOptions, OutputError, SourceError, export, exporter
from dawn_models import CheckpointError, ConfigError, WeightsError
from dawn_runtime import Artifact, Decoder, OptionError
from support.checkpoints import write_checkpoint

TWO_LAYERS = ExportOptions(evidence_layers=2)


def add_tokenizer(checkpoint: Path, **ids: int) -> None:
    """A tokenizer.json and a chat template; the tokenizer knows these tokens and nothing else."""
    vocabulary = {f"<|{name}|>": number for name, number in ids.items()}
    Tokenizer(models.BPE(vocab=vocabulary, merges=[])).save(str(checkpoint / "tokenizer.json"))
    (checkpoint / "chat_template.jinja").write_text("{{ messages }}")


@pytest.mark.usefixtures("traced")
def test_an_artifact_opens_with_every_hash_and_says_where_it_came_from(
    small: Path, tmp_path: Path
) -> None:
    report = export(small, tmp_path / "out", TWO_LAYERS)
    artifact = Artifact.open(tmp_path / "out", verify="full")
    manifest = artifact.manifest
    assert (manifest.family, manifest.dialect, manifest.precision) == ("dream", "fused", "fp32")
    assert manifest.target == "cpu"
    assert (manifest.prediction_shift, manifest.evidence_layers) == (1, (0, 1))
    assert (manifest.tokens.mask, manifest.tokens.eos, manifest.tokens.pad) == (39, (38,), 38)
    assert manifest.decoding.policy == "dawn"
    assert manifest.decoding.options["tau_edge"] == 0.10
    assert manifest.dims.max_length == 64
    assert report.output == tmp_path / "out"
    assert report.size_bytes == sum(p.stat().st_size for p in (tmp_path / "out").iterdir())
    layer = 2 * 16 + 3 * 16 * 24 + 2 * 16 * 16 + 2 * 8 * 16 + (16 + 2 * 8)
    assert report.parameters == 16 * 40 + 16 + 2 * layer


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.onnx", "dawn.json"]
)
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(
    name: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_tokenizer(small, im_end=7)

    def full(owner: Any, method: str, place: int) -> None:
        write = getattr(owner, method)

        def refuse(*args: Any, **options: Any) -> Any:
            if Path(args[place]).name == name:
                raise OSError(errno.ENOSPC, "No space left on device", str(args[place]))
            return write(*args, **options)

        monkeypatch.setattr(owner, method, refuse)

    full(Path, "write_text", 0)
    full(Path, "write_bytes", 0)
    full(exporter.ir, "save", 1)
    message = rf"out: the disk is full \(No space left on device for {name}\); make room or choose"
    with pytest.raises(OutputError, match=message):
        export(small, tmp_path / "out", TWO_LAYERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


@pytest.mark.usefixtures("traced")
def test_an_artifact_decodes(small: Path, tmp_path: Path) -> None:
    export(small, tmp_path / "out", TWO_LAYERS)
    with Decoder.open(tmp_path / "out", threads=1) as decoder:
        result = decoder.generate(input_ids=[1, 2, 3], max_new_tokens=40, stop_at_eos=False)
    assert result.tokens.shape == (40,)
    assert not np.isin(39, result.tokens)


@pytest.mark.usefixtures("traced")
def test_the_end_tokens_of_the_family_that_the_tokenizer_has_are_added(
    small: Path, tmp_path: Path
) -> None:
    add_tokenizer(small, im_end=7, endoftext=38, other=9)
    report = export(small, tmp_path / "out", TWO_LAYERS)
    assert Artifact.open(tmp_path / "out").manifest.tokens.eos == (38, 7)
    assert report.warnings == ()


@pytest.mark.usefixtures("traced")
def test_a_checkpoint_without_a_tokenizer_is_exported_with_a_warning(
    small: Path, tmp_path: Path
) -> None:
    (warning,) = export(small, tmp_path / "out", TWO_LAYERS).warnings
    assert warning == "the checkpoint has no tokenizer.json: the artifact decodes token ids only"


@pytest.mark.usefixtures("traced")
def test_a_broken_tokenizer_ends_the_export(small: Path, tmp_path: Path) -> None:
    (small / "tokenizer.json").write_text("{}")
    with pytest.raises(SourceError, match=r"tokenizer.json: not a tokenizer \(.*\); download"):
        export(small, tmp_path / "out", TWO_LAYERS)
    assert not (tmp_path / "out").exists()


def test_every_error_of_reading_a_checkpoint_is_translated(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error in (CheckpointError, ConfigError, WeightsError):

        def failing(folder: Path, told: Any, error: type[Exception] = error) -> None:
            raise error("one clear line")

        monkeypatch.setattr(exporter.Checkpoint, "open", failing)
        with pytest.raises(SourceError, match="one clear line") as caught:
            export(small, tmp_path / "out", TWO_LAYERS)
        assert isinstance(caught.value.__cause__, error)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_more_evidence_layers_than_layers_are_refused_before_any_work(
    small: Path, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="the model has 2 layers"):
        export(small, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


def test_a_missing_checkpoint_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere: no such folder; expected a Hugging Face"):
        export(tmp_path / "nowhere", tmp_path / "out")


STAGES = ("build_graph", "write_weights", "write_companions", "describe", "_warnings")


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_at_any_stage_leaves_nothing_and_keeps_the_old_artifact(
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    error: type[BaseException],
) -> None:
    export(small, tmp_path / "old", TWO_LAYERS)
    before = {path.name: path.read_bytes() for path in (tmp_path / "old").iterdir()}

    def failing(*arguments: Any, **options: Any) -> None:
        raise error(stage)

    monkeypatch.setattr(exporter, stage, failing)
    for name, force in (("new", False), ("old", True)):
        with pytest.raises(error, match=stage):
            export(small, tmp_path / name, TWO_LAYERS, force=force)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint", "old"]
    assert {p.name: p.read_bytes() for p in (tmp_path / "old").iterdir()} == before
    Artifact.open(tmp_path / "old", verify="full")


@pytest.mark.usefixtures("traced")
def test_an_artifact_is_replaced_by_force_alone(small: Path, tmp_path: Path) -> None:
    export(small, tmp_path / "out", TWO_LAYERS)
    with pytest.raises(OutputError, match="an artifact is there already; --force replaces it"):
        export(small, tmp_path / "out", TWO_LAYERS)
    write_checkpoint(small, "dream", tie_word_embeddings=True, mask_token_id=11)
    export(small, tmp_path / "out", TWO_LAYERS, force=True)
    assert Artifact.open(tmp_path / "out").manifest.tokens.mask == 11


def test_the_checkpoint_itself_is_no_place_for_the_artifact(small: Path) -> None:
    with pytest.raises(OutputError, match=r"holds config.json, which dawn-export did not write"):
        export(small, small, TWO_LAYERS, force=True)
    assert (small / "model.safetensors").exists()


def test_importing_the_package_loads_neither_torch_nor_onnx() -> None:
    loaded = "{'torch', 'onnx', 'onnx_ir'} & set(sys.modules)"
    code = f"import sys, dawn_export.cli; sys.exit(bool({loaded}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.usefixtures("traced")
def test_the_answer_length_of_the_generation_config_becomes_the_default(
    small: Path, tmp_path: Path
) -> None:
    (small / "generation_config.json").write_text('{"max_new_tokens": 5}')
    export(small, tmp_path / "out", TWO_LAYERS)
    with Decoder.open(tmp_path / "out", threads=1) as decoder:
        result = decoder.generate(input_ids=[1, 2], policy="one-per-step", stop_at_eos=False)
    assert (decoder.manifest.decoding.max_new_tokens, len(result.tokens)) == (5, 5)
