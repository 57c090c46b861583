"""Files: read within bounds, and written whole or not at all.

Reading looks at what a file is on the descriptor it reads from, never waits for the other end of a
pipe it did not expect, and stops at a size that the caller states.

Writing follows what is there, as other tools do:

a plain file, or nothing     replaced in one step by a complete file that is on disk
a link                       stays; the file it leads to is replaced
a pipe or character device   written into, all at once when everything is ready
`/dev/stdout`, `/dev/fd/N`   the same, through the descriptor that is open already
a folder, disk or socket     refused
"""

import errno
import fcntl
import io
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

PARTIAL_SUFFIX: Final = ".partial"
"""Ending of the hidden name that a file has until it is complete."""

_CHUNK_BYTES: Final = 2**20
_KINDS: Final = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def is_plain_name(name: str) -> bool:
    """Tells whether something is the name of a file, which leads out of no folder."""
    outside = name in ("", ".", "..") or "/" in name or "\\" in name
    return not outside and name.isprintable()


def open_plain(path: Path) -> BinaryIO:
    """Opens a plain file for reading.

    Raises:
        OSError: It cannot be opened, or is a folder, a pipe or a device.
    """
    # Opening a pipe would wait for its other end; O_NONBLOCK does not, and is idle for files.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _expect_plain(os.fstat(descriptor).st_mode)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_plain(path: Path, limit: int) -> bytes:
    """Reads a plain file.

    Args:
        path: The file.
        limit: Most bytes it may have.

    Raises:
        OSError: It cannot be read, or is no plain file.
        ValueError: It is too large.
    """
    with open_plain(path) as file:
        return _read(file, limit)


def read_stream(path: Path, limit: int) -> bytes:
    """Reads a file that may also be a pipe or a terminal, up to its end; arguments as above.

    A named pipe that nobody writes into yet is waited for, as every other reader of it does.
    """
    with path.open("rb", buffering=0) as file:
        return _read(file, limit)


