"""lm_eval itself over small models: the accuracy of our own script, and what its results carry."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.artifact import sha256_of

ROOT = Path(__file__).parent.parent.parent
SOURCES = [ROOT / folder for folder in ("runtime", "calibration", "serve", "eval")]
ITEMS, TASKS = "6", ("sort", "reverse", "json")

pytestmark = pytest.mark.lm_eval


def run(*command: object) -> str:
    paths = [*map(str, SOURCES), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
        },
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def task_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    run("scripts/lm_eval_tasks.py", folder, "--items", ITEMS, "--tasks", *TASKS)
    return folder


def evaluated(tasks: Path, output: Path, model: str, *flags: str) -> dict[str, Any]:
    """What lm_eval writes."""
    run(
        *("-m", "dawn_eval", "--model", "dawn", "--model_args", model),
        *("--include_path", tasks, "--tasks", ",".join(f"dawn_{task}" for task in TASKS)),
        *("--output_path", output, "--batch_size", "4", *flags),
    )
    (path,) = output.rglob("results_*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("model", ["tiny-dream", "tiny-llada"])
def test_the_accuracy_is_that_of_our_own_script(
    model: str, shipped: Callable[..., Path], task_files: Path, tmp_path: Path
) -> None:
    artifact = shipped(model)
    arguments = f"artifact={artifact},policy=one-per-step,max_new_tokens=64,threads=1"
    theirs = evaluated(task_files, tmp_path / "out", arguments, "--apply_chat_template")
    script = ("scripts/evaluate_tasks.py", artifact, "--items", ITEMS, "--tasks", *TASKS)
    ours = json.loads(run(*script, "--threads", "1", "--json"))
    for score in ours["tasks"]:
        share = theirs["results"][f"dawn_{score['task']}"]["exact,none"]
        assert share == score["exact"] / score["items"], score["task"]
    assert any(score["exact"] for score in ours["tasks"])
    told = theirs["config"]
    assert told["artifact_sha256"] == sha256_of(artifact / "dawn.json")
    assert told["decoding"] == {"policy": "one-per-step", "max_new_tokens": 64}


CHOICES = """\
task: dawn_choices
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: multiple_choice
doc_to_text: question
doc_to_choice: choices
doc_to_target: right
metric_list:
  - metric: acc
"""


def test_choices_are_judged_by_the_estimate(shipped: Callable[..., Path], tmp_path: Path) -> None:
    question = {"question": "Sort ascending: 9 4 7\n", "choices": ["4 7 9", "9 z ("], "right": 0}
    data = tmp_path / "choices.jsonl"
    data.write_text(json.dumps(question) + "\n")
    (tmp_path / "choices.yaml").write_text(CHOICES.format(data=json.dumps(str(data))))
    model = f"artifact={shipped('tiny-llada')},mc_samples=32,check_greedy=false,threads=1"
    run(
        *("-m", "dawn_eval", "--model", "dawn", "--model_args", model, "--tasks", "dawn_choices"),
        *("--include_path", tmp_path, "--output_path", tmp_path / "out"),
    )
    (path,) = (tmp_path / "out").rglob("results_*.json")
    assert json.loads(path.read_text())["results"]["dawn_choices"]["acc,none"] == 1.0


def test_bad_arguments_end_in_one_line(artifact_folder: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dawn_eval", "--model", "dawn", "--tasks", "gsm8k"),
            *("--model_args", "artifact=/nowhere"),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, SOURCES))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
