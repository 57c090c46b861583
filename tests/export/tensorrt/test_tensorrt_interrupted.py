"""Ctrl-C while a plan is built, and builds that were killed."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dawn_export.cli import main
from dawn_export.errors import ExportError
from dawn_export.folder.artifact import check_output
from dawn_export.tensorrt.files import write_whole
from dawn_export.tensorrt.interruption import held_interrupt
from dawn_runtime.engine.tensorrt.plans import plan_files
from support.tensorrt_machine import FakeMachine


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    """Ctrl-C is a KeyboardInterrupt, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_stops_the_build_with_one_line_and_leaves_nothing(
    machine: FakeMachine, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.world.during_build = press_ctrl_c
    command = ["--target", "tensorrt", "--artifact", str(folder), "--quiet"]
    before = set(folder.iterdir())
    assert main(command) == 130
    assert capsys.readouterr().err == "dawn-export: interrupted\n"
    assert {path.name for path in set(folder.iterdir()) - before} == {"trtexec.txt"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    machine.world.during_build = lambda: None
    assert main(command) == 0
    assert any(name.endswith(".engine") for name in plan_files(folder))


def test_the_step_under_way_when_ctrl_c_comes_is_the_last(
    machine: FakeMachine, folder: Path
) -> None:
    machine.world.during_build = press_ctrl_c
    with pytest.raises(KeyboardInterrupt):
        machine.build(folder, progress=True)
    assert not plan_files(folder)


def test_an_interrupt_is_seen_by_other_threads_and_handled_after_the_block() -> None:
    seen = []

    def build() -> None:
        with held_interrupt() as interrupted:
            seen.append(interrupted())
            press_ctrl_c()
            other = threading.Thread(target=lambda: seen.append(interrupted()))
            other.start()
            other.join()
            seen.append(interrupted())

    with pytest.raises(KeyboardInterrupt):
        build()
    assert seen == [False, True, True]


def test_other_signals_are_no_interrupt() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    with held_interrupt() as interrupted:
        signal.raise_signal(signal.SIGUSR1)
        assert not interrupted()
    signal.signal(signal.SIGUSR1, before)
    assert heard == [signal.SIGUSR1]


def test_an_ignored_interrupt_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with held_interrupt() as interrupted:
        press_ctrl_c()
        assert not interrupted()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_outside_the_main_thread_nothing_is_held_back() -> None:
    found = []

    def work() -> None:
        with held_interrupt() as interrupted:
            found.append((interrupted(), signal.getsignal(signal.SIGINT)))

    other = threading.Thread(target=work)
    other.start()
    other.join()
    assert found == [(False, signal.default_int_handler)]


def test_a_file_that_is_not_finished_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.engine"
    write_whole(path, b"old")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.engine"]
    assert path.read_bytes() == b"old"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"a\.engine: cannot be written: No such file or dir"):
        write_whole(tmp_path / "missing" / "a.engine", b"plan")


def test_what_a_killed_build_leaves_is_replaced_with_the_artifact(folder: Path) -> None:
    (folder / ".a.engine.partial").write_bytes(b"half")
    (folder / ".timing.cache.partial").write_bytes(b"half")
    assert plan_files(folder) == {".a.engine.partial", ".timing.cache.partial"}
    check_output(folder, force=True)
