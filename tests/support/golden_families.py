"""What the code of many families' authors computes: forward passes, and decoding where we have it.

`tests/data/golden/<name>-random` are tiny random checkpoints in each family's own format. In
`forward.npz` the mask of every row is given, and logits are never shifted. `decode.json` has the
options of every case of `decode.npz` under the authors' names. Where their loop runs the model
and commits nothing, ours does not run it; those runs are left out of the numbers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dawn_models import Told
from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.engine import StepInputs
from support.golden import GOLDEN

TOLD = {
    "a2d-qwen2": Told(family="a2d-bd3lm"),
    "a2d-qwen3": Told(family="a2d-mdlm"),
    "open-dcoder": Told(family="open-dcoder"),
    "coda": Told(),
    "sdar": Told(),
    "fast-dllm-v2": Told(),
    "wedlm-qwen25": Told(),
    "wedlm-qwen3": Told(),
}
"""Golden checkpoint -> what has to be said of it."""

MASK = 254
"""Id of the mask in all of them."""


def folder_of(name: str) -> Path:
    """The checkpoint."""
    return GOLDEN / f"{name}-random"


def forward_of(name: str) -> dict[str, Any]:
    """Its forward pass: inputs, and the logits of the authors' code."""
    return dict(np.load(folder_of(name) / "forward.npz"))


def step(
    ids: IntArray, positions: IntArray, mask: BoolArray, past: tuple[Any, ...] = ()
) -> StepInputs:
    """A step over all of its rows that gives logits and keys; mask is [B, S, P+S]."""
    rows = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    none = np.zeros((len(ids), 0), dtype=np.int64)
    return StepInputs(
        ids, positions, mask[:, None], rows, none, past=past, want_logits=True, want_present=True
    )


@dataclass(frozen=True)
class Case:
    """One row of one case.

    Attributes:
        options: Under the authors' names.
        prompt: Ids of the prompt.
        answer: Ids that they decode.
        sequence: Ids of all, which of a template is what matters.
        rows: Rows fed, one entry a run.
    """

    options: dict[str, Any]
    prompt: list[int]
    answer: list[int]
    sequence: list[int]
    rows: list[int]


def cases(name: str, case: str) -> Iterator[Case]:
    """The rows of a case; in a batch, `rows` are those of the whole batch."""
    described = json.loads((folder_of(name) / "decode.json").read_text())["cases"][case]
    data = np.load(folder_of(name) / "decode.npz")
    which = [number for batch in described["batches"] for number in batch]
    prompts, lengths = (data[described.get("prompts", "prompts") + end] for end in ("", "_length"))
    for row, number in enumerate(which):
        prompt = prompts[number][: lengths[number]].tolist()
        sequence = data[f"{case}_sequence"][row][: data[f"{case}_length"][row]].tolist()
        rows = data[f"{case}_rows"][row][: data[f"{case}_nfe"][row]].tolist()
        yield Case(described["options"], prompt, sequence[len(prompt) :], sequence, rows)
