"""What libraries raise, turned into our own errors in one place.

Libraries are free to raise anything: the tokenizers library raises `Exception` itself and, where
its Rust code panics, a class that is no `Exception` at all and goes past every `except Exception`.
So nothing is listed by name here. What is not ours, and no wish of the user to stop, is translated.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from tempfile import TemporaryFile

from dawn_runtime.errors import DawnError, DependencyError

_STDERR = 2
_PANIC = b"\nthread "
_HOLDING = threading.Lock()


@contextmanager
def native_errors(
    make: Callable[[str], Exception], own: type[Exception] = DawnError, *, quiet: bool = False
) -> Iterator[None]:
    """Translates whatever a library raises inside.

    Args:
        make: Makes the error out of the reason, one line without an end.
        own: Errors that are ours already and pass as they are.
        quiet: Whether a panic's own report on standard error is held back. Rust writes it to the
            file descriptor before Python hears of the panic, so the descriptor is redirected
            meanwhile, and what others wrote to it comes out afterwards. Meant for loading, which
            is short and seldom; not for calls that several threads make.
    """
    try:
        with _held_back() if quiet else nullcontext():
            yield
    except (own, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic is no Exception
        raise make(reason_of(error)) from error


@contextmanager
def importing(
    needs: str, package: str, remedy: str, *, module: str | None = None
) -> Iterator[None]:
    """Translates whatever an import raises: a package may be missing, or there and not load.

    Args:
        needs: Who needs it, such as `text needs`.
        package: Its name.
        remedy: What installs it.
        module: What is imported of it, if that has another name.

    Raises:
        DependencyError: It or a package that it needs is missing, or it does not load.
    """
    try:
        yield
    except (DawnError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a library that is missing is an OSError to some
        missing = error.name if isinstance(error, ImportError) and not error.path else None
        if missing:
            named = package if missing.split(".")[0] == (module or package) else missing
            raise DependencyError(f"{needs} {named}, which is not installed; {remedy}") from error
        raise DependencyError(
            f"{needs} {package}, which is installed and does not load: {reason_of(error)}; install "
            f"it anew ({remedy}); dawn-doctor tells what loads here"
        ) from error


def reason_of(error: BaseException) -> str:
    """Returns what an error says as one line of at most 300 characters."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an error whose own text fails
        text = ""
    return f"{text:.300}" or type(error).__name__


@contextmanager
def _held_back() -> Iterator[None]:
    """Holds back standard error; afterwards it is written, without the report of a panic."""
    with _HOLDING, ExitStack() as stack:
        try:
            kept = os.dup(_STDERR)
            stack.callback(os.close, kept)
            store = stack.enter_context(TemporaryFile())
        except OSError:  # no standard error, or no place for a file: nothing is held back
            yield
            return
        panicked = False
        _flush_stderr()
        os.dup2(store.fileno(), _STDERR)
        try:
            yield
        except BaseException as error:
            panicked = not isinstance(error, Exception)
            raise
        finally:
            _flush_stderr()
            os.dup2(kept, _STDERR)
            store.seek(0)
            written = store.read()
            os.write(_STDERR, _before_panic(written) if panicked else written)


def _flush_stderr() -> None:
    if sys.stderr is not None:
        sys.stderr.flush()


def _before_panic(written: bytes) -> bytes:
    """Returns what was written before a panic's report, which begins with an empty line."""
    return (b"\n" + written).partition(_PANIC)[0].removeprefix(b"\n")
