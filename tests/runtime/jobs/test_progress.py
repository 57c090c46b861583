"""How far a job is: a bar for those who watch, a line now and then for a log."""

import io

import pytest

from dawn_runtime.jobs import JobTotals, Progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def totals(done: int, seconds: float, earlier: int = 0) -> JobTotals:
    return JobTotals(40, done, 0, earlier, seconds=seconds)


def test_a_log_gets_a_line_every_ten_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, terminal=False, clock=clock)
    for second in range(25):
        clock.now = second
        progress(totals(second, second))
    progress.close()
    assert stream.getvalue().splitlines() == [
        "dawn-generate: 10 of 40: 1.0 lines/s, 30 s left",
        "dawn-generate: 20 of 40: 1.0 lines/s, 20 s left",
    ]


def test_a_terminal_gets_a_bar_in_one_line_that_goes_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, terminal=True, clock=clock)
    progress(totals(10, 5.0))
    clock.now = 0.05
    progress(totals(11, 5.0))  # no more often than anybody can see
    clock.now = 1
    progress(totals(20, 10.0))
    progress.close()
    frames = stream.getvalue().split("\r")
    assert "\n" not in stream.getvalue()
    assert frames[1] == f"10 of 40  [{'#' * 7}{'.' * 23}]  2.0 lines/s, 15 s left"
    assert frames[2] == f"20 of 40  [{'#' * 15}{'.' * 15}]  2.0 lines/s, 10 s left"
    assert (frames[3].strip(), frames[4]) == ("", "")


def test_a_bar_fits_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream = io.StringIO()
    Progress(stream, terminal=True)(totals(1, 1.0))
    assert len(stream.getvalue()) == 20  # with the return in front


def test_quiet_tells_nothing() -> None:
    stream = io.StringIO()
    progress = Progress(stream, terminal=True, quiet=True)
    progress(totals(1, 1.0))
    progress.close()
    assert stream.getvalue() == ""


def test_the_rate_is_that_of_this_run() -> None:
    stream, clock = io.StringIO(), Clock()
    progress = Progress(stream, terminal=False, clock=clock)
    for moment, shown in ((20, totals(30, 0.0, 30)), (40, totals(32, 4000.0, 30))):
        clock.now = moment
        progress(shown)
    assert stream.getvalue().splitlines() == [
        "dawn-generate: 30 of 40: no line is done yet",
        "dawn-generate: 32 of 40: 2000.0 s a line, 4 h 26 min left",
    ]


def test_a_reader_that_has_gone_is_no_error() -> None:
    stream = io.StringIO()
    progress = Progress(stream, terminal=True)
    stream.close()
    progress(totals(1, 1.0))
    progress.close()
