"""Opening artifact folders: what is checked, and how each defect is worded."""

import json
from pathlib import Path

import pytest

from dawn_runtime import Artifact, ArtifactError, OptionError, artifact


def edit_manifest(folder: Path, **changes: object) -> None:
    path = folder / "dawn.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_intact_folder_opens(artifact_folder: Path) -> None:
    opened = Artifact.open(artifact_folder, verify="full")
    assert opened.path("model.onnx").read_bytes() == b"onnx"
    assert opened.has("tokenizer.json")
    assert not opened.has("config.json")


def test_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such folder; make an artifact with dawn-export"):
        Artifact.open(tmp_path / "nowhere")


def test_file_in_place_of_a_folder_says_so(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="is a file; expected the folder"):
        Artifact.open(tmp_path / "model.onnx")


def test_checkpoint_folder_points_to_the_exporter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="is a checkpoint, not an artifact; run dawn-export"):
        Artifact.open(tmp_path)


def test_an_artifact_that_lost_its_manifest_is_not_called_a_checkpoint(
    artifact_folder: Path,
) -> None:
    (artifact_folder / "config.json").write_text("{}")
    (artifact_folder / "dawn.json").unlink()
    with pytest.raises(ArtifactError, match=r"holds model\.onnx but no dawn\.json, an incomplete"):
        Artifact.open(artifact_folder)


def test_folder_without_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no dawn\.json"):
        Artifact.open(tmp_path)


def test_manifest_that_is_not_text_says_so(artifact_folder: Path) -> None:
    (artifact_folder / "dawn.json").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ArtifactError, match=r"dawn\.json: cannot be read"):
        Artifact.open(artifact_folder)


def test_truncated_data_file_is_found_without_hashing(artifact_folder: Path) -> None:
    (artifact_folder / "model.onnx.data").write_bytes(bytes(range(100)))
    with pytest.raises(ArtifactError, match=r"model\.onnx\.data: the file is truncated, 100 bytes"):
        Artifact.open(artifact_folder, verify="sizes")


def test_grown_file_is_altered(artifact_folder: Path) -> None:
    (artifact_folder / "model.onnx").write_bytes(b"onnx+")
    with pytest.raises(ArtifactError, match="the file is altered, 5 bytes instead of 4"):
        Artifact.open(artifact_folder)


def test_missing_file_is_named(artifact_folder: Path) -> None:
    (artifact_folder / "model.onnx.data").unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx\.data: the file is missing"):
        Artifact.open(artifact_folder)


def test_edit_of_equal_size_is_found_by_default(artifact_folder: Path) -> None:
    (artifact_folder / "model.onnx").write_bytes(b"ONNX")
    Artifact.open(artifact_folder, verify="sizes")
    with pytest.raises(ArtifactError, match=r"model\.onnx: .* SHA-256 recorded in dawn\.json"):
        Artifact.open(artifact_folder)


def test_edited_hash_is_found_by_default(artifact_folder: Path) -> None:
    files = json.loads((artifact_folder / "dawn.json").read_text())["files"]
    files["model.onnx"]["sha256"] = "0" * 64
    edit_manifest(artifact_folder, files=files)
    with pytest.raises(ArtifactError, match="one of the two was altered, export again"):
        Artifact.open(artifact_folder)


def test_large_files_are_hashed_on_request_only(
    artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifact, "HASH_LIMIT_BYTES", 150)
    content = bytearray(range(200))
    content[7] ^= 1
    (artifact_folder / "model.onnx.data").write_bytes(content)
    Artifact.open(artifact_folder)
    with pytest.raises(ArtifactError, match="SHA-256"):
        Artifact.open(artifact_folder, verify="full")


def test_unknown_verify_mode_lists_the_modes(artifact_folder: Path) -> None:
    with pytest.raises(OptionError, match="verify is 'no'; use one of auto, full, sizes"):
        Artifact.open(artifact_folder, verify="no")


def test_artifact_without_a_graph_is_refused(artifact_folder: Path) -> None:
    edit_manifest(artifact_folder, files={})
    with pytest.raises(ArtifactError, match=r"dawn\.json lists no model\.onnx"):
        Artifact.open(artifact_folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "link"])
def test_names_never_leave_the_folder(artifact_folder: Path, name: str) -> None:
    secret = artifact_folder.parent / "secret"
    secret.write_bytes(b"key")
    (artifact_folder / "link").symlink_to(secret)
    files = json.loads((artifact_folder / "dawn.json").read_text())["files"]
    files[name] = {"size": 3, "sha256": "0" * 64}
    edit_manifest(artifact_folder, files=files)
    with pytest.raises(
        ArtifactError, match=r"lies outside the folder|is a link to .*secret, outside"
    ):
        Artifact.open(artifact_folder)


def test_unlisted_file_has_no_path(artifact_folder: Path) -> None:
    with pytest.raises(ArtifactError, match=r"the artifact has no file 'config\.json'"):
        Artifact.open(artifact_folder).path("config.json")


def test_folder_reached_through_a_link_opens(artifact_folder: Path) -> None:
    link = artifact_folder.parent / "linked"
    link.symlink_to(artifact_folder)
    assert Artifact.open(link).path("model.onnx").read_bytes() == b"onnx"
