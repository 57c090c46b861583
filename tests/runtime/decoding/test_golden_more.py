"""Info-Gain, the editing of LLaDA2.1 and guidance decode what the authors' code decodes.

`tests/data/golden/llada-sharp/rules_c.npz` holds what their code made of three or six prompts
(64 new tokens): tokens, runs, rows fed, random numbers; all came out the same in FP64.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest

from dawn_runtime.decoding import Blocks, RowState, Scheme
from dawn_runtime.decoding.schemes import Edit, InfoGain
from support.decoding import batch_of, finished
from support.golden import GOLDEN, MASK, scheme_decoder

FOLDER = GOLDEN / "llada-sharp"
PROMPT, NEW = 20, 64
END = 255
"""What was given as the end token of LLaDA2.1."""

FEW = 2
"""Prompts that are decoded here, to be quick."""

META: dict[str, Any] = json.loads((FOLDER / "rules_c.json").read_text())
decoder_of = cache(scheme_decoder)


@cache
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(FOLDER / "rules_c.npz"))


def decoded(scheme: Scheme, numbers: Sequence[int]) -> list[RowState]:
    """What a scheme makes of some of the prompts."""
    prompts = golden()["prompts"][list(numbers)].astype(np.int64)
    rows = [RowState.begin(prompt, NEW, MASK) for prompt in prompts]
    batch = finished(batch_of(decoder_of("llada-sharp")._engine, rows, scheme))
    return list(batch.rows.values())


@dataclass(frozen=True, slots=True)
class RecordedInfoGain(InfoGain):
    """With the numbers of the authors' run: a line for each candidate, as long as it was drawn."""

    name = "recorded"  # type: ignore[misc]
    recorded: Any = None

    def draws(self, step: int, positions: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.recorded[(int(positions[0]) - PROMPT) // 32, len(positions)]
        return found


def by_state(random: np.ndarray, candidates: int) -> dict[tuple[int, int], np.ndarray]:
    """Numbers by block and open positions of it, [candidates - 1, n]; both never come twice."""
    found: dict[tuple[int, int], np.ndarray] = {}
    block, last = 0, NEW
    for lines in random.reshape(-1, candidates - 1, NEW):
        count = int((lines[0] < 1).sum())
        block += count > last
        last = count
        found.setdefault((block, count), lines[:, :count].astype(np.float64))
    return found


def info_gain(case: str, number: int) -> RecordedInfoGain:
    options = META["cases"][case]
    return RecordedInfoGain(
        options["candidate_number"],
        options["position_temperature"],
        options["threshold"],
        options["variant"].replace("_", "-"),
        window=Blocks(options["block_size"]),
        recorded=by_state(golden()[f"{case}_random"][number], options["candidate_number"]),
    )


@pytest.mark.parametrize(("case", "saved"), [("info_gain", 1), ("lookum", 0)])
def test_info_gain_looks_at_and_takes_what_the_authors_code_does(case: str, saved: int) -> None:
    """The third prompt, where a block is filled at once in both.

    Theirs has a run more where a single position ends a block: the next block runs it again.
    """
    number = 2
    (row,) = decoded(info_gain(case, number), [number])
    np.testing.assert_array_equal(row.ids, golden()[case][number])
    assert row.step == golden()[f"{case}_nfe"][number] - saved
    assert row.fed == golden()[f"{case}_rows"][number].sum() - 84 * saved


@pytest.mark.parametrize("case", ["llada21_edit", "llada21_edit_more", "llada21_no_edit"])
def test_editing_decides_and_writes_over_what_the_authors_code_does(case: str) -> None:
    options = META["cases"][case]
    scheme = Edit(
        options["threshold"],
        options["editing_threshold"],
        options.get("num_to_transfer", 1),
        options["max_post_steps"],
        "blocks",
        Blocks(options["block_length"]),
    )
    numbers = (1, 4)
    for number, row in zip(numbers, decoded(scheme, numbers), strict=True):
        expected = golden()[case][number]
        # Their answer is cut at an end token, which this model predicts in one place.
        known = int(np.argmax([*(expected == END), True])) + 1
        np.testing.assert_array_equal(row.ids[:known], expected[:known])
        assert (expected[known:] == END).all()
        assert row.step == golden()[f"{case}_nfe"][number]
        assert row.fed == golden()[f"{case}_rows"][number].sum()


def test_guidance_decodes_what_the_sampler_of_llada_decodes_with_it() -> None:
    options = META["cases"]["llada_cfg"]
    prompts = golden()["prompts"][:FEW].astype(np.int64)
    results = decoder_of("llada-sharp").generate_batch(
        list(prompts),
        max_new_tokens=NEW,
        stop_at_eos=False,
        policy="llada",
        options={"steps": options["steps"]},
        block_length=options["block_length"],
        guidance=options["cfg_scale"],
    )
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result.tokens, golden()["llada_cfg"][number, PROMPT:])
        assert result.forwards == golden()["llada_cfg_nfe"][number]
        assert result.rows_fed == golden()["llada_cfg_rows"][number].sum()
