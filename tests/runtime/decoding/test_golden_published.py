"""CLAD, Conv, DAPD, dInfer, DSB, Prophet and Streaming-dLLM decode what the authors' code decodes.

`tests/data/golden/*/rules_b.npz` holds what their code made of six prompts (64 new tokens, weights
with and without sharp predictions): tokens, runs, rows fed, and for most cases the ids that entered
each run. Only rows that came out the same in FP64 are compared.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Dapd, Decoder, Result, RowView, Threshold, Unmask
from dawn_runtime.decoding import Blocks, ConvDrawn, Credit, NoCache, Prophet, RowState, Scheme
from dawn_runtime.engine import StepInputs, StepOutputs
from dawn_runtime.policies import Needs
from support.decoding import batch_of, finished, states
from support.golden import GOLDEN, MASK, NumpyEngine, scheme_decoder

FOLDERS = ("llada-sharp", "llada-random", "dream-sharp", "dream-random")
DAPD_LAYERS = 10
"""The last 30 % of 32."""

LONG = 18
"""Runs of an answer above which fewer prompts are decoded, to be quick."""

LEFT_OUT = {
    "conv": "see below: its draws are recorded",
    "conv_k1_eos": "the same",
    "dapd_direct_scaled": "see below: its confidences round to 1 in one order of summing",
}
ENDING = ("dinfer_early_stop", "streaming_eos")
"""Cases with an end token, which stop when its block is full."""


def golden_of(folder: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / folder / "rules_b.npz") as file:
        return {name: file[name] for name in file.files}


def options_of(folder: str, case: str) -> dict[str, Any]:
    cases: dict[str, dict[str, Any]] = json.loads((GOLDEN / folder / "rules_b.json").read_text())[
        "cases"
    ]
    return cases[case]


CASES = [
    (folder, case)
    for folder in FOLDERS
    for case in json.loads((GOLDEN / folder / "rules_b.json").read_text())["cases"]
    if case not in LEFT_OUT and case not in ENDING and case != "prophet_constrained"
]


@dataclass(frozen=True, slots=True)
class FirstOfFullPass(Threshold):
    """DSB with its cache, for Dream: a full pass decides the first position of the window alone.

    Its memory is how many positions were decided before the last full pass, and whether this is it.
    """

    name = "first-of-full-pass"  # type: ignore[misc]
    needs = Needs(history=True)  # type: ignore[misc]
    refresh: int = 16

    def remember(self, view: RowView) -> tuple[int, bool]:
        before: tuple[int, bool] | None = view.memory
        if before is None or view.decided - before[0] >= self.refresh:
            return view.decided, True
        return before[0], False

    def select(self, view: RowView) -> np.ndarray:
        chosen: np.ndarray = Threshold.select(self, view)
        return view.candidates[:1] if view.memory[1] else chosen


def settings_of(folder: str, case: str) -> dict[str, Any]:
    """The options of a case under our names."""
    given = options_of(folder, case)
    block, rule = given.get("block_length"), case.partition("_")[0]
    if rule == "clad":
        even = "sequence" if folder.startswith("dream") else "window"
        options = {"threshold": given["threshold"], "even_over": even}
        return {"policy": "clad", "options": options, "block_length": block}
    if rule == "conv":
        options = {"width": block, "strength": given["conv_mult"], "steps": given["steps"]}
        return {"policy": "conv", "options": options}
    if rule == "dapd":
        options = {"variant": given["alg"].removeprefix("dapd_"), "tau_certain": 1.0}
        options |= {"tau_min": given["tau_min"], "tau_max": given["tau_max"]}
        return {"policy": "dapd", "options": options, "block_length": block}
    if rule == "dsb":
        reach = "growing" if given["max_block_length"] == -1 else "fixed"
        window = f"sliding:block_length={block},reach={reach}"
        plain = {"policy": Threshold(given["threshold"]), "window": window}
        if not given.get("use_cache"):
            return plain
        cached = {**plain, "cache": f"trailing:refresh={block},before={given['prefix_window']}"}
        opens = FirstOfFullPass(given["threshold"], refresh=block)
        return {**cached, "policy": opens} if folder.startswith("dream") else cached
    if rule == "streaming":
        opening = "first" if folder.startswith("dream") else "threshold"
        options = {"threshold": given["threshold"], "alpha": given["confidence_alpha"]}
        window = f"pruned:near={given['window_size']}"
        options |= {"opening": opening}
        return {"policy": rule, "options": options, "window": window, "block_length": block}
    if rule == "prophet":
        return {"policy": rule, "options": prophet_options(given), "block_length": block}
    return dinfer_settings(given)


def prophet_options(given: dict[str, Any]) -> dict[str, Any]:
    limits = given["early_exit_thresholds"]
    options = {"steps": given["steps"], "answer_start": given["answer_offset"], "answer_length": 5}
    return options | {"early": limits["early"], "middle": limits["mid"], "late": limits["late"]}


def dinfer_settings(given: dict[str, Any]) -> dict[str, Any]:
    options = {"threshold": 1.0 if given["threshold"] is None else given["threshold"]}
    if given["decoder"] == "hierarchy":
        options["low_threshold"] = given["low_threshold"]
    elif given["decoder"] == "credit":
        names = {"credit_alpha": "alpha", "boost_gamma": "gamma", "decay_beta": "decay"}
        options |= {ours: given[theirs] for theirs, ours in names.items()}
    return {
        "policy": given["decoder"],
        "options": options,
        "block_length": given["block_length"],
    }


@cache
def decoder_of(folder: str, *, dapd: bool = False) -> Decoder:
    return scheme_decoder(folder, DAPD_LAYERS) if dapd else scheme_decoder(folder)


def entering(result: Result, prompt: np.ndarray) -> np.ndarray:
    """The ids that entered each run, [forwards, L]."""
    ids = np.concatenate([prompt, np.full(64, MASK)])
    states = np.tile(ids, (result.forwards, 1))
    for commit in result.trace:
        states[commit.step + 1 :, commit.position] = commit.token
    return states


@pytest.mark.parametrize(("folder", "case"), CASES, ids=lambda part: part)
def test_a_rule_decodes_what_the_authors_code_decodes(folder: str, case: str) -> None:
    golden = golden_of(folder)
    assert golden[f"{case}_stable"].all()
    few = 2 if golden[f"{case}_nfe"].max() > LONG else None  # the first two of the six
    prompts = golden["prompts"][:few].astype(np.int64)
    decoder = decoder_of(folder, dapd=case.startswith("dapd"))
    results = decoder.generate_batch(
        list(prompts), max_new_tokens=64, stop_at_eos=False, **settings_of(folder, case)
    )
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result.tokens, golden[case][number, prompts.shape[1] :])
        if case == "dinfer_threshold_unroll":  # looks at a block after every fourth run only
            assert result.forwards <= golden[f"{case}_nfe"][number]
            continue
        assert result.forwards == golden[f"{case}_nfe"][number]
        assert result.rows_fed == golden[f"{case}_rows"][number].sum()
        if f"{case}_states" in golden:
            states = golden[f"{case}_states"][number, : result.forwards]
            np.testing.assert_array_equal(entering(result, prompts[number]), states)


@pytest.mark.parametrize(
    ("folder", "case"),
    [
        ("llada-sharp", "dinfer_early_stop"),
        ("llada-sharp", "streaming_eos"),
        ("dream-sharp", "streaming_eos"),
    ],
)
def test_an_end_token_ends_an_answer_where_it_ends_that_of_the_authors(
    folder: str, case: str
) -> None:
    """Theirs decides the rest of the block too, so ours may take fewer runs."""
    golden, given = golden_of(folder), options_of(folder, case)
    end = given.get("eos_id", given.get("eos"))
    prompts = golden["prompts"].astype(np.int64)
    results = decoder_of(folder).generate_batch(
        list(prompts), max_new_tokens=64, stop_at_eos=False, **settings_of(folder, case)
    )
    ended = 0
    for number, result in enumerate(results):
        expected = golden[case][number, prompts.shape[1] :]
        hits = np.flatnonzero(expected == end)
        last = len(expected)
        if hits.size:
            block = given["block_length"]
            last = int(hits[0]) // block * block + block
            assert (expected[last:] == end).all()
            ended += 1
        np.testing.assert_array_equal(result.tokens[:last], expected[:last])
        runs = 1 + max(commit.step for commit in result.trace if commit.position < 20 + last)
        assert runs == golden[f"{case}_nfe"][number]
    assert ended >= 3


def test_prophet_keeps_given_tokens_and_counts_them_as_decided() -> None:
    case = "prophet_constrained"
    golden, given = golden_of("llada-sharp"), options_of("llada-sharp", case)
    prompts = golden["prompts"].astype(np.int64)
    rows = []
    for prompt in prompts:
        ids = np.concatenate([prompt, np.full(64, MASK)])
        for offset, token in given["constraints"].items():
            ids[len(prompt) + int(offset)] = token
        rows.append(RowState.fill(ids, len(prompt), MASK))
    scheme = Prophet(**prophet_options(given), window=Blocks(given["block_length"]))
    batch = finished(batch_of(decoder_of("llada-sharp")._engine, rows, scheme))
    for number, row in enumerate(batch.rows.values()):
        np.testing.assert_array_equal(row.ids, golden[case][number])
        assert row.step == golden[f"{case}_nfe"][number]


class InLanes(NumpyEngine):
    """With logits times three, and softmax summed as a vector unit does: eight running sums.

    DAPD takes p = 1 as certain, which is p rounded: whether all other tokens together are lost
    beside the best is a matter of the order in which they are added.
    """

    def run(self, inputs: StepInputs) -> StepOutputs:
        outputs = super().run(replace(inputs, want_logits=True))
        assert outputs.logits is not None
        logits = outputs.logits * np.float32(3)
        weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
        lanes = np.add.accumulate(weights.reshape(*weights.shape[:-1], -1, 8), axis=-2)[..., -1, :]
        while lanes.shape[-1] > 1:
            left, right = np.split(lanes, 2, axis=-1)
            lanes = left + right
        return replace(outputs, confidence=1 / lanes[..., 0], logits=None)


def test_dapd_takes_for_certain_what_rounds_to_one_where_the_authors_code_does() -> None:
    golden, case = golden_of("llada-sharp"), "dapd_direct_scaled"
    given = options_of("llada-sharp", case)
    policy = Dapd("direct", tau_min=given["tau_min"], tau_max=given["tau_max"], tau_certain=1.0)
    rows = [RowState.begin(prompt, 64, MASK) for prompt in golden["prompts"][:2].astype(np.int64)]
    scheme = Unmask(policy, Blocks(given["block_length"]), NoCache())
    batch = finished(batch_of(InLanes("llada", "sharp", DAPD_LAYERS), rows, scheme))
    for number, row in enumerate(batch.rows.values()):
        np.testing.assert_array_equal(row.ids, golden[case][number])
        assert row.step == golden[f"{case}_nfe"][number]


@dataclass(frozen=True, slots=True)
class Recorded(ConvDrawn):
    """With the draws of the authors' run."""

    name = "recorded"  # type: ignore[misc]
    recorded: Any = None

    def draws(self, step: int, positions: np.ndarray, count: int) -> np.ndarray:
        found: np.ndarray = self.recorded[step, positions, :count].astype(np.float64)
        return found


