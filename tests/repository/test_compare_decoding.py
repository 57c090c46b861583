"""The scripts that compare policies, windows and caches, and FreeDave with one token a step."""

import json
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


def test_guards_are_those_of_dawn_generate_and_refused_before_anything_is_decoded() -> None:
    for flags, message in (
        (["--guard", "adjacnt"], "did you mean 'adjacent'"),
        (["--guard", "adjacent", "--policies", "verify"], "'verify' takes no guard"),
        (["--guard", "budget:nats=-1"], "nats is -1"),
    ):
        finished = subprocess.run(
            [sys.executable, "scripts/compare_decoding.py", "models/tiny-dream-int8", *flags],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
        )
        assert (finished.returncode, finished.stdout) == (2, "")
        assert message in finished.stderr


def test_the_guards_are_around_every_policy(capsys: pytest.CaptureFixture[str]) -> None:
    from compare_decoding import main

    flags = ["--policies", "threshold", "--caches", "none", "--tasks", "sort", "--items", "1"]
    guards = ["--guard", "adjacent", "--guard", "budget:nats=4"]
    limits = ["--max-new-tokens", "8", "--block-length", "8", "--threads", "1", "--json"]
    argv = ["compare_decoding", str(ROOT / "models" / "tiny-dream-int8"), *flags, *guards, *limits]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", argv)
        assert main() == 0
    (score,) = json.loads(capsys.readouterr().out)["scores"]
    assert score["combination"]["guard"] == ["adjacent", "budget:nats=4"]


def test_the_task_that_lost_most_is_named() -> None:
    from compare_decoding import Combination, Score, _most_lost

    def score(cache: str, task: str, percent: float) -> Score:
        return Score(Combination("a", "dawn", "blocks", cache), task, percent, 1, 1, 1, 1, 0)

    exact = [score("none", "sort", 90.0), score("none", "sum", 80.0)]
    cached = [score("dual", "sort", 91.0), score("dual", "sum", 78.5)]
    assert _most_lost(cached, exact + cached) == "-1.5 sum"
    assert _most_lost(exact, exact) == ""
    assert _most_lost(cached, cached) == "", "nothing to compare with"
