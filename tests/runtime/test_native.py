"""What libraries raise becomes ours, and what they print on a panic is held back."""

import os
from collections.abc import Callable

import pytest

from dawn_runtime import PromptError
from dawn_runtime.errors import DependencyError
from dawn_runtime.native import importing, native_errors


class Panic(BaseException):
    """As pyo3's: no Exception."""


class SpeechlessError(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def wrapped(action: Callable[[], object], *, quiet: bool = False) -> None:
    with native_errors(lambda reason: PromptError(f"it failed: {reason}"), quiet=quiet):
        action()


def throw(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Exception("two\nlines"), "it failed: two lines$"),
        (Panic("gone"), "it failed: gone$"),
        (MemoryError(), "it failed: MemoryError$"),
        (RecursionError("deep"), "it failed: deep$"),
        (SpeechlessError(), "it failed: SpeechlessError$"),
        (ValueError("x" * 1000), "it failed: x{300}$"),
    ],
)
def test_anything_raised_is_translated(error: BaseException, message: str) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        wrapped(throw(error))
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("wish", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_wishes_to_stop_and_errors_of_ours_pass(wish: BaseException) -> None:
    for error in (wish, PromptError("ours")):
        with pytest.raises(type(error)) as caught:
            wrapped(throw(error))
        assert caught.value is error


def panic() -> None:
    os.write(2, b"others\n\nthread '<unnamed>' (1) panicked at src/x.rs:1:\ngone\nnote: run with\n")
    raise Panic("gone")


def test_the_report_of_a_panic_is_held_back_and_nothing_else(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(PromptError, match="it failed: gone"):
        wrapped(panic, quiet=True)
    assert capfd.readouterr().err == "others\n"
    wrapped(lambda: os.write(2, b"thread of a story\n"), quiet=True)
    assert capfd.readouterr().err == "thread of a story\n"
    with pytest.raises(PromptError):
        wrapped(lambda: (os.write(2, b"a\nthread b\n"), throw(ValueError("c"))()), quiet=True)
    assert capfd.readouterr().err == "a\nthread b\n"


def test_a_closed_standard_error_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: int) -> int:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr("dawn_runtime.native.os.dup", closed)
    monkeypatch.setattr("sys.stderr", None)
    wrapped(lambda: None, quiet=True)
    with pytest.raises(PromptError, match="it failed: gone"):
        wrapped(throw(Panic("gone")), quiet=True)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("no", name="engine"), "it needs engine, which is not installed; pip"),
        (ModuleNotFoundError("no", name="engine.core"), "it needs engine, which is not installed"),
        (ModuleNotFoundError("no", name="flat"), "it needs flat, which is not installed; pip"),
        (
            ImportError("libcudnn.so.9: cannot open", name="_core", path="/lib/_core.so"),
            r"it needs engine, which is installed and does not load: libcudnn\.so\.9: cannot open;",
        ),
        (ImportError("built for NumPy 1"), "does not load: built for NumPy 1; install it anew"),
        (OSError("libcudart.so.12: cannot open"), r"does not load: libcudart\.so\.12"),
        (AttributeError("_ARRAY_API not found"), "does not load: _ARRAY_API not found"),
        (Panic("gone"), "does not load: gone"),
    ],
)
def test_a_package_that_does_not_load_is_told_from_one_that_is_missing(
    error: BaseException, message: str
) -> None:
    with pytest.raises(DependencyError, match=message), importing("it needs", "engine", "pip"):
        raise error


def test_an_interrupted_import_stays_interrupted() -> None:
    with pytest.raises(KeyboardInterrupt), importing("it needs", "engine", "pip"):
        raise KeyboardInterrupt
