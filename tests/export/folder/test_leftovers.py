"""What killed exports leave is cleared by the next one; what running ones have is not touched."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from dawn_export import OutputError
from dawn_export.folder import exchange, leftovers
from dawn_export.folder.artifact import staged
from dawn_runtime.manifest import MANIFEST_FILE

LEFT = ".artifact.0123abcd"


def leave(folder: Path, content: str = "half") -> Path:
    folder.mkdir(parents=True)
    (folder / "model.onnx.data").write_text(content)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def export(output: Path) -> None:
    with staged(output) as folder:
        (folder / MANIFEST_FILE).write_text("new")


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path) -> None:
    leave(tmp_path / f"{LEFT}.partial")
    leave(tmp_path / ".artifact.89abcdef.partial" / "deeper")
    export(tmp_path / "artifact")
    assert names(tmp_path) == ["artifact"]


def test_an_artifact_that_lost_its_name_gets_it_back(tmp_path: Path) -> None:
    leave(tmp_path / f"{LEFT}.old", "whole")
    leave(tmp_path / f"{LEFT}.partial")
    with pytest.raises(OutputError, match=r"artifact: holds model.onnx.data, which dawn-export"):
        export(tmp_path / "artifact")
    assert names(tmp_path) == ["artifact"]
    assert (tmp_path / "artifact" / "model.onnx.data").read_text() == "whole"


def test_an_artifact_that_was_replaced_is_removed(tmp_path: Path) -> None:
    leave(tmp_path / f"{LEFT}.old")
    (tmp_path / "artifact").mkdir()
    export(tmp_path / "artifact")
    assert names(tmp_path) == ["artifact"]
    assert names(tmp_path / "artifact") == [MANIFEST_FILE]


@pytest.mark.parametrize(
    "name",
    [
        ".artifact.0123abcd.notes",
        ".artifact.0123ABCD.partial",
        ".artifact.partial",
        ".artifact-2.0123abcd.partial",
        ".artifact.89abcdef.0123abcd.partial",
        "artifact.0123abcd.partial",
    ],
)
def test_what_is_not_a_leftover_of_this_place_stays(tmp_path: Path, name: str) -> None:
    leave(tmp_path / name)
    export(tmp_path / "artifact")
    assert names(tmp_path) == sorted([name, "artifact"])


def test_files_and_links_are_not_leftovers(tmp_path: Path) -> None:
    leave(tmp_path / "mine")
    (tmp_path / f"{LEFT}.partial").symlink_to(tmp_path / "mine")
    (tmp_path / ".artifact.89abcdef.partial").write_text("mine")
    export(tmp_path / "artifact")
    assert len(names(tmp_path)) == 4
    assert names(tmp_path / "mine") == ["model.onnx.data"]


def test_two_exports_to_one_place_are_kept_apart(tmp_path: Path) -> None:
    with staged(tmp_path / "artifact") as folder:
        (folder / MANIFEST_FILE).write_text("first")
        message = rf"another export to this place is running, in {folder.name}; wait for it"
        with pytest.raises(OutputError, match=message):
            export(tmp_path / "artifact")
        export(tmp_path / "other")
        assert folder.exists()
    assert names(tmp_path) == ["artifact", "other"]
    assert (tmp_path / "artifact" / MANIFEST_FILE).read_text() == "first"


def test_a_leftover_that_cannot_be_removed_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(tmp_path / f"{LEFT}.partial")
    monkeypatch.setattr(leftovers.shutil, "rmtree", lambda path, ignore_errors: None)
    with pytest.raises(OutputError, match=r"partial: left by an export that was killed, and"):
        export(tmp_path / "artifact")


def test_without_locks_nothing_is_removed_and_exports_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    leave(tmp_path / f"{LEFT}.partial")
    export(tmp_path / "artifact")
    assert names(tmp_path) == [f"{LEFT}.partial", "artifact"]


def test_two_names_are_swapped_in_one_step(tmp_path: Path) -> None:
    leave(tmp_path / "a", "a")
    leave(tmp_path / "b", "b")
    swapped = exchange.exchange(tmp_path / "a", tmp_path / "b")
    found = [(tmp_path / name / "model.onnx.data").read_text() for name in ("a", "b")]
    assert found == (["b", "a"] if swapped else ["a", "b"])


def test_names_that_do_not_exist_are_not_swapped(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        exchange.exchange(tmp_path / "a", tmp_path / "b")
