"""The page in a browser, where there is one: its numbers are those of the JSON, with no error."""

import html
import re
import subprocess
from pathlib import Path

import pytest

from chromium import BROWSER, MISSING
from dawn_runtime.traces import as_page
from support.traces import CASES, traced


@pytest.mark.skipif(BROWSER is None, reason=MISSING)
@pytest.mark.parametrize("name", ["dawn", "wino"])
def test_the_numbers_on_screen_are_those_of_the_json(name: str, tmp_path: Path) -> None:
    _, document = traced(**CASES[name])
    path = tmp_path / "run.html"
    path.write_text(as_page(document), encoding="utf-8")
    finished = subprocess.run(
        [
            *(
                BROWSER or "",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--enable-logging=stderr",
            ),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"),
            *("--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert "CONSOLE" not in finished.stderr, finished.stderr
    page = finished.stdout
    shown = dict(re.findall(r'<b id="([\w-]+)">([^<]*)</b>', page))
    answer = document["answer"]
    assert shown["forwards"] == str(answer["forwards"])
    assert shown["tokens-decided"] == str(answer["tokens_decided"])
    assert shown["positions-fed"] == str(answer["rows_fed"])
    assert shown["tokens-a-forward"] == f"{answer['tokens_per_forward']:.2f}"
    rows = re.search(r'<tbody id="rows">(.*?)</tbody>', page, re.DOTALL)
    cells = [re.findall(r"<td>(.*?)</td>", row) for row in (rows or [""])[0].split("</tr>")[:-1]]
    assert [int(row[3]) for row in cells] == [len(step["commits"]) for step in document["steps"]]
    assert [int(row[2]) for row in cells] == [step["fed"] for step in document["steps"]]
    text = re.search(r'<div class="panel" id="text".*?>(.*?)</div>', page, re.DOTALL)
    spans = re.findall(r"<span[^>]*>(.*?)</span>", (text or [""])[0])
    final = {p: t for step in document["steps"] for p, t, *_ in step["commits"]}
    begin, end = answer["begin"], answer["end"]
    assert [html.unescape(one).strip() for one in spans[begin:end]] == [
        str(final[position]) for position in range(begin, end)
    ]
