"""Results of `dawn-bench` that are kept: shown, compared, written into a page, drawn."""

import csv
import functools
import json
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.bench.pages import results_of, written
from dawn_runtime.bench.record import read_record
from dawn_runtime.cli.bench import main
from dawn_runtime.errors import OptionError

Run = Any
SMALL = ("--random", "--prompt-tokens", "10", "--new-tokens", "16", "--block-length", "8")


@pytest.fixture
def run(run_on_fake: Any) -> Run:
    return functools.partial(run_on_fake, main)


@pytest.fixture
def result(run: Run, tmp_path: Path) -> Path:
    """A result of two cases, two turns each."""
    path = tmp_path / "result.json"
    flags = ("--cache", "none", "--cache", "dual", "--policy", "one-per-step", "--repeat", "2")
    assert run(*SMALL, *flags, "--output", str(path), "--json")[0] == 0
    return path


def changed(path: Path, name: str, **changes: Any) -> Path:
    """The same result with other values in every measurement."""
    document = json.loads(path.read_text())
    for one in document["measured"]:
        one |= changes
    other = path.with_name(name)
    other.write_text(json.dumps(document))
    return other


def called(*words: object) -> int:
    return main([str(word) for word in words])


def test_a_result_is_what_was_printed_and_is_shown_again(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_record(result)
    assert [one.case.cache for one in record.measured] == ["none", "dual"]
    assert json.loads(json.dumps(record.to_dict())) == json.loads(result.read_text())
    assert called("show", result) == 0
    out = capsys.readouterr().out
    assert "1 prompt of RANDOM TOKENS" in out
    assert out.count("one-per-step") == 4
    assert called("show", result, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(result.read_text())


def test_csv_has_a_line_for_each_case(result: Path, tmp_path: Path) -> None:
    assert called("show", result, "--csv", tmp_path / "out.csv", "--quiet") == 0
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    measured = json.loads(result.read_text())["measured"]
    assert [row["cache"] for row in rows] == ["none", "dual"]
    for row, one in zip(rows, measured, strict=True):
        assert row["prompts"] == "random tokens"
        assert float(row["tokens_per_second"]) == one["tokens_per_second"]
        assert float(row["step_p99"]) == one["step"]["p99"]
        assert float(row["ratio_interval_low"]) == one["ratio_interval"][0]
        assert [float(row["turns_1"]), float(row["turns_2"])] == one["turns"]


@pytest.mark.parametrize(("name", "begins"), [("p.png", b"\x89PNG"), ("p.svg", b"<?xml")])
def test_a_picture_is_drawn(result: Path, tmp_path: Path, name: str, begins: bytes) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert called("show", result, "--plot", tmp_path / name) == 0
    content = (tmp_path / name).read_bytes()
    assert content.startswith(begins)
    assert called("show", result, "--plot", tmp_path / name) == 0
    assert (tmp_path / name).read_bytes() == content, "the same result is the same picture"


def test_without_matplotlib_a_picture_is_refused_before_any_work(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, out, err = run(*SMALL, "--plot", str(tmp_path / "p.png"))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "pictures need matplotlib, which is not installed; pip install" in err


def test_a_section_of_a_page_is_written_anew_and_the_rest_stays(
    result: Path, tmp_path: Path
) -> None:
    page = tmp_path / "docs" / "page.md"
    page.parent.mkdir()
    other = "<!-- dawn-bench: other.json -->\nold\n<!-- end of dawn-bench -->\n"
    text = (
        "# Head\n\n<!-- dawn-bench: ../result.json -->\nold\n<!-- end of dawn-bench -->\n\n"
        f"{other}tail\n"
    )
    page.write_text(text)
    assert called("show", result, "--markdown", page) == 0
    new = page.read_text()
    assert new.startswith("# Head\n\n<!-- dawn-bench: ../result.json -->\n\n`dawn-bench ")
    assert new.endswith(f"{other}tail\n")
    assert "| one-per-step | dual |" in new
    assert "RANDOM TOKENS" in new
    assert written(new, page, result, read_record(result)) == new
    page.write_text(new.replace(other, ""))
    assert [path.resolve() for path, _ in results_of(page.read_text(), page)] == [result]


def test_a_page_without_a_section_says_what_to_put_there(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Head\n")
    assert called("show", result, "--markdown", page) == 2
    assert "put the lines <!-- dawn-bench: result.json -->" in capsys.readouterr().err
    assert page.read_text() == "# Head\n"


def test_two_results_are_compared_case_by_case(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = changed(result, "slow.json", seconds=2.0, turns=[1.0, 3.0], tokens=16)
    fast = changed(result, "fast.json", seconds=1.0, turns=[0.9, 1.1], tokens=16)
    assert called("compare", slow, fast, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["cache"] for one in document["compared"]] == ["none", "dual"]
    for one in document["compared"]:
        assert one["ratio"] == 2
        assert one["ratio_interval"] == pytest.approx([1.0 / 1.1, 3.0 / 0.9])
    assert not [line for line in document["differences"] if line.startswith("differs")]
    assert called("compare", slow, fast) == 0
    out = capsys.readouterr().out
    assert "2.00    0.91-3.33" in out
    assert "B over A: tokens/s of B" in out


def test_more_tokens_in_the_same_time_are_faster(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = changed(result, "a.json", seconds=1.0, turns=[1.0, 1.0], tokens=10)
    b = changed(result, "b.json", seconds=1.0, turns=[1.0, 1.0], tokens=30)
    assert called("compare", a, b, "--json") == 0
    (one, _) = json.loads(capsys.readouterr().out)["compared"]
    assert (one["ratio"], one["ratio_interval"]) == (3, [3, 3])


def test_what_differs_between_results_is_said(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(result.read_text())
    document["prompts"]["sha256"] = "f" * 64
    document["machine"]["line"] = "another machine"
    document["remarks"] = ["busy: it was"]
    other = result.with_name("other.json")
    other.write_text(json.dumps(document))
    assert called("compare", result, other, "--quiet") == 0
    out = capsys.readouterr().out
    assert "differs: machine: " in out
    assert "| another machine\n" in out
    assert "differs: hash of the prompts: " in out
    assert "B: busy: it was" in out


def test_results_without_a_case_in_common(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = changed(result, "other.json", new_tokens=99)
    assert called("compare", result, other) == 2
    assert "the results have no case in common" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot read a result"),
        ("{}", "no result of dawn-bench"),
        ('{"format": "dawn-bench", "version": 99}', "has version 99, expected 1"),
        ('{"format": "dawn-bench", "version": 1}', "a damaged result"),
    ],
)
def test_what_is_no_result_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(OptionError, match=message):
        read_record(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("turns", []),
        ("turns", [0.0]),
        ("turns", ["soon"]),
        ("seconds", -1),
        ("ratio_interval", [1.0]),
        ("step", {"p50": 1}),
        ("step", 3),
    ],
)
def test_a_damaged_measurement_is_refused(name: str, value: object, result: Path) -> None:
    with pytest.raises(OptionError, match="a damaged result"):
        read_record(changed(result, "damaged.json", **{name: value}))


def test_a_result_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("show", tmp_path / "no.json") == 2
    assert "no.json: cannot read a result: No such file" in capsys.readouterr().err


def test_a_result_is_not_written_over_what_is_read(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("show", result, "--csv", result) == 2
    assert "is the same file as" in capsys.readouterr().err
