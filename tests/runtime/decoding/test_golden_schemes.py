"""WINO and FreeDave decode what the authors' code decodes, token for token and run for run.

`tests/data/golden/*/schemes.npz` holds what their code made of six prompts (64 new tokens, weights
with and without sharp predictions), `selector_*.npz` what its choices are in single states.
"""

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder
from dawn_runtime.decoding.schemes.wino import choose, doubted
from support.golden import GOLDEN, scheme_decoder

FOLDERS = ("llada-sharp", "llada-random", "dream-sharp", "dream-random")


def left_out(folder: str, case: str, options: dict[str, Any]) -> bool:
    """What we decode otherwise on purpose.

    The eager mode of FreeDave accepts drafts that its own check does not confirm; we have none.
    One token per step with a cache, for Dream: their loop has no row for the first position of a
    block and fills it from the full pass, as FreeDave does; ours feeds the row before the block in
    every step, so that the position is decided in its turn like any other.
    """
    return "eager_acceptance_mode" in options or (folder[:5] == "dream" and "base" in options)


CASES = [
    (folder, case)
    for folder in FOLDERS
    for case, options in json.loads((GOLDEN / folder / "schemes.json").read_text())["cases"].items()
    if not left_out(folder, case, options)
]


def settings_of(case: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a case under our names."""
    given: dict[str, Any] = {}
    if case.startswith("wino"):
        names = {"threshold": "threshold", "threshold_back": "revoke_threshold"}
        given["policy"] = "wino"
    else:
        names = {"draft_steps": "drafts", "confidence_threshold": "threshold"}
        given["policy"] = "one-per-step" if "base" in options else "freedave"
        given["cache"] = "dual" if options["dual_cache"] else "prefix"
    values = {names[key]: value for key, value in options.items() if key in names}
    return {**given, "options": values, "block_length": options["block_length"]}


decoder_of = cache(scheme_decoder)


@pytest.mark.parametrize(("folder", "case"), CASES, ids=lambda part: part)
def test_a_scheme_decodes_what_the_authors_code_decodes(folder: str, case: str) -> None:
    golden = np.load(GOLDEN / folder / "schemes.npz")
    options = json.loads((GOLDEN / folder / "schemes.json").read_text())["cases"][case]
    prompts = golden["prompts"][: len(golden[case])]
    decoder: Decoder = decoder_of(folder)
    results = decoder.generate_batch(
        list(prompts), max_new_tokens=64, stop_at_eos=False, **settings_of(case, options)
    )
    for number, result in enumerate(results):
        np.testing.assert_array_equal(result.tokens, golden[case][number, prompts.shape[1] :])
        assert result.forwards == golden[f"{case}_nfe"][number]
        assert result.rows_fed == golden[f"{case}_rows"][number].sum()


def test_what_wino_chooses_and_doubts_is_what_the_authors_code_does() -> None:
    golden = np.load(GOLDEN / "llada-random" / "selector_wino.npz")
    several = revoked = 0
    for state in range(len(golden["threshold"])):
        confidence, quality = golden["confidence"][state], golden["quality"][state]
        open_, accepted = np.flatnonzero(confidence > -np.inf), np.flatnonzero(quality < np.inf)
        threshold, most = float(golden["threshold"][state]), int(golden["max_accept"][state])
        chosen = open_[choose(confidence[open_], threshold, most)]
        assert chosen.tolist() == np.flatnonzero(golden["selected"][state]).tolist(), state
        if len(chosen) > 1:
            several += 1
            before = int(golden["previous_accepted"][state])
            back = float(golden["threshold_back"][state])
            taken_back = accepted[doubted(quality[accepted], back, before)]
            expected = np.flatnonzero(golden["revoked"][state])
            assert sorted(taken_back.tolist()) == expected.tolist(), state
            revoked += bool(expected.size)
        else:
            assert not golden["revoked"][state].any()
    assert several > 20
    assert revoked > 10
