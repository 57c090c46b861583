"""What is said while an export works: every stage, to whoever listens, and never too much."""

import io
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dawn_export import ExportOptions, SourceError, export
from dawn_export.progress import CHECKS, Progress, reporting, stage
from support.terminal import Terminal

STAGES = [
    *("starting", "checking", "companions", "weights", "saving"),
    *("verifying", "reference", "engine", "syncing"),
]
"""Of an export whose graph is traced already."""

SMALL = ExportOptions(evidence_layers=2)


@pytest.mark.usefixtures("traced")
def test_a_function_hears_of_every_stage_and_how_far_it_is(small: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []
    export(small, tmp_path / "out", SMALL, verify="all", progress=heard.append)
    assert list(dict.fromkeys(progress.stage for progress in heard)) == STAGES
    for name in ("weights", "verifying"):
        of_stage = [progress for progress in heard if progress.stage == name]
        assert of_stage[0].done == 0
        assert of_stage[-1].done == of_stage[-1].total > 0
        assert [p.done for p in of_stage] == sorted(p.done for p in of_stage)
    assert [p.seconds for p in heard] == sorted(p.seconds for p in heard)


def test_tracing_says_which_piece_it_is_at(small: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []
    export(small, tmp_path / "out", SMALL, progress=heard.append)
    texts = [progress.text for progress in heard if progress.stage in ("tracing", "graph")]
    assert [text[:25] for text in texts[:4]] == [f"tracing with torch, {i} of " for i in "1234"]
    assert texts[4] == "putting the graph of 2 layers together"


@pytest.mark.usefixtures("traced")
def test_without_a_terminal_every_stage_is_a_line(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(small, tmp_path / "out", SMALL, verify="all", progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    lines = err.splitlines()
    assert all(line.startswith("dawn-export: ") for line in lines)
    assert len(lines) == len(STAGES) + 2  # two of them end with a line of their own
    assert len(set(lines)) == len(lines)


@pytest.mark.usefixtures("traced")
def test_nobody_is_told_unasked(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export(small, tmp_path / "out", SMALL)
    assert capsys.readouterr() == ("", "")


def test_what_is_refused_is_refused_without_a_word_before_it(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "tokenizer.json").write_text("{")
    with pytest.raises(SourceError):
        export(small, tmp_path / "out", SMALL, progress=True)
    assert capsys.readouterr() == ("", "")


def test_at_a_terminal_checks_are_told_too_and_a_total_is_a_bar(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with reporting(True):
        with stage(CHECKS[0], "loading"):
            pass
        with stage("weights", "writing", 2_000_000) as advance:
            advance(1_000_000)
            advance(1_000_000)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]  # it is the one above
    assert "dawn-export: loading\ndawn-export: writing\n" in shown
    assert "0.00/2.00M [00:00<" in shown  # done, total, time spent, time left


def test_a_long_stage_says_now_and_then_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    times = iter([0.0, 1.0, 11.0, 41.0, 61.0, 101.0])
    monkeypatch.setattr("dawn_export.progress.time.perf_counter", lambda: next(times))
    with reporting(True), stage("weights", "writing", 100_000_000) as advance:
        for _ in range(4):
            advance(25_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "dawn-export: writing",
        "dawn-export: weights: 50% of 100.0 MB in 40 s, about 40 s left",
        "dawn-export: weights: 100% of 100.0 MB in 100 s",
    ]


def gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)


def closed(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", stream)


@pytest.mark.parametrize("lose", [gone, closed])
def test_a_standard_error_that_is_gone_stops_nothing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    lose: Callable[[pytest.MonkeyPatch], None],
) -> None:
    lose(monkeypatch)
    with reporting(True), stage("weights", "writing", 1) as advance:
        advance(1)
    assert capsys.readouterr().out == ""


def test_the_bar_of_a_stage_that_fails_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())

    def fail() -> None:
        with reporting(True), stage("x", "y", 2) as advance:
            advance(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    with reporting(True), stage("z", "next"):
        pass
    assert sys.stderr.getvalue().endswith("dawn-export: next\n")  # type: ignore[attr-defined]


def test_the_command_shows_stages_at_a_terminal_from_the_first_second(
    small: Path, tmp_path: Path
) -> None:
    (small / "config.json").write_text("{}")  # ends it early
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dawn_export", "--model", str(small)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=False,
    )
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert done.returncode == 1
    first, second, error = shown.splitlines()
    assert first == "dawn-export: loading torch and the exporter"
    assert second.startswith("dawn-export: checking ")
    assert error.startswith("dawn-export: error: ")
