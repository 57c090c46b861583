"""Where an artifact may be put, and that it appears whole or not at all."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from dawn_export import OutputError
from dawn_export.folder import artifact
from dawn_export.folder.artifact import check_output, staged
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.manifest import MANIFEST_FILE


def put_artifact(folder: Path, content: str = "old") -> Path:
    """Something that is an artifact as far as its files tell."""
    folder.mkdir(parents=True, exist_ok=True)
    document = json.loads(fake_manifest().to_json())
    document["files"] = {"model.onnx": {"size": 3, "sha256": "0" * 64}}
    (folder / MANIFEST_FILE).write_text(json.dumps(document))
    (folder / "model.onnx").write_text(content)
    return folder


def write(folder: Path) -> None:
    put_artifact(folder, "new")


def write_and_fail(output: Path, error: type[BaseException], *, force: bool = False) -> None:
    with staged(output, force=force) as folder:
        write(folder)
        raise error


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_under_its_name_when_the_block_ends(tmp_path: Path) -> None:
    output = tmp_path / "above" / "artifact"
    with staged(output) as folder:
        write(folder)
        assert folder.parent == output.parent
        assert not output.exists()
    assert (output / "model.onnx").read_text() == "new"
    assert names(output.parent) == ["artifact"]


def test_the_folder_has_the_permissions_of_any_new_folder(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with staged(tmp_path / "artifact") as folder:
        write(folder)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_the_block_fails(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write_and_fail(tmp_path / "above" / "artifact", error)
    assert not names(tmp_path)


def test_folders_that_were_there_stay_when_the_block_fails(tmp_path: Path) -> None:
    (tmp_path / "above").mkdir()
    with pytest.raises(RuntimeError):
        write_and_fail(tmp_path / "above" / "more" / "artifact", RuntimeError)
    assert names(tmp_path) == ["above"]
    assert not names(tmp_path / "above")


def test_an_empty_folder_may_be_taken(tmp_path: Path) -> None:
    (tmp_path / "artifact").mkdir()
    with staged(tmp_path / "artifact") as folder:
        write(folder)
    assert names(tmp_path / "artifact") == [MANIFEST_FILE, "model.onnx"]


def test_an_artifact_is_replaced_by_force_alone(tmp_path: Path) -> None:
    output = put_artifact(tmp_path / "artifact")
    with pytest.raises(OutputError, match="an artifact is there already; --force replaces it"):
        check_output(output, force=False)
    with staged(output, force=True) as folder:
        write(folder)
        assert (output / "model.onnx").read_text() == "old"
    assert (output / "model.onnx").read_text() == "new"
    assert names(tmp_path) == ["artifact"]


def test_an_old_artifact_stays_when_its_replacement_fails(tmp_path: Path) -> None:
    output = put_artifact(tmp_path / "artifact")
    with pytest.raises(RuntimeError):
        write_and_fail(output, RuntimeError, force=True)
    assert (output / "model.onnx").read_text() == "old"
    assert names(tmp_path) == ["artifact"]


@pytest.fixture
def no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that cannot swap two names."""
    monkeypatch.setattr(artifact, "exchange", lambda first, second: False)


@pytest.mark.usefixtures("no_exchange")
def test_an_artifact_is_replaced_where_names_cannot_be_swapped(tmp_path: Path) -> None:
    output = put_artifact(tmp_path / "artifact")
    with staged(output, force=True) as folder:
        write(folder)
    assert (output / "model.onnx").read_text() == "new"
    assert names(tmp_path) == ["artifact"]


