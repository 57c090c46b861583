"""The process that renders chat templates: started at the first one, bounded, shared by all.

Foreign code runs there, see `dawn_runtime.template_worker`. Starting it takes about a tenth of a
second, beside other work where `begin` says that there will be a rendering; from then on one takes
less than a millisecond more than in this process. It ends with this one, however that ends.
"""

import atexit
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from dawn_runtime.errors import DependencyError, PromptError
from dawn_runtime.native import native_errors

if TYPE_CHECKING:
    from subprocess import Popen

SECONDS: Final = 2
"""Processor time that a rendering may take, far above what any honest template takes."""

MEMORY_BYTES: Final = 512 * 2**20
"""Address space that the process may take."""

CHARACTERS: Final = 2**24
"""Longest prompt that a template may make."""

_WORKER = Path(__file__).with_name("template_worker.py")
_HEADER = 8


def render(source: str, variables: Mapping[str, Any]) -> str:
    """Renders a template within bounds of time and memory.

    Args:
        source: Text of the template.
        variables: Its variables: what JSON can spell, `messages` among them.

    Raises:
        PromptError: The template fails on them, or takes too much time or memory.
        DependencyError: Jinja is not installed, or there is no Python to run it with.
    """
    with native_errors(lambda reason: PromptError(f"the messages are no JSON: {reason}")):
        request = json.dumps({"source": source, "variables": variables}).encode()
    with native_errors(lambda reason: PromptError(f"the chat template cannot be run: {reason}")):
        answer = _RENDERER.ask(request)
    if "text" in answer:
        return str(answer["text"])
    kind, reason, says_enough = answer["error"]
    if kind == MemoryError.__name__:
        raise PromptError(
            f"the chat template needs more than {MEMORY_BYTES >> 20} MB for these messages"
        )
    reason = reason if says_enough and reason else f"{kind}: {reason}".rstrip(": ")
    raise PromptError(f"the chat template refuses these messages: {reason}")


def begin() -> None:
    """Starts the process for a rendering that is sure to come, and does not wait for it.

    What keeps it from starting is told when a template is rendered.
    """
    with suppress(DependencyError, OSError):
        _RENDERER.begin()


class _Renderer:
    """One process for all who render, one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: Popen[bytes] | None = None

    def ask(self, request: bytes) -> dict[str, Any]:
        """Sends a request and returns the answer; a process that fails is ended."""
        with self._lock:
            process = self._started()
            try:
                answer = _exchange(process, request)
            except BaseException:
                self.stop()
                raise
            if answer.get("error", [""])[0] == MemoryError.__name__:
                self.stop()  # what is left of such a process is not to be relied on
            return answer

    def begin(self) -> None:
        """Starts the process unless it runs."""
        with self._lock:
            self._started()

    def _started(self) -> "Popen[bytes]":
        """The process, a new one if there is none or it has ended."""
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = _start()
        return self._process

    def stop(self) -> None:
        """Ends the process if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            _close(process)

    def forget(self) -> None:
        """Leaves the process to the parent that this one was forked from."""
        process, self._process = self._process, None
        self._lock = threading.Lock()
        if process is not None:
            process.returncode = 0  # it is nobody's child here
            _close(process)


def _start() -> "Popen[bytes]":
    """Starts the process, isolated from the environment and the current folder."""
    from subprocess import DEVNULL, PIPE, Popen

    if not sys.executable or getattr(sys, "frozen", False):
        raise DependencyError(
            "chat templates run in a process of their own, and this program brings no Python "
            "to start; give whole prompts as text"
        )
    command = [sys.executable, "-I", "-S", str(_WORKER)]
    # Unbuffered, so that a fork in the middle of a request has nothing to write on.
    process = Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, bufsize=0)
    path = [entry for entry in sys.path if isinstance(entry, str)]
    limits = {"memory": MEMORY_BYTES, "seconds": SECONDS, "characters": CHARACTERS}
    _send(_pipe(process.stdin), json.dumps({"path": path, **limits}).encode())
    return process


def _exchange(process: "Popen[bytes]", request: bytes) -> dict[str, Any]:
    with suppress(BrokenPipeError):  # it has ended; the reason follows
        _send(_pipe(process.stdin), request)
    output = _pipe(process.stdout)
    body = _read(output, int.from_bytes(_read(output, _HEADER), "little"))
    if not body:
        raise PromptError(_why_ended(process.wait()))
    answer: dict[str, Any] = json.loads(body)
    return answer


def _why_ended(status: int) -> str:
    if status == -signal.SIGPROF:
        return f"the chat template takes more than {SECONDS} s for these messages"
    how = f"signal {-status}" if status < 0 else f"status {status}"
    return f"the chat template ended its process ({how}) with these messages"


def _send(pipe: IO[bytes], body: bytes) -> None:
    rest = memoryview(len(body).to_bytes(_HEADER, "little") + body)
    while rest:
        rest = rest[pipe.write(rest) :]


def _read(pipe: IO[bytes], count: int) -> bytes:
    """Reads so many bytes, or none if the process ends before."""
    chunks = []
    while count and (chunk := pipe.read(count)):
        chunks.append(chunk)
        count -= len(chunk)
    return b"" if count else b"".join(chunks)


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    assert end is not None
    return end


def _close(process: "Popen[bytes]") -> None:
    for end in (process.stdin, process.stdout):
        _pipe(end).close()


_RENDERER = _Renderer()
atexit.register(_RENDERER.stop)
os.register_at_fork(after_in_child=_RENDERER.forget)
