"""Single states of the authors' own selection functions: CLAD, Conv, DAPD and dInfer."""

import json
from typing import Any

import numpy as np

from dawn_runtime import Dapd, Policy, RowView, Threshold
from dawn_runtime.policies import Clad, Conv, Hierarchy
from support.golden import GOLDEN, probability_of_best

FOLDER = GOLDEN / "llada-random"


def selector(name: str) -> tuple[dict[str, np.ndarray], Any]:
    with np.load(FOLDER / f"selector_{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    return arrays, json.loads((FOLDER / f"selector_{name}.json").read_text())


def state_of(confidence: np.ndarray, masked: np.ndarray, attention: Any = None) -> RowView:
    """A row that is one window."""
    positions = np.arange(len(masked))
    return RowView(
        candidates=np.flatnonzero(masked),
        masked=masked,
        window=(0, len(masked)),
        tokens=positions,
        confidence=confidence.astype(np.float32),
        attention=np.zeros((0, len(masked)), np.float32) if attention is None else attention,
        attention_rows=positions if attention is not None else positions[:0],
        attention_keys=positions,
        step=0,
        predicted=positions,
    )


def same(policy: Policy, view: RowView, selected: np.ndarray) -> bool:
    return sorted(policy.select(view).tolist()) == np.flatnonzero(selected).tolist()


def test_clad_keeps_the_clusters_that_the_authors_code_keeps() -> None:
    """Two of the states have no candidate, which cannot be where the best always is one."""
    golden, _ = selector("clad")
    count = 0
    for attention, ready, selected in zip(
        golden["attention"], golden["candidates"], golden["selected"], strict=True
    ):
        if ready.any():
            view = state_of(ready, np.ones(len(ready), dtype=bool), attention)
            assert same(Clad(0.5), view, selected)
            count += 1
    assert count == 58


def test_conv_takes_the_scores_that_the_authors_code_takes() -> None:
    golden, _ = selector("conv")
    for number, selected in enumerate(golden["selected"]):
        masked, count = golden["masked"][number], int(golden["k"][number])
        view = state_of(golden["confidence"][number], masked)
        rule = Conv(int(golden["kernel"][number]), float(golden["conv_mult"][number]))
        best = np.argsort(-rule.scores(view), kind="stable")[:count]
        found = np.sort(view.candidates[best]).tolist()
        assert found == np.flatnonzero(selected).tolist(), number


def test_dapd_chooses_what_the_authors_code_chooses() -> None:
    golden, meta = selector("dapd")
    for number, options in enumerate(meta):
        masked = golden["masked"][number]
        rule = Dapd(options["alg"][5:], options["tau_min"], options["tau_max"], tau_certain=1.0)
        view = state_of(golden["confidence"][number], masked, golden["attention"][number])
        # The generation is longer than the row of the state: the part decided is told apart.
        total, remaining = options["gen_length"], options["remaining"]
        open_ = int(masked.sum())
        decided = open_ * (total - remaining) / remaining
        view = RowView(**{**fields_of(view), "decided": decided})
        assert same(rule, view, golden["selected"][number]), number


def fields_of(view: RowView) -> dict[str, Any]:
    return {name: getattr(view, name) for name in RowView.__slots__}


def test_threshold_and_hierarchy_choose_what_dinfer_chooses() -> None:
    golden, meta = selector("dinfer")
    kinds = set()
    for number, options in enumerate(meta):
        threshold = 1.0 if options["threshold"] is None else options["threshold"]
        rule: Policy = Threshold(threshold)
        if options["decoder"] == "hierarchy":
            rule = Hierarchy(threshold, options["low_threshold"])
        logits = golden["logits"][number].astype(np.float32)
        view = state_of(probability_of_best(logits), golden["masked"][number])
        assert same(rule, view, golden["selected"][number]), number
        kinds.add(options["decoder"])
    assert kinds == {"threshold", "hierarchy"}
