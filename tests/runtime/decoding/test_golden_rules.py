"""The samplers of LLaDA and Dream, and EB, decode what the authors' code decodes, step by step.

`tests/data/golden/*/rules_a.npz` holds what their code made of six prompts (64 new tokens): for
each case the tokens, the number of runs of the model, and for each token the last run that saw it
undecided. Beside them every state of `selector_eb` and of the schedule of Dream.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, Dream, Eb, Llada, Policy, Result, RowView
from dawn_runtime.arrays import IntArray
from dawn_runtime.measures import entropy_of
from dawn_runtime.policies import POLICIES, Budget, EntropyBound, guarded
from dawn_runtime.policies.dream import times, with_time
from support.golden import GOLDEN, scheme_decoder

FOLDERS = ("llada-sharp", "llada-random", "dream-sharp", "dream-random")
NEW = 64


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
    given["options"] = {key: value for key, value in options.items() if key != "block_length"}
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
