"""The mask is never the token that a graph returns, however probable it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dawn_export import ExportOptions, export
from dawn_models.transformer import argmax_in_blocks
from dawn_runtime import Artifact, StepInputs, StepOutputs, open_engine
from support.checkpoints import write_checkpoint


def run(folder: Path) -> StepOutputs:
    """Two rows of random tokens, all fed and asked for."""
    ids = np.random.default_rng(0).integers(0, 37, (2, 24))
    rows, mask = np.tile(np.arange(24), (2, 1)), np.ones((2, 1, 24, 24), dtype=bool)
    engine = open_engine(Artifact.open(folder), threads=1)
    found = engine.run(StepInputs(ids, rows, mask, rows, rows, want_logits=True))
    engine.close()
    return found


@pytest.mark.parametrize(
    ("dialect", "precision"), [("fused", "fp32"), ("portable", "fp16"), ("fused", "int8")]
)
def test_a_graph_returns_the_best_other_token_with_its_own_probability(
    dialect: str, precision: str, tmp_path: Path
) -> None:
    options = ExportOptions(dialect=dialect, precision=precision, evidence_layers=1)
    export(write_checkpoint(tmp_path / "first", "dream"), tmp_path / "a", options)
    ids, counts = np.unique(run(tmp_path / "a").tokens, return_counts=True)
    favourite = int(ids[counts.argmax()])
    checkpoint = write_checkpoint(tmp_path / "second", "dream", mask_token_id=favourite)
    export(checkpoint, tmp_path / "b", options)
    found = run(tmp_path / "b")
    assert found.logits is not None
    logits = found.logits.astype(np.float64)
    assert (logits.argmax(axis=-1) == favourite).any()
    others = np.where(np.arange(40) == favourite, -np.inf, logits)
    np.testing.assert_array_equal(found.tokens, others.argmax(axis=-1))
    shares = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    best = np.take_along_axis(shares, found.tokens[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.confidence, best, rtol=1e-4)


@given(
    vocabulary=st.sampled_from([1, 2, 7, 40, 509, 1024, 1018]),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_the_lowest_of_the_best_others_is_found_in_any_block(
    vocabulary: int, seed: int, data: st.DataObject
) -> None:
    barred = data.draw(st.integers(0, vocabulary - 1))
    # Few distinct values, so that there are ties, with the index that is left out among them.
    values = np.random.default_rng(seed).integers(0, 4, (3, 2, vocabulary)).astype(np.float32)
    values[0, 0, barred] = 9
    found = argmax_in_blocks(torch.from_numpy(values), barred).numpy()
    expected = np.where(np.arange(vocabulary) == barred, -np.inf, values).argmax(axis=-1)
    np.testing.assert_array_equal(found, expected)
