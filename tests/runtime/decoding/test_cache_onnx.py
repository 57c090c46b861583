"""Kept keys on a real transformer: what the runtime assumes of the exported graph holds."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dawn_runtime import (
    Artifact,
    Decoder,
    Dual,
    Engine,
    Prefix,
    StepInputs,
    StepOutputs,
    open_engine,
)
from dawn_runtime.decoding import Blocks, Cache, Kept, Packer, RowState, Unmask
from dawn_runtime.decoding.caches import FullPass
from dawn_runtime.decoding.schemes.unmask import Past
from dawn_runtime.policies import Dawn
from support.decoding import commit
from support.golden import GOLDEN

CLOSE = 1e-5
LENGTH, WINDOW, BLOCK = 84, (36, 52), 16


@pytest.fixture(scope="module", params=["dream", "llada"])
def opened(
    request: pytest.FixtureRequest, exported: Callable[..., Path]
) -> Iterator[tuple[Artifact, Engine]]:
    artifact = Artifact.open(exported(request.param))
    engine = open_engine(artifact, threads=1)
    yield artifact, engine
    engine.close()


def half_decoded(family: str, shift: int) -> RowState:
    """A golden prompt whose first block and half of the second are decided."""
    golden = np.load(GOLDEN / f"{family}-random" / "decode.npz")
    row = RowState.begin(golden["prompts"][0], LENGTH - 20, 254, shift=shift)
    decided = np.array([*range(20, 36), *range(37, 52, 2)])
    return commit(row, decided, golden["threshold"][0][decided], 1)


def both_passes(
    opened: tuple[Artifact, Engine], cache: Cache
) -> tuple[Kept, list[tuple[StepInputs, StepOutputs]]]:
    """Runs a full pass and then a cached one over the same tokens."""
    artifact, engine = opened
    row = half_decoded(artifact.manifest.family, artifact.manifest.prediction_shift)
    packer, scheme = Packer(0), Unmask(Dawn(), Blocks(BLOCK), cache)
    (full,) = scheme.ask(row)
    inputs = packer.pack([full])
    outputs = engine.run(inputs)
    stored = full.positions[full.store]
    kept = Kept.empty(row.length, stored).renewed(stored, full.tokens[full.store])
    past = tuple(np.ascontiguousarray(array[:, :, full.store]) for array in outputs.present)
    memory = Past(full=FullPass(WINDOW, row.decided))
    (cached,) = scheme.ask(replace(row, kept=kept, memory=memory))
    inputs_cached = packer.pack([cached], past)
    views = [(inputs, outputs), (inputs_cached, engine.run(inputs_cached))]
    assert inputs_cached.input_ids.shape[1] < inputs.input_ids.shape[1]
    return kept, views


@pytest.mark.parametrize("cache", [Prefix(), Dual()], ids=lambda c: c.name)
def test_keys_of_the_same_tokens_give_what_a_full_pass_gives(
    opened: tuple[Artifact, Engine], cache: Cache
) -> None:
    kept, [(full_in, full), (cached_in, cached)] = both_passes(opened, cache)
    rows = np.searchsorted(full_in.position_ids[0], cached_in.position_ids[0])
    wanted = rows[cached_in.logit_rows[0]].tolist()
    places = [full_in.logit_rows[0].tolist().index(row) for row in wanted]
    np.testing.assert_array_equal(cached.tokens[0], full.tokens[0, places])
    assert np.abs(cached.confidence[0] - full.confidence[0, places]).max() < CLOSE
    keys = np.concatenate([kept.positions, cached_in.position_ids[0]])
    evidence = full.attention[0, rows[cached_in.attention_rows[0]]][:, keys]
    seen = cached_in.attention_mask[0, 0, 0]
    assert np.abs((cached.attention[0] - evidence)[:, seen]).max() < CLOSE
    assert (cached.attention[0, :, ~seen] == 0).all(), "keys of tokens that are fed again"


def test_order_of_kept_keys_does_not_matter(opened: tuple[Artifact, Engine]) -> None:
    _, [_, (inputs, expected)] = both_passes(opened, Dual())
    slots = inputs.past[0].shape[2]
    order = np.random.default_rng(0).permutation(slots)
    moved = np.concatenate([order, np.arange(slots, expected.attention.shape[2])])
    past = tuple(np.ascontiguousarray(array[:, :, order]) for array in inputs.past)
    mask = np.ascontiguousarray(inputs.attention_mask[..., moved])
    found = opened[1].run(replace(inputs, past=past, attention_mask=mask))
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    assert np.abs(found.confidence - expected.confidence).max() < CLOSE
    assert np.abs(found.attention - expected.attention[:, :, moved]).max() < CLOSE


def test_hidden_slots_do_not_matter(opened: tuple[Artifact, Engine]) -> None:
    _, [_, (inputs, expected)] = both_passes(opened, Dual())
    padded = tuple(np.pad(array, [(0, 0), (0, 0), (5, 0), (0, 0)]) for array in inputs.past)
    mask = np.pad(inputs.attention_mask, [(0, 0), (0, 0), (0, 0), (5, 0)])
    found = opened[1].run(replace(inputs, past=padded, attention_mask=mask))
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    assert np.abs(found.confidence - expected.confidence).max() < CLOSE


@pytest.mark.parametrize("policy", ["dawn", "threshold"])
def test_refresh_at_every_step_decodes_what_no_cache_decodes(
    policy: str, opened: tuple[Artifact, Engine]
) -> None:
    artifact, engine = opened
    decoder = Decoder(artifact.manifest, engine)
    exact, cached = (
        decoder.generate(
            input_ids=[7, 8, 9], max_new_tokens=32, block_length=16, policy=policy, cache=cache
        )
        for cache in ("none", "dual:refresh=1")
    )
    assert exact.trace == cached.trace


def test_dawn_with_a_cache_decides_every_position(opened: tuple[Artifact, Engine]) -> None:
    artifact, engine = opened
    result = Decoder(artifact.manifest, engine).generate(
        input_ids=[7, 8, 9], max_new_tokens=40, block_length=16, policy="dawn", cache="dual"
    )
    assert len({commit.position for commit in result.trace}) == len(result.trace)
    assert result.rows_fed < result.forwards * 43