def recorded(case: str, number: int) -> Recorded:
    given = options_of("llada-sharp", case)
    options = {"width": given["block_length"], "strength": given["conv_mult"]}
    options |= {"steps": given["steps"], "top_k": given["k"]}
    options |= {"eos_fill": given["eos_id"]} if given.get("eos_fill") else {}
    return Recorded(**options, recorded=golden_of("llada-sharp")[f"{case}_random"][number])


@pytest.mark.parametrize("case", ["conv", "conv_k1_eos"])
def test_conv_draws_what_the_authors_code_draws(case: str) -> None:
    """Theirs runs all its steps even where end tokens have filled the answer."""
    golden = golden_of("llada-sharp")
    assert golden[f"{case}_stable"].all()
    prompts = golden["prompts"].astype(np.int64)
    rows = [RowState.begin(prompt, 64, MASK) for prompt in prompts]
    schemes: list[Scheme] = [recorded(case, number) for number in range(len(rows))]
    batch = batch_of(decoder_of("llada-sharp")._engine, rows, schemes)
    for step, now in enumerate(states(batch)):
        for number, row in enumerate(now):
            if row.step == step + 1:
                after = [*golden[f"{case}_states"][number], golden[case][number]][step + 1]
                np.testing.assert_array_equal(row.ids, after)
    for number, row in enumerate(batch.rows.values()):
        np.testing.assert_array_equal(row.ids, golden[case][number])
        assert row.step == (golden[f"{case}_states"][number] == MASK).any(axis=1).sum()