def text_of(content: bytes) -> str:
    """Decodes UTF-8, with or without a byte order mark.

    Raises:
        ValueError: It is not UTF-8.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("it is UTF-16, expected UTF-8; save it in that encoding")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        raise ValueError(f"it is not UTF-8: byte 0x{byte:02x} at offset {error.start}") from error


def reason_of(error: Exception) -> str:
    """Says in one line why a file cannot be read or written, without its name."""
    said = error.strerror if isinstance(error, OSError) else None
    return " ".join((said or str(error)).split())[:300]


def stray_link(path: Path) -> Path | None:
    """Returns where a file of a folder really lies, if that is no place of the folder's.

    Its own place is the folder, or, in the cache of the Hugging Face Hub, the `blobs` that the
    links of its `snapshots` lead to.
    """
    # Not Path.resolve, which raises RuntimeError where links go round in a circle.
    folder, target = Path(os.path.realpath(path.parent)), Path(os.path.realpath(path))
    snapshots = [place.parent for place in (folder, *folder.parents)]
    blobs = [place.parent / "blobs" for place in snapshots if place.name == "snapshots"]
    return None if any(root in target.parents for root in (folder, *blobs)) else target


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a file shall be written, settled before there is any work to lose.

    Attributes:
        path: Absolute, links followed; for a stream as it was given.
        streams: Whether it is written into, being a pipe or a device.
        descriptor: Of a stream that is open already.
    """

    path: Path
    streams: bool = False
    descriptor: int | None = None

    @classmethod
    def of(cls, path: Path) -> "Destination":
        """Finds out what a path stands for, and whether a file can be made there.

        Raises:
            OSError: It cannot: no permission, no such descriptor, a name too long, a full disk.
            ValueError: Its folder does not exist, or there is what cannot be written into.
        """
        found = _locate(path)
        if not found.streams:
            if not found.path.parent.is_dir():
                raise ValueError("the folder does not exist; create it first")
            descriptor, partial = _create(found.path)
            os.close(descriptor)
            partial.unlink()
        return found

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Gives a file to write into; what was written appears when the block ends well.

        Raises:
            OSError: It cannot be written.
        """
        if self.streams:
            buffer = io.BytesIO()
            yield buffer
            try:
                _pour(self, buffer)
            except OSError as error:
                _name(error, self.path)
                raise
            return
        descriptor, partial = _create(self.path)
        try:
            with os.fdopen(descriptor, "wb") as file:
                _take_after(descriptor, self.path)
                yield file
                file.flush()
                os.fsync(descriptor)
            _put_in_place(partial, self.path)
        except OSError as error:
            _name(error, self.path, partial)
            raise
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def pouring(self) -> Iterator[Callable[[bytes], None]]:
        """Gives a function that writes into a stream at once; its reader need not wait for the end.

        Raises:
            OSError: It cannot be written.
        """
        try:
            with _stream(self) as file:
                yield lambda content: _write_all(file, memoryview(content))
        except OSError as error:
            _name(error, self.path)
            raise

    def write(self, content: str | bytes | memoryview) -> None:
        """Writes a whole file, texts as UTF-8.

        Raises:
            OSError: It cannot be written.
        """
        with self.open() as file:
            file.write(content.encode() if isinstance(content, str) else content)


def open_whole(path: Path) -> AbstractContextManager[BinaryIO]:
    """Gives a file to write into, which appears complete or not at all; see the module.

    Raises:
        OSError: It cannot be written.
        ValueError: There is what cannot be written into.
    """
    return _locate(path).open()


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """Writes a file, texts as UTF-8, that appears complete or not at all; see `open_whole`."""
    _locate(path).write(content)


def _expect_plain(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    for holds, kind in _KINDS:
        if holds(mode):
            raise OSError(errno.EINVAL, f"is {kind}, expected a plain file")


def _read(file: BinaryIO | io.FileIO, limit: int) -> bytes:
    """Reads to the end in pieces, so that nothing is allocated for bytes that do not come."""
    content = bytearray()
    while piece := file.read(_CHUNK_BYTES):
        content += piece
        if len(content) > limit:
            raise ValueError(f"has more than {limit} bytes, the most that are read")
    return bytes(content)


def _locate(path: Path) -> Destination:
    """Follows links to what is to be written."""
    descriptor = _descriptor_of(path)
    if descriptor is not None:
        _expect_writable(descriptor)
        return Destination(path, streams=True, descriptor=descriptor)
    real = Path(os.path.realpath(path))
    try:
        mode = real.stat().st_mode
    except FileNotFoundError:
        return Destination(real)
    if stat.S_ISDIR(mode):
        raise ValueError("is a folder; give the name of a file")
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        kind = "a disk" if stat.S_ISBLK(mode) else "a socket"
        raise ValueError(f"is {kind}; give the name of a file")
    if not os.access(real, os.W_OK):
        raise PermissionError(errno.EACCES, "is there and may not be written", str(path))
    return Destination(real, streams=not stat.S_ISREG(mode))


def _descriptor_of(path: Path) -> int | None:
    """Number of our own open descriptor that a path such as `/dev/stdout` leads to."""
    place = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the link itself
    own = {"/dev/fd", f"/proc/{os.getpid()}/fd"}
    for _ in range(40):  # as many links as Linux follows
        if os.path.realpath(place.parent) in own and place.name.isdecimal():
            return int(place.name)
        try:
            place = place.parent / place.readlink()
        except OSError:  # no link, or nothing
            return None
    return None


def _expect_writable(descriptor: int) -> None:
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise ValueError(f"descriptor {descriptor} is open for reading; give one to write to")


def _create(path: Path) -> tuple[int, Path]:
    """Makes a new file beside a place, under a name that tells what it is and fits."""
    partial = path.with_name(f".{path.name[:60]}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    if len(os.fsencode(path.name)) > os.pathconf(path.parent, "PC_NAME_MAX"):
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(path))
    return os.open(partial, flags, 0o666), partial


def _name(error: OSError, path: Path, partial: Path | None = None) -> None:
    """Lets an error that names no file, or one that nobody knows of, name the one to be written."""
    if error.filename is None or str(error.filename) == str(partial):
        error.filename = str(path)


def _take_after(descriptor: int, path: Path) -> None:
    """Gives a new file the permissions and the owner of the one it will replace."""
    try:
        old = path.stat()
    except FileNotFoundError:
        return
    with suppress(OSError):  # only root gives files away
        os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _put_in_place(partial: Path, path: Path) -> None:
    try:
        partial.replace(path)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        # A single file mounted there, as into a container: it has content but no name to change.
        shutil.copyfile(partial, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on disk, where the file system can say so."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        with suppress(OSError):
            os.fsync(descriptor)
        os.close(descriptor)


def _pour(destination: Destination, buffer: io.BytesIO) -> None:
    """Writes what is ready into a pipe, a device or a descriptor."""
    with _stream(destination) as file:
        _write_all(file, buffer.getbuffer())


def _stream(destination: Destination) -> io.FileIO:
    """Opens a pipe, a device or a descriptor, behind what was printed."""
    if destination.descriptor is None:
        descriptor = os.open(destination.path, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC)
    else:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        descriptor = os.dup(destination.descriptor)
    return io.FileIO(descriptor, "wb")


def _write_all(file: io.FileIO, content: memoryview) -> None:
    while content:
        content = content[file.write(content) :]