@pytest.mark.usefixtures("no_exchange")
def test_an_old_artifact_comes_back_when_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = put_artifact(tmp_path / "artifact")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".partial"):
            raise OSError("the disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    message = r"cannot be written \(the disk is gone\); check the disk or choose another one"
    with pytest.raises(OutputError, match=message), staged(output, force=True) as folder:
        write(folder)
    assert (output / "model.onnx").read_text() == "old"
    assert names(tmp_path) == ["artifact"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_not_an_artifact_is_never_touched(tmp_path: Path, force: bool) -> None:
    output = tmp_path / "mine"
    output.mkdir()
    (output / "thesis.txt").write_text("years of work")
    message = r"mine: holds thesis.txt, which dawn-export did not write; choose another folder"
    with pytest.raises(OutputError, match=message):
        check_output(output, force=force)


@pytest.mark.parametrize("manifest", ["", "{}", "[1]", '{"format_version": 99}'])
def test_a_folder_with_a_manifest_of_someone_else_is_never_touched(
    tmp_path: Path, manifest: str
) -> None:
    output = tmp_path / "mine"
    output.mkdir()
    (output / MANIFEST_FILE).write_text(manifest)
    with pytest.raises(OutputError, match="not a manifest that this version reads"):
        check_output(output, force=True)


@pytest.mark.parametrize("name", ["notes.txt", "deep/er/notes.txt", "dee/.hidden"])
def test_an_artifact_with_foreign_files_is_never_touched(tmp_path: Path, name: str) -> None:
    output = put_artifact(tmp_path / "artifact")
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).write_text("mine")
    with pytest.raises(OutputError, match="which dawn-export did not write"):
        check_output(output, force=True)


def test_a_folder_that_fills_up_meanwhile_is_not_touched(tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    staging = staged(output)
    write(staging.__enter__())
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"holds notes.txt"):
        staging.__exit__(None, None, None)
    assert names(output) == ["notes.txt"]
    assert names(tmp_path) == ["artifact"]


def test_a_file_is_no_place_for_an_artifact(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file; give --output the name of a new folder"):
        check_output(tmp_path / "file", force=True)


def test_a_link_to_an_artifact_stays_a_link(tmp_path: Path) -> None:
    real = put_artifact(tmp_path / "disk" / "artifact")
    (tmp_path / "link").symlink_to(real)
    with staged(tmp_path / "link", force=True) as folder:
        write(folder)
    assert (tmp_path / "link").is_symlink()
    assert (real / "model.onnx").read_text() == "new"


def test_a_place_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"file.*cannot be written to: "),
        staged(tmp_path / "file" / "artifact"),
    ):
        pass
    assert names(tmp_path) == ["file"]


def test_a_full_disk_is_one_line_whichever_file_it_meets(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device", "/somewhere/tokenizer.json")
    message = (
        r"artifact: the disk is full \(No space left on device for tokenizer.json\); make room or "
        r"choose another disk$"
    )
    with pytest.raises(OutputError, match=message), staged(tmp_path / "artifact"):
        raise error
    assert not names(tmp_path)


def test_files_are_on_disk_before_the_folder_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        assert (tmp_path / "artifact").exists() == (synced[-1] == tmp_path.name)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    with staged(tmp_path / "artifact") as folder:
        write(folder)
        staging = folder.name
    assert sorted(synced[:3]) == sorted([MANIFEST_FILE, "model.onnx", staging])
    assert synced[3:] == [tmp_path.name]


@pytest.mark.parametrize("bound", [False, True])
def test_a_place_where_a_disk_is_mounted_is_known_before_the_work(
    bound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bound:  # from elsewhere on the same disk, which `is_mount` does not see
        monkeypatch.setattr(Path, "is_mount", lambda self: False)
    with pytest.raises(
        OutputError, match=r"/proc: is a place where a disk is mounted, .*/artifact"
    ):
        check_output(Path("/proc"), force=False)


def test_a_mounted_place_is_found_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a b\\c"
    folder.mkdir()
    listed = f"36 35 98:0 / {tmp_path}/a\\040b\\134c rw,noatime - ext3 /dev/root rw\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: listed)
    with pytest.raises(OutputError, match="is a place where a disk is mounted"):
        check_output(folder, force=False)
    check_output(tmp_path / "other", force=False)
