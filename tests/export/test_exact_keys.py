"""Keys that are kept of finished text are those of a prefill of that text, within 1e-5."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Artifact, Blocks, Decoder, Dual, NoCache, Single, Threshold
from dawn_runtime.arrays import BoolArray, IntArray
from dawn_runtime.decoding import Batch, Causal, Packer, RowState, Scheme
from dawn_runtime.decoding.schemes import Autoregressive, LinearSpeculation
from dawn_runtime.decoding.schemes.block_causal import BlockCausal
from dawn_runtime.decoding.schemes.causal_rows import CausalRows
from dawn_runtime.engine import Engine, StepInputs, open_engine
from dawn_runtime.policies import Sdar, Wedlm

ExportedFamily = Callable[..., Path]
MASK = 254
HALF = Threshold(0.5)


def causal(length: int) -> BoolArray:
    return np.tri(length, dtype=bool)


def in_blocks(size: int, offset: int = 0) -> Callable[[int], BoolArray]:
    def mask(length: int) -> BoolArray:
        numbers = (np.arange(length) + offset) // size
        return numbers[None] <= numbers[:, None]

    return mask


CASES: dict[str, tuple[str, Any, Callable[[int], BoolArray], int]] = {
    "wedlm": ("wedlm-qwen3", CausalRows(Wedlm(0.8), Blocks(8), Causal()), causal, 0),
    "one at a time": ("wedlm-qwen25", CausalRows(HALF, Blocks(1), Causal()), causal, 0),
    "sdar": ("sdar", BlockCausal(Sdar(0.5), Single(), Causal(), block_length=4), in_blocks(4), 0),
    "from the prompt": (
        "a2d-qwen3",
        BlockCausal(HALF, Single(), Causal(), block_length=16, origin="prompt"),
        in_blocks(16, 6),
        0,
    ),
    "carried": (
        "fast-dllm-v2",
        BlockCausal(HALF, Blocks(4), Causal(), block_length=16, carry=True),
        in_blocks(16),
        1,
    ),
    "block cache": (
        "fast-dllm-v2",
        BlockCausal(HALF, Blocks(4), Dual(), block_length=16, carry=True),
        in_blocks(16),
        1,
    ),
    "over causal text": (
        "wedlm-qwen3",
        BlockCausal(HALF, Single(), Causal(), block_length=8, carry=True, causal=True),
        causal,
        0,
    ),
    "autoregressive": ("wedlm-qwen3", Autoregressive(), causal, 0),
    "speculation": ("wedlm-qwen3", LinearSpeculation(8), causal, 0),
}


def step(ids: IntArray, mask: BoolArray) -> StepInputs:
    rows = np.arange(len(ids))[None]
    return StepInputs(
        ids[None], rows, mask[None, None], rows[:, :0], rows[:, :0], want_present=True
    )


def prefill(engine: Engine, ids: IntArray, mask: BoolArray) -> tuple[Any, ...]:
    return engine.run(step(ids, mask)).present


@pytest.mark.parametrize("case", CASES)
def test_kept_keys_are_those_of_a_prefill(case: str, exported_family: ExportedFamily) -> None:
    name, scheme, mask, shift = CASES[case]
    prompt = np.arange(10, 36)
    row = RowState.begin(prompt, 40, MASK, shift=shift, length=scheme.length(26, 66))
    compared = 0
    with closing(open_engine(Artifact.open(exported_family(name)), "auto", threads=1)) as engine:
        packer = Packer.for_engine(0, engine.describe())
        batch = Batch(engine, packer, max_rows=1, max_tokens=row.length)
        key = batch.admit(row, scheme)
        while batch.active:
            batch.step()
            now = batch.row(key)
            count = scheme.text_keys(now)
            if now.kept is None or count <= compared:
                continue
            slots = now.kept.slots(np.arange(count))
            kept = [array[:, :, slots].copy() for array in batch._memory.read([key])]
            for found, expected in zip(
                kept, prefill(engine, now.ids[:count], mask(count)), strict=True
            ):
                np.testing.assert_allclose(found, expected, atol=1e-5)
            compared = count
    assert compared > 40


@pytest.mark.parametrize(
    ("case", "kv"),
    [
        *((case, "float") for case in ("wedlm", "sdar", "carried", "over causal text")),
        *(("speculation", kv) for kv in ("float", "int8")),
        ("wedlm", "int8"),
    ],
)
def test_with_the_cache_the_answer_is_that_of_computing_everything_anew(
    case: str, kv: str, exported_family: ExportedFamily
) -> None:
    name, scheme, _, shift = CASES[case]
    artifact = Artifact.open(exported_family(name, kv=kv))
    with closing(open_engine(artifact, "auto", threads=1)) as engine:
        found = [answer(engine, one, shift) for one in (scheme, replace(scheme, cache=NoCache()))]
    assert found[0].tolist() == found[1].tolist()


def answer(engine: Engine, scheme: Scheme, shift: int) -> IntArray:
    prompt = np.arange(40, 60)
    row = RowState.begin(prompt, 30, MASK, shift=shift, length=scheme.length(20, 50))
    batch = Batch(engine, Packer.for_engine(0, engine.describe()), max_rows=1, max_tokens=99)
    key = batch.admit(row, scheme)
    while batch.active:
        batch.step()
    return batch.leave(key).answer


def test_an_answer_over_kept_text_in_bytes_is_that_of_reading_it_anew(
    exported_family: ExportedFamily,
) -> None:
    folder, ids = exported_family("wedlm-qwen3", kv="int8"), list(range(40, 60))
    settings: dict[str, Any] = {"max_new_tokens": 12, "stop_at_eos": False}
    with Decoder.open(folder, threads=1, prefix_bytes=10**6) as decoder:
        first, second = (decoder.generate(input_ids=ids, **settings) for _ in range(2))
    assert (first.reused_tokens, second.reused_tokens) == (0, len(ids))
    assert first.tokens.tolist() == second.tokens.tolist()
