"""Print what two runs of dawn-generate over the same prompts answered, side by side.

python scripts/quickstart_table.py PROMPTS.jsonl DAWN.jsonl ONE_PER_STEP.jsonl
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def main() -> int:
    """Read the three files and print one paragraph for each prompt, then the sums."""
    prompts, *runs = (_lines(Path(name)) for name in sys.argv[1:])
    for index, prompt in enumerate(prompts):
        print(f"\n> {prompt['messages'][-1]['content']}")
        for run in runs:
            _print_answer(run[index])
    print("\nall prompts")
    for run in runs:
        _print_sum(run)
    return 0


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _print_answer(answer: dict[str, Any]) -> None:
    print(f"  {answer['policy']:<13} {answer['text']}")
    print(f"  {'':<13} {_figures(answer)}")


def _print_sum(run: list[dict[str, Any]]) -> None:
    total = {key: sum(answer[key] for answer in run) for key in ("forwards", "seconds")}
    decided = sum(len(answer["tokens"]) for answer in run)
    total["tokens_per_forward"] = decided / total["forwards"]
    print(f"  {run[0]['policy']:<13} {_figures(total)}")


def _figures(values: dict[str, Any]) -> str:
    return (
        f"{values['forwards']:>3} forwards, {values['tokens_per_forward']:5.2f} tokens per forward,"
        f" {values['seconds']:6.3f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
