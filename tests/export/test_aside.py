"""Work in another thread: its result, its errors, its progress and its end."""

import sys
import threading
from threading import Event, current_thread

import pytest

from dawn_export.aside import _INTERVAL_S, aside
from dawn_export.progress import Listener, Progress, reporting, stage


def counting(progress: Listener) -> int:
    """Three steps of a stage."""
    with reporting(progress), stage("weights", "writing", 3) as advance:
        for _ in range(3):
            advance(1)
    return 7


def test_the_caller_hears_of_it_in_its_own_thread_and_when_it_asks() -> None:
    heard: list[tuple[str, int]] = []

    def hear(progress: Progress) -> None:
        assert current_thread() is threading.main_thread()
        heard.append((progress.stage, progress.done))

    with reporting(hear), aside(counting) as result:
        with stage("tracing", "tracing"):
            pass
        assert result() == 7
    assert heard == [("tracing", 0), *(("weights", done) for done in range(4))]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_its_error_is_raised_where_the_result_is_asked_for(error: type[BaseException]) -> None:
    def failing(progress: Listener) -> None:
        raise error("of the other thread")

    with pytest.raises(error, match="of the other thread"), aside(failing) as result:
        result()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_stops_when_its_caller_fails(error: type[BaseException]) -> None:
    begun, steps = Event(), []

    def endless(progress: Listener) -> None:
        with reporting(progress), stage("weights", "writing", 10**9) as advance:
            while True:
                advance(1)
                steps.append(1)
                begun.set()

    def failing() -> None:
        with aside(endless):
            begun.wait()
            raise error("of the caller")

    with pytest.raises(error, match="of the caller"):
        failing()
    done = len(steps)
    assert not [one for one in threading.enumerate() if one.name.startswith("aside")]
    assert len(steps) == done > 0


def test_threads_take_turns_as_before_when_the_last_one_has_ended() -> None:
    usual = sys.getswitchinterval()
    with aside(counting) as first:
        with aside(counting) as second:
            assert sys.getswitchinterval() == pytest.approx(_INTERVAL_S)
            assert second() == 7
        assert sys.getswitchinterval() == pytest.approx(_INTERVAL_S)
        assert first() == 7
    assert sys.getswitchinterval() == usual
