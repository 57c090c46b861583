"""The scripts that compare policies, windows and caches, and FreeDave with one token a step."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("script", ["compare_decoding", "compare_freedave"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["nowhere", "--items", "0"], "got '0', expected a number of at least 1"),
        (["nowhere", "--tasks", "chess"], "invalid choice: 'chess'"),
    ],
)
def test_the_script_says_in_one_line_what_is_wrong(
    script: str, arguments: list[str], message: str
) -> None:
    finished = subprocess.run(
        [sys.executable, f"scripts/{script}.py", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert finished.returncode in (1, 2)
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert message in finished.stderr


def test_the_task_that_lost_most_is_named() -> None:
    from compare_decoding import Combination, Score, _most_lost

    def score(cache: str, task: str, percent: float) -> Score:
        return Score(Combination("a", "dawn", "blocks", cache), task, percent, 1, 1, 1)

    exact = [score("none", "sort", 90.0), score("none", "sum", 80.0)]
    cached = [score("dual", "sort", 91.0), score("dual", "sum", 78.5)]
    assert _most_lost(cached, exact + cached) == "-1.5 sum"
    assert _most_lost(exact, exact) == ""
    assert _most_lost(cached, cached) == "", "nothing to compare with"
