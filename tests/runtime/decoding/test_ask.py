"""The worked example at the top of `decoding/ask.py`, executed."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from dawn_runtime import Blocks, OnePerStep, Prefix
from dawn_runtime.decoding import Ask, Kept, Packer, RowState, Unmask, ask
from dawn_runtime.decoding.caches import FullPass
from dawn_runtime.decoding.schemes.unmask import Past
from dawn_runtime.engine.fake import FakeEngine
from support.decoding import MANIFEST, MASK, batch_of, commit

GIVEN = (11, 12, 13, 14, 15, 16)
ROWS = [0, 1, 2, 3, 4, 5]
BLOCK = (6, 10)
SCHEME = Unmask(OnePerStep(), Blocks(4), Prefix())


def row_of_ten(shift: int) -> RowState:
    return RowState.begin(np.array(GIVEN), 4, MASK, shift=shift)


def second_step(shift: int) -> RowState:
    """17 stands at position 7, and the keys of rows 0 to 5 were kept."""
    row = commit(row_of_ten(shift), [7], 17, 0.5)
    kept = Kept.empty(10, np.array(ROWS)).renewed(np.array(ROWS), np.array(GIVEN))
    return replace(row, kept=kept, memory=Past(full=FullPass(BLOCK, 0)))


def asked(row: RowState) -> Ask:
    (one,) = SCHEME.ask(row)
    return one


@dataclass(frozen=True)
class Said:
    """What the docstring says of a cached step."""

    tokens: list[int]
    positions: list[int]
    kept: list[int]
    predict: list[int]


SAID = {
    0: Said([MASK, 17, MASK, MASK], [6, 7, 8, 9], [0, 1, 2, 3, 4, 5], [0, 2, 3]),
    1: Said([16, MASK, 17, MASK, MASK], [5, 6, 7, 8, 9], [0, 1, 2, 3, 4], [0, 2, 3]),
}


@pytest.mark.parametrize(("shift", "predict"), [(0, [6, 7, 8, 9]), (1, [5, 6, 7, 8])])
def test_the_first_step_feeds_everything(shift: int, predict: list[int]) -> None:
    first = asked(row_of_ten(shift))
    assert first.tokens.tolist() == [*GIVEN, *[MASK] * 4]
    assert first.positions.tolist() == list(range(10))
    assert first.predict.tolist() == predict
    assert first.kept.size == 0
    assert first.store.tolist() == ROWS
    assert first.sees is None


@pytest.mark.parametrize("shift", [0, 1])
def test_the_next_step_feeds_the_block_and_looks_at_the_slots(shift: int) -> None:
    said, second = SAID[shift], asked(second_step(shift))
    assert second.tokens.tolist() == said.tokens
    assert second.positions.tolist() == said.positions
    assert second.kept.tolist() == said.kept
    assert second.predict.tolist() == said.predict
    assert second.store.size == 0
    columns = len(second.kept) + len(second.tokens)
    assert columns == 10
    looked_at = [*np.array(ROWS)[second.kept], *second.positions]
    assert sorted(looked_at) == list(range(10)), "every position once"


@pytest.mark.parametrize("shift", [0, 1])
def test_a_batch_comes_to_the_same_asks(shift: int) -> None:
    """As in the example but for what the fake model commits and where."""
    batch = batch_of(FakeEngine(MANIFEST), [row_of_ten(shift)], SCHEME)
    batch.step()
    row, said = batch.row(0), SAID[shift]
    (committed,) = row.trace()
    second = asked(row)
    assert second.positions.tolist() == said.positions
    assert second.kept.tolist() == said.kept
    predicted = second.positions[second.predict] + shift
    assert predicted.tolist() == [p for p in range(6, 10) if p != committed.position]
    assert row.kept is not None
    assert row.kept.positions.tolist() == ROWS
    inputs = Packer(0).pack([second], (np.zeros((1, 1, 6, 2), np.float32),) * 2)
    assert inputs.attention_mask.shape == (1, 1, len(said.tokens), 6 + len(said.tokens))
    assert inputs.attention_mask[0, 0].sum(axis=1).tolist() == [10] * len(said.tokens)


def test_the_docstring_says_these_numbers() -> None:
    text = " ".join((ask.__doc__ or "").split())
    assert "position 0 1 2 3 4 5 6 7 8 9 token 11 12 13 14 15 16 _ _ _ _" in text
    assert "predict 6 7 8 9 (shift 0) 5 6 7 8 (shift 1)" in text
    assert "it commits 17 at position 7" in text
    assert "`store` was rows 0 to 5" in text
    for shift, said in SAID.items():
        tokens = shown("_" if token == MASK else token for token in said.tokens)
        line = f"shift {shift} tokens {tokens} positions {shown(said.positions)}"
        assert f"{line} kept {shown(said.kept)} predict {shown(said.predict)}" in text
        assert f"columns {len(said.kept)} + {len(said.tokens)} = 10" in text


def shown(numbers: object) -> str:
    return " ".join(map(str, numbers))  # type: ignore[call-overload]
