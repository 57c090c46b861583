"""Every family's INT8 artifact beside what its authors' code computes in FP32, and its decoding.

Differences are told in standard deviations of the golden logits, which random weights leave without
margins. Measured were, at most and on average, 0.83 and 0.066 with biases (Qwen2), and 1.12 and
0.083 with norms of queries and keys (Qwen3), which stretch a small head, and what rounding did to
it, to the size of the others; bounds are twice that. Logits of another model are off by 1 on
average.
"""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Artifact, Decoder
from dawn_runtime.engine import Engine, open_engine
from support.golden_families import MASK, TOLD, forward_of, step

ExportedFamily = Callable[..., Path]

BIASED, NORMED = (1.7, 0.13), (2.3, 0.17)
BOUNDS = {
    "a2d-qwen2": BIASED,
    "a2d-qwen3": NORMED,
    "open-dcoder": BIASED,
    "coda": NORMED,
    "sdar": NORMED,
    "fast-dllm-v2": BIASED,
    "wedlm-qwen25": BIASED,
    "wedlm-qwen3": NORMED,
}
"""Golden checkpoint -> largest and mean difference of logits, in standard deviations of them."""

POLICIES = {
    "a2d-qwen2": "llada",
    "a2d-qwen3": "llada",
    "open-dcoder": "dream",
    "coda": "dream",
    "sdar": "sdar",
    "fast-dllm-v2": "sdar",
    "wedlm-qwen25": "wedlm",
    "wedlm-qwen3": "wedlm",
}
NAMES = pytest.mark.parametrize("name", TOLD)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, exported_family: ExportedFamily) -> Any:
    artifact = Artifact.open(exported_family(request.param, "int8"))
    with closing(open_engine(artifact, "auto", threads=1)) as opened:
        yield opened


ENGINES = pytest.mark.parametrize(("name", "engine"), [(n, n) for n in TOLD], indirect=["engine"])


def differences(found: Any, expected: Any) -> tuple[float, float]:
    """Largest and mean one, in standard deviations; the graph never predicts the mask."""
    others = np.arange(expected.shape[-1]) != MASK
    off = np.abs(found[..., others] - expected[..., others]) / expected[..., others].std()
    return float(off.max()), float(off.mean())


@ENGINES
def test_logits_are_within_what_rounding_does(name: str, engine: Engine) -> None:
    golden = forward_of(name)
    out = engine.run(step(golden["input_ids"], golden["position_ids"], golden["attention_mask"]))
    largest, mean = differences(out.logits, golden["logits"])
    assert 0 < largest < BOUNDS[name][0]
    assert 0.01 < mean < BOUNDS[name][1]
    # What a wrong model would be off by: the same numbers, of other tokens.
    assert differences(out.logits, golden["logits"][..., ::-1])[1] > 10 * mean


@ENGINES
def test_rows_fed_over_cached_keys_are_rounded_alike(name: str, engine: Engine) -> None:
    golden = forward_of(name)
    ids, positions = golden["input_ids"], golden["position_ids"]
    mask = np.broadcast_to(np.tri(ids.shape[1], dtype=bool), golden["attention_mask"].shape)
    whole = engine.run(step(ids, positions, mask)).logits
    first = engine.run(step(ids[:, :16], positions[:, :16], mask[:, :16, :16])).present
    rest = engine.run(step(ids[:, 16:], positions[:, 16:], mask[:, 16:], tuple(first))).logits
    assert max(differences(rest, whole[:, 16:])) < 1e-4


@NAMES
def test_the_schemes_of_the_families_run_to_their_end(
    name: str, exported_family: ExportedFamily
) -> None:
    with Decoder.open(exported_family(name, "int8"), threads=1) as decoder:
        result = decoder.generate(
            input_ids=list(range(10, 21)), max_new_tokens=40, stop_at_eos=False, fallback_length=0
        )
    assert result.policy == POLICIES[name]
    assert result.finish_reason == "length"
    assert len(result.tokens) == 40
    assert MASK not in result.tokens
    assert {commit.position for commit in result.trace} >= set(range(11, 51))