def test_credit_chooses_what_the_authors_code_chooses_step_by_step() -> None:
    golden = np.load(GOLDEN / "llada-random" / "selector_dinfer_credit.npz")
    meta = json.loads((GOLDEN / "llada-random" / "selector_dinfer_credit.json").read_text())
    names = {"credit_alpha": "alpha", "boost_gamma": "gamma", "decay_beta": "decay"}
    raised = 0
    for series, options in enumerate(meta["options"]):
        given = {ours: options[theirs] for theirs, ours in names.items()}
        scheme = Credit(threshold=options["threshold"], **given, window=Blocks(32))
        ids = golden["ids"][series].astype(np.int64)
        row = RowState.fill(ids[0], 0, meta["mask_id"])
        for step, stored in enumerate(golden["logits"][series]):
            logits = stored.astype(np.float32)
            (ask,) = scheme.ask(row)
            answer = answer_of(ask, logits[ask.predict])
            decision = scheme.decide(row, (answer,))
            plain = dict(zip(ask.note.predicted.tolist(), answer.confidence.tolist(), strict=True))
            raised += sum(plain[it] < options["threshold"] for it in decision.commit.tolist()) > 1
            row = row.advance(
                decision.commit,
                decision.tokens,
                decision.confidence,
                np.zeros(0, dtype=np.int64),
                memory=decision.memory,
            )
            np.testing.assert_array_equal(row.ids, ids[step + 1])
            if row.finished:
                break
    assert raised > 3, "credits must let through what is not sure enough without them"


def answer_of(ask: Any, logits: np.ndarray) -> Any:
    """What an engine makes of these logits."""
    from dawn_runtime.decoding import Answer

    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return Answer(
        ask,
        logits.argmax(axis=1),
        1 / weights.sum(axis=1),
        np.zeros((0, len(ask.tokens)), dtype=np.float32),
        logits=logits,
    )
