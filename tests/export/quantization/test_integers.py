"""From numbers to small integers and back: known answers and bounds."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dawn_export import ExportError
from dawn_export.quantization.integers import (
    block_size,
    dequantize,
    pack_nibbles,
    quantize,
    unpack_nibbles,
)
from dawn_export.quantization.scales import RATIOS, relative_sizes, scales

MATRICES = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31), st.floats(-9, 9))


def matrix(rows: int, blocks: int, seed: int, magnitude: float) -> torch.Tensor:
    """Random values in blocks of 16, some of which are far larger than the others."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, 16 * blocks, generator=generator) * 2.0**magnitude
    values[torch.rand(values.shape, generator=generator) > 0.95] *= 50
    return values


def square_errors(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Of every block of 16."""
    errors = dequantize(quantize(weight, scale, bits), scale) - weight
    return errors.view(len(weight), -1, 16).square().sum(dim=-1)


def test_int8_uses_all_of_its_range() -> None:
    weight = torch.tensor([[127.0, -127.0, 63.6, 0.4, -0.6, 0.0]])
    scale = scales(weight, 8, 6, torch.float32, negative=True)
    assert scale.tolist() == [[1.0]]
    assert quantize(weight, scale, 8).tolist() == [[127, -127, 64, 0, -1, 0]]


def test_int4_takes_the_scale_that_fits_its_block() -> None:
    # Multiples of 2 up to 7, multiples of 3 down to -8, and of 3 down to -8 in a mirror.
    weight = torch.tensor([[14.0, -14.0, 6.0, 2.0], [21, -24, 3, 9], [24, -21, -3, -9]])
    plain = scales(weight, 4, 4, torch.float32, negative=False)
    torch.testing.assert_close(plain[:2], torch.tensor([[2.0], [3.0]]))
    assert quantize(weight, plain, 4)[:2].tolist() == [[7, -7, 3, 1], [7, -8, 1, 3]]
    signed = scales(weight, 4, 4, torch.float32, negative=True)
    torch.testing.assert_close(signed, torch.tensor([[-2.0], [3.0], [-3.0]]))
    assert quantize(weight, signed, 4)[2].tolist() == [-8, 7, 1, 3]


def test_a_lone_large_value_is_clipped_where_that_serves_the_others() -> None:
    weight = torch.full((1, 32), 0.55).index_fill_(1, torch.tensor([3]), 8.0)
    scale = scales(weight, 4, 32, torch.float32, negative=False)
    # 31 * (0.9 - 0.55)^2 + (8 - 7 * 0.9)^2 = 6.7; with 8 / 7, which clips nothing, 9.4
    assert float(scale) == pytest.approx(0.9)


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_zero_stays_zero(bits: int) -> None:
    weight = torch.zeros(2, 16)
    scale = scales(weight, bits, 16, torch.float16, negative=True)
    assert scale.tolist() == [[1.0], [1.0]]
    assert not quantize(weight, scale, bits).any()


@given(MATRICES, st.sampled_from([torch.float32, torch.float16]))
def test_no_value_is_more_than_half_a_step_off_at_8_bits(
    values: tuple[int, int, int, float], dtype: torch.dtype
) -> None:
    weight = matrix(*values)
    scale = scales(weight, 8, 16, dtype, negative=False)
    integers = quantize(weight, scale, 8)
    assert int(integers.abs().max()) <= 127
    steps = (dequantize(integers, scale) - weight).abs().view(len(weight), -1, 16)
    assert bool((steps <= scale.float().unsqueeze(-1) * 0.501).all())


@given(MATRICES, st.sampled_from([torch.float32, torch.float16]), st.booleans())
def test_no_block_at_4_bits_is_worse_than_with_the_scale_that_clips_nothing(
    values: tuple[int, int, int, float], dtype: torch.dtype, negative: bool
) -> None:
    weight = matrix(*values)
    largest = weight.view(len(weight), -1, 16).abs().amax(dim=-1)
    scale = scales(weight, 4, 16, dtype, negative=negative)
    plain = (largest / 7).to(dtype)
    allowed = square_errors(weight, plain, 4) * 1.02 + 1e-9 * largest**2
    assert bool((square_errors(weight, scale, 4) <= allowed).all())
    lowest, highest = relative_sizes(4)
    ratio = scale.float().abs() / largest
    assert bool(((ratio > lowest * 0.998) & (ratio < highest * 1.002)).all())
    assert negative or bool((scale > 0).all())


@given(MATRICES)
def test_no_other_of_the_scales_that_are_tried_is_better(
    values: tuple[int, int, int, float],
) -> None:
    weight = matrix(*values)
    largest = weight.view(len(weight), -1, 16).abs().amax(dim=-1)
    found = square_errors(weight, scales(weight, 4, 16, torch.float32, negative=False), 4)
    for ratio in RATIOS:
        other = square_errors(weight, largest * (ratio / 8), 4)
        assert bool((found <= other * (1 + 1e-4) + 1e-9 * largest**2).all())


def test_a_search_in_parts_is_that_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = matrix(5, 3, 0, 0.0)
    whole = scales(weight, 4, 16, torch.float32, negative=True)
    monkeypatch.setattr("dawn_export.quantization.scales._VALUES", 96)
    assert torch.equal(scales(weight, 4, 16, torch.float32, negative=True), whole)


def test_searched_scales_with_signs_round_normal_values_better() -> None:
    weight = torch.randn(2000, 32, generator=torch.Generator().manual_seed(0))
    plain = weight.abs().amax(dim=-1, keepdim=True) / 7
    found = {False: 0.0, True: 0.0}
    for negative in found:
        scale = scales(weight, 4, 32, torch.float32, negative=negative)
        error = dequantize(quantize(weight, scale, 4), scale) - weight
        found[negative] = float(error.norm() / weight.norm())
    before = float((dequantize(quantize(weight, plain, 4), plain) - weight).norm() / weight.norm())
    assert found[True] < found[False] < before
    assert math.isclose(before, 0.097, abs_tol=0.001)
    assert math.isclose(found[False], 0.087, abs_tol=0.001)
    assert math.isclose(found[True], 0.082, abs_tol=0.001)


@given(MATRICES)
def test_rounding_again_changes_nothing(values: tuple[int, int, int, float]) -> None:
    weight = matrix(*values)
    scale = scales(weight, 8, 16, torch.float32, negative=False)
    integers = quantize(weight, scale, 8)
    assert torch.equal(quantize(dequantize(integers, scale), scale, 8), integers)


def test_beyond_the_range_is_clipped() -> None:
    scale = torch.tensor([[1.0]])
    assert quantize(torch.tensor([[500.0, -500.0]]), scale, 8).tolist() == [[127, -127]]
    assert quantize(torch.tensor([[500.0, -500.0]]), scale, 4).tolist() == [[7, -8]]


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
