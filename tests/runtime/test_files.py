"""Files: what is read and how far, and what a writer replaces, follows, fills or leaves alone."""

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dawn_runtime import files
from dawn_runtime.files import (
    Destination,
    open_whole,
    read_plain,
    read_stream,
    stray_link,
    text_of,
    write_whole,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def reader(path: Path) -> Iterator[list[bytes]]:
    """Reads a pipe to its end beside what is tested."""
    found: list[bytes] = []
    thread = threading.Thread(target=lambda: found.append(path.read_bytes()), daemon=True)
    thread.start()
    yield found
    thread.join(timeout=30)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open_whole(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"

    def fail() -> None:
        with open_whole(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"whole"


def test_a_replaced_file_keeps_its_permissions_and_a_new_one_follows_the_umask(
    tmp_path: Path,
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        for path in (old, new):
            write_whole(path, "text")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o640, 0o640]


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_and_the_file_behind_it_is_written(there: bool, tmp_path: Path) -> None:
    real = tmp_path / "disk" / "real"
    real.parent.mkdir()
    if there:
        real.write_text("old")
    (tmp_path / "link").symlink_to("disk/real")
    Destination.of(tmp_path / "link").write("new")
    assert (tmp_path / "link").is_symlink()
    assert real.read_text() == "new"
    assert (names(tmp_path), names(real.parent)) == (["disk", "link"], ["real"])


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    target = Destination.of(pipe)  # nobody reads yet, and it does not wait
    with reader(pipe) as found:
        target.write("answers")
    assert found == [b"answers"]
    assert pipe.is_fifo()


def test_a_device_is_written_into(tmp_path: Path) -> None:
    master, slave = os.openpty()
    try:
        (tmp_path / "link").symlink_to(os.ttyname(slave))
        for path in (Path(os.ttyname(slave)), tmp_path / "link"):
            Destination.of(path).write("answer")
            assert os.read(master, 100) == b"answer"
        assert Path(os.ttyname(slave)).is_char_device()
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_an_open_descriptor_is_written_to_where_it_stands(form: str, tmp_path: Path) -> None:
    path = tmp_path / "appended"
    path.write_text("before ")
    with path.open("ab") as file:
        given = Path(form.format(file.fileno()))
        Destination.of(given).write("behind")
        (tmp_path / "link").symlink_to(given)
        Destination.of(tmp_path / "link").write(" and again")
    assert path.read_text() == "before behind and again"
    reading, writing = os.pipe()
    Destination.of(Path(form.format(writing))).write("piped")
    assert os.read(reading, 10) == b"piped"
    with pytest.raises(ValueError, match=f"descriptor {reading} is open for reading"):
        Destination.of(Path(form.format(reading)))
    for descriptor in (reading, writing):
        os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Destination.of(Path(form.format(writing)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda place: place / "no" / "file", "the folder does not exist; create it first"),
        (lambda place: place, "is a folder; give the name of a file"),
        (lambda place: place / ("n" * 300), "File name too long"),
        (lambda place: place / "file" / "below", "the folder does not exist|Not a directory"),
        (lambda place: place / "circle", "Too many levels of symbolic links"),
        (lambda place: place / "a\0b", "null byte"),
    ],
)
def test_a_place_that_cannot_be_written_is_known_before_the_work(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises((OSError, ValueError), match=message):
        Destination.of(make(tmp_path))
    assert names(tmp_path) == ["circle", "file"]


def test_a_name_of_the_longest_length_is_written(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    Destination.of(path).write("x")
    assert path.read_text() == "x"


def test_a_place_is_settled_once_whatever_the_working_directory_is_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    target = Destination.of(Path("out"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    target.write("x")
    assert names(tmp_path) == ["elsewhere", "out"]


def test_a_file_mounted_over_its_name_is_filled_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mounted").write_text("a longer old text")

    def busy(*_: object) -> None:
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    monkeypatch.setattr(Path, "replace", busy)
    write_whole(tmp_path / "mounted", "new")
    assert (tmp_path / "mounted").read_text() == "new"
    assert names(tmp_path) == ["mounted"]


def test_a_plain_file_is_read_within_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_plain(path, 5) == b"12345"
    for read in (read_plain, read_stream):
        with pytest.raises(ValueError, match="has more than 4 bytes, the most that are read"):
            read(path, 4)


def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="is a pipe, expected a plain file"):
        read_plain(tmp_path / "pipe", 10)
    with pytest.raises(OSError, match="is a device, expected a plain file"):
        read_plain(Path("/dev/zero"), 10)
    with pytest.raises(IsADirectoryError, match="Is a directory"):
        read_plain(tmp_path, 10)


def test_a_stream_ends_at_its_bound_or_its_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has more than 1000 bytes"):
        read_stream(Path("/dev/zero"), 1000)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(b"prompts"), daemon=True)
    writer.start()
    assert read_stream(pipe, 1000) == b"prompts"
    writer.join(timeout=30)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a".encode("utf-16"), "it is UTF-16, expected UTF-8; save it in that encoding"),
        (b"ab\xff", "it is not UTF-8: byte 0xff at offset 2"),
        (b"\xed\xa0\x80", "it is not UTF-8: byte 0xed at offset 0"),
    ],
)
def test_what_is_not_utf_8_is_named(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_of(content)


def test_a_byte_order_mark_is_no_part_of_a_text() -> None:
    assert text_of(b"\xef\xbb\xbfa\xc3\xa9") == "a\N{LATIN SMALL LETTER E WITH ACUTE}"


def test_links_into_the_blobs_of_the_same_cache_are_of_the_folder(tmp_path: Path) -> None:
    repository = tmp_path / "models--x--y"
    folder = repository / "snapshots" / "0123" / "int8"
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for blob in (repository / "blobs" / "abc", tmp_path / "secret"):
        blob.write_text("")
    (folder / "file").symlink_to("../../../blobs/abc")
    (folder / "stray").symlink_to(tmp_path / "secret")
    (folder / "circle").symlink_to("circle")
    assert stray_link(folder / "file") is None
    assert stray_link(folder / "circle") is None
    assert stray_link(folder / "stray") == files.Path(os.path.realpath(tmp_path / "secret"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").symlink_to(repository / "blobs" / "abc")
    assert stray_link(tmp_path / "other" / "file") == repository.resolve() / "blobs" / "abc"


def test_an_error_of_writing_names_the_file_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(tmp_path / "answers", "x")
    assert caught.value.filename == str(tmp_path / "answers")
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(Path("/dev/full"), "x")
    assert caught.value.filename == "/dev/full"
