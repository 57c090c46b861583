"""Signals: blocks that are not cut in two, native code that is stopped, and the second Ctrl-C."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dawn_runtime import interruption
from dawn_runtime.interruption import Terminated, held, interruptible, stoppable


def press(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def wait_for_it(number: int = signal.SIGINT) -> None:
    press(number)
    time.sleep(60)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_signal_that_comes_in_a_block_counts_when_the_block_is_over() -> None:
    done: list[bool] = []

    def block() -> None:
        press()
        time.sleep(0.01)
        done.append(True)

    with pytest.raises(KeyboardInterrupt), held():
        block()
    assert done == [True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_block_without_a_signal_changes_nothing() -> None:
    before = [signal.getsignal(number) for number in interruption.SIGNALS]
    with held():
        pass
    assert [signal.getsignal(number) for number in interruption.SIGNALS] == before


def test_an_error_of_the_block_comes_out_of_it() -> None:
    with pytest.raises(ValueError, match="own"), held():
        raise ValueError("own")


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
    ],
)
def test_signals_unwind_what_is_under_way(number: int, error: type[BaseException]) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt) as raised, interruptible():
        wait_for_it(number)
    assert raised.type is error
    assert signal.getsignal(number) is before


def test_a_signal_that_was_ignored_from_the_start_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible():
            press(signal.SIGHUP)
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_echo_of_a_signal_is_no_second_one() -> None:
    with interruptible():
        with pytest.raises(KeyboardInterrupt):
            wait_for_it()
        press()  # as `timeout` does, to the process and to its group
        time.sleep(0.01)
        time.sleep(interruption._ECHO_S)
        with pytest.raises(KeyboardInterrupt):
            wait_for_it()


def test_native_code_is_told_to_stop_at_the_first_signal() -> None:
    stopped = threading.Event()

    def native() -> None:
        with held():  # as if there were no instructions of Python
            press()
            assert stopped.wait(20)

    with pytest.raises(KeyboardInterrupt), interruptible(), stoppable(stopped.set):
        native()
    assert not interruption._stops


def test_threads_and_descriptors_are_not_left_behind() -> None:
    with interruptible():
        pass
    threads, descriptors = threading.active_count(), open_descriptors()
    for _ in range(5):
        with interruptible():
            pass
    assert (threading.active_count(), open_descriptors()) == (threads, descriptors)


NATIVE = """
import ctypes, os, signal, threading, time
from dawn_runtime.interruption import interruptible

library, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
with interruptible():
    print("ready", flush=True)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)  # for ever, and no signal ends it
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_native_code_that_never_comes_back(
    number: signal.Signals, status: int
) -> None:
    with subprocess.Popen([sys.executable, "-c", NATIVE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.5)  # until it is in native code
        process.send_signal(number)
        time.sleep(interruption._ECHO_S + 0.1)
        assert process.poll() is None
        process.send_signal(number)
        assert process.wait(timeout=20) == status


def interrupted_import(number: int) -> None:
    """What a native module does whose initialisation is interrupted."""
    try:
        wait_for_it(number)
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
)
def test_an_interruption_that_foreign_code_takes_for_a_failure_is_one(
    number: int, error: type[KeyboardInterrupt]
) -> None:
    with pytest.raises(KeyboardInterrupt) as caught, interruptible():
        interrupted_import(number)
    assert type(caught.value) is error
    assert isinstance(caught.value.__cause__, ImportError)


def test_a_failure_without_an_interruption_stays_what_it_is() -> None:
    with pytest.raises(ImportError, match="own"), interruptible():
        raise ImportError("own")
