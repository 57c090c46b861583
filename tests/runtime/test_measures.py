"""Entropy and margin in NumPy equal their definitions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dawn_runtime.measures import entropy_of, margin_of

LOGITS = arrays(
    np.float32,
    st.tuples(st.integers(0, 3), st.integers(1, 6)),
    elements=st.one_of(st.floats(-30, 30, width=32), st.just(np.float32(-np.inf))),
).filter(lambda logits: np.isfinite(logits).any(axis=-1).all())


def test_the_worked_example_of_the_module() -> None:
    logits = np.array([[1, 1, 1], [2, 1, -np.inf]], dtype=np.float32)
    np.testing.assert_allclose(entropy_of(logits), [1.0986123, 0.5822029], rtol=1e-6)
    np.testing.assert_array_equal(margin_of(logits), [0, 1])


@given(LOGITS)
def test_they_equal_their_definitions(logits: np.ndarray) -> None:
    entropy, margin = entropy_of(logits), margin_of(logits)
    assert entropy.dtype == margin.dtype == np.float32
    for row, found, ahead in zip(logits, entropy, margin, strict=True):
        shares = np.exp(row.astype(np.float64) - row.max())
        shares /= shares.sum()
        expected = -sum(share * np.log(share) for share in shares if share)
        assert found == pytest.approx(expected, abs=1e-5)
        ordered = [*sorted(row.tolist(), reverse=True), -np.inf]
        assert ahead == np.float32(ordered[0]) - np.float32(ordered[1])


def test_one_that_is_certain_has_no_entropy_and_no_second() -> None:
    certain = np.array([[-np.inf, 3, -np.inf]], dtype=np.float32)
    assert entropy_of(certain).tolist() == [0]
    assert np.isposinf(margin_of(certain)).all()
    assert np.isposinf(margin_of(certain[:, 1:2])).all()
