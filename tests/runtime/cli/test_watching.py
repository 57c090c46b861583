"""`dawn-generate` while it decodes: traces, text in place, events for other programs."""

import functools
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder
from dawn_runtime.cli.generate import main
from dawn_runtime.cli.live import OPEN, Canvas, shown, wrapped
from dawn_runtime.decoding import Commit
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from support.terminal import Terminal

Run = Any
SHORT = ("--max-new-tokens", "12", "--no-stop-at-eos")


@pytest.fixture
def run(run_on_fake: Any) -> Run:
    return functools.partial(run_on_fake, main)


def test_a_trace_is_a_page_or_json_by_its_name(run: Run, tmp_path: Path) -> None:
    page, document = tmp_path / "run.html", tmp_path / "run.json"
    plain = run("hi", *SHORT)[1]
    for target in (page, document):
        status, out, _ = run("hi", *SHORT, "--trace", str(target))
        assert (status, out) == (0, plain)
    trace = json.loads(document.read_text())
    assert trace["answer"]["end"] - trace["answer"]["begin"] == 12
    assert page.read_text().startswith("<!doctype html>")
    assert "@TRACE@" not in page.read_text()


@pytest.mark.parametrize("way", [["--stream"], ["--stream", "--json"], ["--live"], ["--json"]])
def test_a_trace_is_written_however_the_answer_is_shown(
    way: list[str], run: Run, tmp_path: Path
) -> None:
    target = tmp_path / "run.json"
    given = ("--fill", '{"a": "[[4]]"}', "--policy", "one-per-step", "--trace", str(target))
    assert run(*given, *way)[0] == 0
    trace = json.loads(target.read_text())
    assert len(trace["steps"]) == trace["answer"]["forwards"] == 4
    assert trace["given"].count(None) == 4


def test_events_are_one_object_a_line_and_end_with_the_whole_answer(run: Run) -> None:
    whole = json.loads(run("hi", *SHORT, "--json", "--policy", "threshold")[1])
    status, out, err = run("hi", *SHORT, "--json", "--stream", "--policy", "threshold")
    begin, *steps, end = map(json.loads, out.splitlines())
    assert (status, begin["event"], end["event"]) == (0, "begin", "end")
    assert begin == {"event": "begin", "given": [71, 72], "engine": "fake"}
    for name in ("text", "tokens", "trace", "forwards", "rows_fed"):
        assert end[name] == whole[name]
    assert [step["step"] for step in steps] == list(range(whole["forwards"]))
    commits = [
        [step["step"], one["position"], one["token"], one["confidence"]]
        for step in steps
        for one in step["commits"]
    ]
    assert commits == whole["trace"]
    assert "".join(step["text"] for step in steps) == whole["text"]
    assert "12 tokens decided" in err


def test_events_say_what_is_taken_back(
    run: Run, artifact_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = json.loads((artifact_folder / "dawn.json").read_text())
    manifest["prediction_shift"] = 0
    (artifact_folder / "dawn.json").write_text(json.dumps(manifest))
    wino = ("--policy", "wino", "--set", "threshold=0.01", "--set", "revoke_threshold=0.5")
    _, out, _ = run("hi", "--max-new-tokens", "40", "--json", "--stream", *wino)
    open_, taken_back = set(range(2, 42)), 0
    for event in map(json.loads, out.splitlines()[1:-1]):
        open_ |= set(event["revoked"])
        open_ -= {one["position"] for one in event["commits"]}
        taken_back += len(event["revoked"])
    assert taken_back > 0
    assert not open_ or json.loads(out.splitlines()[-1])["finish_reason"] == "end"


def test_where_nobody_watches_the_answer_is_printed_as_ever(run: Run) -> None:
    assert run("hi", *SHORT, "--live")[:2] == run("hi", *SHORT)[:2]


def test_the_text_is_decided_in_place_on_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run("hi", *SHORT, "--policy", "one-per-step")[1]
    terminal = Terminal()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("hi", *SHORT, "--live", "--policy", "one-per-step")[0] == 0
    frames = terminal.getvalue().split("\r\x1b[J")
    assert len(frames) == 13
    plain = [re.sub(r"\x1b\[\d*[mA]", "", frame) for frame in frames]
    dots = [frame.count(OPEN) for frame in plain[:12]]
    assert dots[0] == 11
    assert dots == sorted(dots, reverse=True)
    assert plain[-1] == expected


def canvas(prompt: list[int], length: int) -> tuple[Canvas, io.StringIO]:
    manifest = fake_manifest(vocab_size=32)
    stream = io.StringIO()
    decoder = Decoder(manifest, FakeEngine(manifest))
    return Canvas(decoder, np.array(prompt), length, stream), stream


def test_a_frame_is_drawn_over_the_one_before_and_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "11")
    monkeypatch.setenv("LINES", "6")
    drawn, stream = canvas([1, 2], 102)
    drawn.show([Commit(0, 2 + n, 7, 1.0) for n in range(60)], [])
    first = stream.getvalue()
    assert first.count("\n") == 3, "no more lines than there are"
    assert OPEN in first, "the part where something happens"
    drawn.show([], [61])
    second = stream.getvalue()[len(first) :]
    assert second.startswith("\x1b[3A\r\x1b[J")
    drawn.close()
    assert stream.getvalue().endswith("\x1b[3A\r\x1b[J")


def test_colours_are_left_out_where_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    drawn, stream = canvas([1], 4)
    drawn.show([Commit(0, 2, 7, 1.0)], [])
    assert stream.getvalue() == f"{OPEN}7 {OPEN}"


def test_a_terminal_obeys_no_text_of_a_model() -> None:
    assert shown("a\x1b[2J\x07b\r\u202ec\td\n") == "a\ufffd[2J\ufffdb\ufffd\ufffdc    d\n"


def test_wide_characters_take_two_columns() -> None:
    cells = [(char, False, False) for char in "a漢字b\nc"]
    lines, focus = wrapped(cells, 4)
    assert ["".join(cell[0] for cell in line) for line in lines] == ["a漢", "字b", "c"]
    assert focus == 2
