"""Ids that are never predicted have no logit in a graph and are not chosen, however likely."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dawn_export import ExportOptions, export
from dawn_models import families
from dawn_models.transformer import bar, best_in_blocks, entropy_of
from dawn_runtime import Artifact, EngineError, StepInputs, StepOutputs, open_engine
from support.checkpoints import write_checkpoint

MEASURED = {"want_logits": True, "want_entropy": True, "want_margin": True}


def whole() -> StepInputs:
    """Two rows of random tokens, all fed and asked for."""
    ids = np.random.default_rng(0).integers(0, 37, (2, 24))
    rows, mask = np.tile(np.arange(24), (2, 1)), np.ones((2, 1, 24, 24), dtype=bool)
    return StepInputs(ids, rows, mask, rows, rows, **MEASURED)


def run(folder: Path) -> StepOutputs:
    engine = open_engine(Artifact.open(folder), threads=1)
    found = engine.run(whole())
    engine.close()
    return found


def assert_follows(found: StepOutputs, own: np.ndarray, barred: list[int]) -> None:
    """What may not be predicted is not; the rest is said of the model's own distribution."""
    expected = own.astype(np.float64)
    expected[..., barred] = -np.inf
    np.testing.assert_array_equal(found.logits, expected)
    np.testing.assert_array_equal(found.tokens, expected.argmax(axis=-1))
    logs = own - np.log(np.exp(own.astype(np.float64)).sum(axis=-1, keepdims=True))
    best = np.take_along_axis(logs, found.tokens[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.confidence, np.exp(best), rtol=1e-4)
    np.testing.assert_allclose(found.entropy, -(np.exp(logs) * logs).sum(axis=-1), atol=1e-5)
    second, first = np.sort(expected, axis=-1)[..., -2:].transpose(2, 0, 1)
    np.testing.assert_allclose(found.margin, first - second, atol=1e-5)


@pytest.mark.parametrize(
    ("dialect", "precision"), [("fused", "fp32"), ("portable", "fp16"), ("fused", "int8")]
)
def test_a_graph_bars_what_it_would_predict(
    dialect: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ExportOptions(dialect=dialect, precision=precision, evidence_layers=1)
    export(write_checkpoint(tmp_path / "first", "dream"), tmp_path / "a", options)
    before = run(tmp_path / "a")
    ids, counts = np.unique(before.tokens, return_counts=True)
    first, second = (int(number) for number in ids[np.argsort(-counts)][:2])
    # The favourite becomes the mask, and the family forbids the next.
    family = replace(families.FAMILIES["Dream"], forbidden=(second,))
    monkeypatch.setitem(families.FAMILIES, "Dream", family)
    checkpoint = write_checkpoint(tmp_path / "second", "dream", mask_token_id=first)
    export(checkpoint, tmp_path / "b", options)
    assert Artifact.open(tmp_path / "b").manifest.tokens.forbidden == tuple(sorted((first, second)))
    after = run(tmp_path / "b")
    assert before.logits is not None
    assert after.logits is not None
    # Same weights: what one graph bars, the other shows.
    own = np.maximum(before.logits, after.logits)
    assert np.isfinite(own).all()
    assert_follows(before, own, [39])
    assert_follows(after, own, sorted((first, second)))


@pytest.mark.parametrize("family", ["dream", "llada"])
@pytest.mark.parametrize("dialect", ["fused", "portable"])
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_a_step_may_predict_nothing(
    family: str, dialect: str, precision: str, tmp_path: Path
) -> None:
    options = ExportOptions(dialect=dialect, precision=precision, evidence_layers=1)
    wide = (
        {"hidden_size": 32, "intermediate_size": 32}
        if family == "dream"
        else {"d_model": 32, "mlp_hidden_size": 32}
    )
    tied = {"tie_word_embeddings": True} if family == "dream" else {}
    export(write_checkpoint(tmp_path / "c", family, **wide, **tied), tmp_path / "a", options)
    engine = open_engine(Artifact.open(tmp_path / "a"), threads=1)
    inputs = replace(whole(), want_present=True)
    full, none = engine.run(inputs), np.zeros((2, 0), dtype=np.int64)
    for evidence in (inputs.attention_rows, none):
        found = engine.run(replace(inputs, logit_rows=none, attention_rows=evidence))
        for name in ("tokens", "confidence", "entropy", "margin"):
            assert getattr(found, name).shape == (2, 0)
        assert found.logits is not None
        assert found.logits.shape == (2, 0, 40)
        assert found.attention.shape == (2, evidence.shape[1], 24)
        for kept, expected in zip(found.present, full.present, strict=True):
            np.testing.assert_array_equal(kept, expected)
    engine.close()


def test_a_graph_for_tensorrt_measures_nothing_and_says_so(tmp_path: Path) -> None:
    options = ExportOptions(target="tensorrt", precision="fp32", evidence_layers=1)
    export(write_checkpoint(tmp_path / "c", "dream"), tmp_path / "a", options)
    artifact = Artifact.open(tmp_path / "a")
    assert not artifact.manifest.step.measures
    engine = open_engine(artifact, "onnxruntime-cpu", threads=1)
    plain = engine.run(replace(whole(), want_entropy=False, want_margin=False))
    assert (plain.entropy, plain.margin) == (None, None)
    with pytest.raises(EngineError, match="asked for entropy and margin of predictions, but"):
        engine.run(whole())
    engine.close()


@given(
    vocabulary=st.sampled_from([1, 2, 7, 40, 509, 1021, 1024, 1018]),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_the_lowest_of_the_best_and_the_second_are_found_in_any_block(
    vocabulary: int, seed: int, data: st.DataObject
) -> None:
    barred = sorted(data.draw(st.sets(st.integers(0, vocabulary - 1), min_size=1, max_size=3)))
    # Few distinct values, so that there are ties, with what is left out among them.
    values = np.random.default_rng(seed).integers(0, 4, (3, 2, vocabulary)).astype(np.float32)
    values[0, 0, barred] = 9
    rows = torch.zeros(3, 2, dtype=torch.int64)
    logits = bar(torch.from_numpy(values), rows, tuple(barred))
    expected = np.where(np.isin(np.arange(vocabulary), barred), -np.inf, values)
    np.testing.assert_array_equal(logits.numpy(), expected)
    if len(barred) == vocabulary:
        return
    tokens, margin = best_in_blocks(logits)
    np.testing.assert_array_equal(tokens.numpy(), expected.argmax(axis=-1))
    ordered = np.sort(np.concatenate([expected, np.full((3, 2, 1), -np.inf)], axis=-1), axis=-1)
    np.testing.assert_array_equal(margin.numpy(), ordered[..., -1] - ordered[..., -2])
    assert np.isfinite(entropy_of(logits).numpy()).all()
