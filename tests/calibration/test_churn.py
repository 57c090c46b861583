"""How answers change from one artifact to another, by hand."""

from typing import Any

import numpy as np
import pytest

from dawn_calibration.compare.churn import churn_of, divergence
from dawn_runtime import Commit, Decoder, Result
from dawn_runtime.engine.fake import FakeEngine, fake_manifest


def result_of(*steps: dict[int, int]) -> Result:
    """An answer behind two tokens, of which each step decided some: position -> token."""
    from dataclasses import replace

    manifest = fake_manifest()
    made: Any = Decoder(manifest, FakeEngine(manifest)).generate(input_ids=[1], max_new_tokens=1)
    trace = tuple(
        Commit(number, position, token, 0.5)
        for number, step in enumerate(steps)
        for position, token in sorted(step.items())
    )
    tokens = [token for _, token in sorted((c.position, c.token) for c in trace)]
    return replace(made, tokens=np.array(tokens, dtype=np.int64), trace=trace)


A = result_of({2: 5}, {3: 6, 4: 7}, {5: 8})


@pytest.mark.parametrize(
    ("other", "step"),
    [
        (result_of({2: 5}, {3: 6, 4: 7}, {5: 8}), None),
        (result_of({2: 5}, {4: 7, 3: 6}, {5: 9}), 2),  # another token
        (result_of({2: 5}, {3: 6}, {4: 7}, {5: 8}), 1),  # the same tokens, later
        (result_of({3: 6}, {2: 5, 4: 7}, {5: 8}), 0),  # in another order
        (result_of({2: 5}, {3: 6, 4: 7}), 2),  # it ends earlier
    ],
)
def test_the_first_step_that_decides_otherwise(other: Result, step: int | None) -> None:
    assert divergence(A, other) == divergence(other, A) == step


def test_changes_are_counted_over_answers() -> None:
    same, late = result_of({2: 5}, {3: 6, 4: 7}, {5: 8}), result_of({2: 5}, {3: 6}, {4: 7}, {5: 8})
    wrong = result_of({2: 5}, {3: 6, 4: 7}, {5: 9})
    judged = ([True, True, False, True], [True, False, True, False])
    found = churn_of([A, A, A, A], [same, wrong, late, wrong], judged)
    assert found.changed == 0.5
    assert found.equal_tokens == pytest.approx((1 + 0.75 + 1 + 0.75) / 4)
    assert found.diverged == 0.75
    assert found.first_divergence == 2  # of 2, 1 and 2
    assert (found.lost, found.gained) == (0.5, 0.25)
    plain = churn_of([A], [same])
    assert (plain.first_divergence, plain.lost, plain.gained) == (None, None, None)
