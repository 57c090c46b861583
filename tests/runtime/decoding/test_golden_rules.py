"""The samplers of LLaDA and Dream, and EB, decode what the authors' code decodes, step by step.

`tests/data/golden/*/rules_a.npz` holds what their code made of six prompts (64 new tokens): for
each case the tokens, the number of runs of the model, and for each token the last run that saw it
undecided. Beside them every state of `selector_eb` and of the schedule of Dream.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, Dream, Eb, Llada, Result, RowView
from dawn_runtime.arrays import IntArray
from dawn_runtime.measures import entropy_of
from dawn_runtime.policies.dream import times, with_time
from support.golden import GOLDEN, scheme_decoder

MakeView = Callable[..., RowView]
FOLDERS = ("llada-sharp", "llada-random", "dream-sharp", "dream-random")
PROMPT, NEW = 20, 64
EOS, EOT = 134, 23
"""What stood for the end tokens of LLaDA when the data was made."""

_SAME = ("alg", "gamma", "remasking", "steps")


@cache
def golden(folder: str) -> dict[str, np.ndarray]:
    return dict(np.load(GOLDEN / folder / "rules_a.npz"))


def options_of(folder: str) -> dict[str, dict[str, Any]]:
    cases: dict[str, dict[str, Any]] = json.loads((GOLDEN / folder / "rules_a.json").read_text())[
        "cases"
    ]
    return cases


CASES = [(folder, case) for folder in FOLDERS for case in options_of(folder)]
DRAWN = ("llada_random", "dream_origin")
decoder_of = cache(scheme_decoder)


def settings_of(case: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a case under our names."""
    block = options.get("block_length", NEW)
    given: dict[str, Any] = {"policy": case.split("_")[0], "stop_at_eos": False}
    given["options"] = {key: options[key] for key in options if key in _SAME}
    if options.get("confidence_eos_eot_inf"):
        given["options"] |= {"eos": EOS, "eot": EOT}
    if options.get("logits_eos_inf"):
        given["forbid"] = EOS
    given["window"] = "single" if block == NEW else f"blocks:block_length={block}"
    return {**given, "max_new_tokens": NEW}


def forwards_of(result: Result) -> IntArray:
    """The number of the run that decided each token."""
    found = np.full(NEW, -1)
    for commit in result.trace:
        found[commit.position - result.prompt_tokens] = commit.step
    return found


def check(folder: str, case: str, number: int, result: Result) -> None:
    """The same tokens, decided together in the same order, and no run more.

    Runs of theirs that decided nothing are none of ours: they change nothing.
    """
    data = golden(folder)
    np.testing.assert_array_equal(result.tokens, data[case][number])
    useful, forward = np.unique(data[f"{case}_forward"][number], return_inverse=True)
    np.testing.assert_array_equal(forwards_of(result), forward)
    assert result.forwards == len(useful) <= data[f"{case}_nfe"][number]


@pytest.mark.parametrize(
    ("folder", "case"), [pair for pair in CASES if pair[1] not in DRAWN], ids=lambda part: part
)
def test_a_rule_decodes_what_the_authors_code_decodes(folder: str, case: str) -> None:
    settings = settings_of(case, options_of(folder)[case])
    decoder: Decoder = decoder_of(folder)
    results = decoder.generate_batch(list(golden(folder)["prompts"].astype(int)), **settings)
    for number, result in enumerate(results):
        check(folder, case, number, result)


@dataclass(frozen=True, slots=True)
class RecordedLlada(Llada):
    """Draws what the authors' code drew: numbers of each step and token."""

    numbers: Any = None

    def draws(self, step: int, positions: IntArray) -> np.ndarray:
        drawn: np.ndarray = self.numbers[step, positions - PROMPT]
        return drawn


@dataclass(frozen=True, slots=True)
class RecordedDream(Dream):
    """Draws times that have the same effect as the coins that the authors' code threw."""

    numbers: Any = None

    def draws(self, positions: IntArray) -> np.ndarray:
        drawn: np.ndarray = self.numbers[positions - PROMPT]
        return drawn


def times_of(coins: np.ndarray, steps: int) -> np.ndarray:
    """For each token a time within the step in which its coin falls, [NEW].

    Args:
        coins: [steps, NEW] one for each undecided token from left to right in every step.
        steps: How many.
    """
    found, undecided, moments = np.empty(NEW), np.arange(NEW), times(steps, 1e-3)
    for step, (begin, end) in enumerate(pairwise(moments)):
        chance = 1 - end / begin if step < steps - 1 else 1.0
        falls = coins[step, : len(undecided)] < chance
        found[undecided[falls]] = (begin + end) / 2
        undecided = undecided[~falls]
    assert not undecided.size
    return found


@pytest.mark.parametrize("number", range(6))
def test_random_remasking_decodes_the_same_from_the_same_numbers(number: int) -> None:
    data = golden("llada-sharp")
    policy = RecordedLlada(16, "random", numbers=data["llada_random_random"][number])
    settings = {"window": "blocks:block_length=32", "max_new_tokens": NEW, "stop_at_eos": False}
    prompt = data["prompts"][number].astype(int)
    result = decoder_of("llada-sharp").generate(input_ids=prompt, policy=policy, **settings)
    check("llada-sharp", "llada_random", number, result)


@pytest.mark.parametrize("number", range(6))
def test_the_original_sampler_of_dream_decodes_the_same_from_the_same_coins(number: int) -> None:
    data = golden("dream-sharp")
    numbers = times_of(data["dream_origin_random"][number], 16)
    policy = RecordedDream("origin", 16, numbers=numbers)
    settings = {"window": "single", "max_new_tokens": NEW, "stop_at_eos": False}
    prompt = data["prompts"][number].astype(int)
    result = decoder_of("dream-sharp").generate(input_ids=prompt, policy=policy, **settings)
    check("dream-sharp", "dream_origin", number, result)


def test_every_schedule_of_dream_is_that_of_the_authors_code() -> None:
    """18 numbers of steps times 5 of masks."""
    data, begin = np.load(GOLDEN / "dream-random" / "schedule_dream.npz"), 0
    for steps, masks in zip(data["steps"].tolist(), data["masks"].tolist(), strict=True):
        counts = data["counts"][begin : begin + steps]
        begin += steps
        np.testing.assert_array_equal(np.diff(with_time(masks, steps, 1e-3), prepend=0), counts)
    assert begin == len(data["counts"])
    assert len(data["steps"]) == 90


def test_eb_chooses_what_the_reference_chooses_in_every_state(make_view: MakeView) -> None:
    data = np.load(GOLDEN / "llada-random" / "selector_eb.npz")
    sizes = set()
    for logits, masked, gamma, selected in zip(
        data["logits"].astype(np.float32),
        data["masked"],
        data["gamma"].tolist(),
        data["selected"],
        strict=True,
    ):
        length = len(masked)
        entropy = entropy_of(logits)
        view = make_view(np.ones(length), np.eye(length), masked, (0, length), entropy=entropy)
        assert Eb(gamma).select(view).tolist() == np.flatnonzero(selected).tolist()
        sizes.add(int(selected.sum()))
    assert len(data["gamma"]) == 88
    assert len(sizes) > 8
