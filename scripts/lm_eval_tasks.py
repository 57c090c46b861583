"""Writes the held-out items of our tasks as task files of lm_eval.

    python scripts/lm_eval_tasks.py build/lm_eval_tasks --items 100
    python -m dawn_eval --model dawn --include_path build/lm_eval_tasks \
        --tasks dawn_sort,dawn_json --apply_chat_template \
        --model_args artifact=build/tiny-dream,policy=one-per-step,max_new_tokens=64

The items are those of scripts/evaluate_tasks.py for the same seed, and the same checkers judge, so
both report the same share of right answers. `lm_eval` reads them without any network.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path

from dawn_calibration.tasks import TASKS, items
from dawn_runtime.cli.common import Parser, count, place, run_command

TASK = """\
task: dawn_{task}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: prompt
doc_to_target: ""
generation_kwargs:
  until: []
process_results: !function checkers.judge
metric_list:
  - metric: exact
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""

CHECKERS = '''\
"""The checkers of the tasks, for lm_eval."""

from itertools import islice

from dawn_calibration.tasks import TASKS, items


def judge(doc, results):
    """Says whether an answer is right."""
    task = TASKS[doc["task"]]
    item = next(islice(items(task, "heldout", doc["seed"]), doc["number"], None))
    return {"exact": float(task.check(item, results[0]).correct)}
'''


def main() -> int:
    """Write the files."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("lm_eval_tasks", "Write held-out items as task files of lm_eval.")
    parser.add_argument("folder", type=place, metavar="FOLDER", help="gets the files")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--items", type=count, default=100, help="held-out items of each task")
    parser.add_argument("--seed", type=int, default=7)
    return parser


def _work(arguments: argparse.Namespace) -> None:
    folder: Path = arguments.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "checkers.py").write_text(CHECKERS)
    for task in arguments.tasks:
        drawn = itertools.islice(items(TASKS[task], "heldout", arguments.seed), arguments.items)
        data = folder / f"{task}.jsonl"
        with data.open("w") as file:
            for number, item in enumerate(drawn):
                known = {"task": task, "number": number, "seed": arguments.seed}
                file.write(json.dumps({**known, "prompt": item.prompt}) + "\n")
        (folder / f"{task}.yaml").write_text(TASK.format(task=task, data=json.dumps(str(data))))
        print(f"dawn_{task}: {arguments.items} items")


if __name__ == "__main__":
    sys.exit(main())
