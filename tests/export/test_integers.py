"""From numbers to small integers and back: known answers and bounds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dawn_export import ExportError
from dawn_export.quantization.integers import (
    block_size,
    dequantize,
    limit,
    pack_nibbles,
    quantize,
    scales,
    unpack_nibbles,
)

MATRICES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31), st.floats(-9, 9))


def matrix(rows: int, blocks: int, seed: int, magnitude: float) -> torch.Tensor:
    """Random values in blocks of 16, some of which are far larger than the others."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, 16 * blocks, generator=generator) * 2.0**magnitude
    values[torch.rand(values.shape, generator=generator) > 0.95] *= 50
    return values


def test_int8_uses_all_of_its_range() -> None:
    weight = torch.tensor([[127.0, -127.0, 63.6, 0.4, -0.6, 0.0]])
    scale = scales(weight, 8, 6, torch.float32)
    assert scale.tolist() == [[1.0]]
    assert quantize(weight, scale, 8).tolist() == [[127, -127, 64, 0, -1, 0]]


def test_int4_uses_seven_steps_on_either_side() -> None:
    weight = torch.tensor([[14.0, -14.0, 6.9, 1.0], [0.7, 0.35, -0.7, 0.05]])
    scale = scales(weight, 4, 2, torch.float32)
    torch.testing.assert_close(scale, torch.tensor([[2.0, 6.9 / 7], [0.1, 0.1]]))
    assert quantize(weight, scale, 4).tolist() == [[7, -7, 7, 1], [7, 4, -7, 0]]


def test_what_is_zero_stays_zero() -> None:
    weight = torch.zeros(2, 16)
    scale = scales(weight, 8, 16, torch.float16)
    assert scale.tolist() == [[1.0], [1.0]]
    assert not quantize(weight, scale, 8).any()


@given(MATRICES, st.sampled_from([4, 8]), st.sampled_from([torch.float32, torch.float16]))
def test_no_value_is_more_than_half_a_step_off(
    values: tuple[int, int, int, float], bits: int, dtype: torch.dtype
) -> None:
    weight = matrix(*values)
    scale = scales(weight, bits, 16, dtype)
    integers = quantize(weight, scale, bits)
    assert int(integers.abs().max()) <= limit(bits)
    steps = (dequantize(integers, scale) - weight).abs().view(len(weight), -1, 16)
    assert bool((steps <= scale.float().unsqueeze(-1) * 0.501).all())


@given(MATRICES)
def test_rounding_again_changes_nothing(values: tuple[int, int, int, float]) -> None:
    weight = matrix(*values)
    scale = scales(weight, 8, 16, torch.float32)
    integers = quantize(weight, scale, 8)
    assert torch.equal(quantize(dequantize(integers, scale), scale, 8), integers)


def test_beyond_the_range_is_clipped() -> None:
    scale = torch.tensor([[1.0]])
    assert quantize(torch.tensor([[500.0, -500.0]]), scale, 8).tolist() == [[127, -127]]
    assert quantize(torch.tensor([[500.0, -500.0]]), scale, 4).tolist() == [[7, -7]]


def test_the_first_of_two_nibbles_is_the_low_one() -> None:
    packed = pack_nibbles(torch.tensor([1, -2, -7, 7], dtype=torch.int8))
    assert packed.tolist() == [0xE1, 0x79]
    assert unpack_nibbles(packed, signed=True).tolist() == [1, -2, -7, 7]
    assert unpack_nibbles(packed, signed=False).tolist() == [1, 14, 9, 7]


@given(st.lists(st.integers(-8, 7), min_size=2, max_size=40).filter(lambda v: len(v) % 2 == 0))
def test_packed_integers_come_back(values: list[int]) -> None:
    integers = torch.tensor(values, dtype=torch.int8)
    assert torch.equal(unpack_nibbles(pack_nibbles(integers), signed=True), integers)


@pytest.mark.parametrize(
    ("width", "preferred", "expected"),
    [(896, None, 896), (896, 128, 128), (192, 128, 64), (48, 128, 16), (16, 32, 16)],
)
def test_blocks_are_as_large_as_the_width_allows(
    width: int, preferred: int | None, expected: int
) -> None:
    assert block_size("w", width, preferred) == expected


def test_a_width_without_blocks_is_refused() -> None:
    with pytest.raises(ExportError, match=r"weight head.weight: 40 input channels are no multiple"):
        block_size("head.weight", 40, 128)
