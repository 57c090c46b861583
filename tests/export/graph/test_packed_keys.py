"""Keys and values in bytes: the traced graph against plain NumPy, and what comes back."""

from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from dawn_export.graph.packed_keys import join_packed, packed, unpacked
from dawn_export.graph.pieces import Piece
from dawn_export.graph.tracing import trace
from dawn_models import KeyValue
from dawn_runtime import contract
from dawn_runtime.contract import TensorSpec
from support.packed_keys import groups_of, level_of, pack, scale_of, unpack

HEADS = 2
Array = NDArray[Any]

EDGES = [0.0, -0.0, 1e-45, -1e-38, 1e-30, 1e-12, 0.5, 1.0, -1.0, 127.0, 3e4, -65504.0, 2.6e5]
"""Of one group of 32, that all of them may be this large."""

NUMBERS = st.one_of(st.sampled_from(EDGES), st.floats(-200, 200, width=32))
KEYS = st.integers(1, 5).flatmap(
    lambda fed: arrays.arrays(np.float32, (1, HEADS, fed, 32), elements=NUMBERS, fill=NUMBERS)
)


class Join(nn.Module):
    """What a layer does with its keys and values, by itself."""

    def forward(
        self, key: Tensor, value: Tensor, past_key: Tensor, past_value: Tensor
    ) -> tuple[Tensor, ...]:
        kept, read = join_packed(KeyValue(past_key, past_value), KeyValue(key, value))
        return *kept, *read


@cache
def session(width: int, dtype: str = "float32", opset: int = 23) -> Any:
    """The graph of it."""
    new = (dtype, ("B", HEADS, "S", width))
    past = ("uint8", ("B", HEADS, "P", contract.kv_width(width, "uint8")))
    inputs = (
        *(TensorSpec(name, *new) for name in ("key", "value")),
        *(TensorSpec(f"past_{name}", *past) for name in ("key", "value")),
    )
    outputs = ("present_key", "present_value", "keys", "values")
    piece = Piece(Join(), inputs, outputs, (Join, width, dtype))
    with FakeTensorMode():
        graph = trace(piece, opset, "fused").graph
    for value, name in zip(graph.outputs, outputs, strict=True):
        value.name = name
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=9))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(key: Array, value: Array, past: tuple[Array, Array] | None = None) -> list[Array]:
    """What is kept of keys and values [B, heads, S, D], and what attention reads."""
    width = key.shape[-1]
    empty = np.zeros((len(key), HEADS, 0, contract.kv_width(width, "uint8")), np.uint8)
    old = (empty, empty) if past is None else past
    names = ("key", "value", "past_key", "past_value")
    feeds = dict(zip(names, (key, value, *old), strict=True))
    found: list[Array] = session(width, key.dtype.name).run(None, feeds)
    return found


def some(*shape: int, seed: int = 0) -> Array:
    """Numbers, some channels of them far larger than the others."""
    random = np.random.default_rng(seed)
    numbers = random.standard_normal(shape)
    numbers[..., ::29] *= 80
    return numbers.astype(np.float32)


@pytest.mark.parametrize("width", [32, 48, 64, 128])
def test_the_graph_keeps_and_reads_what_numpy_does(width: int) -> None:
    key, value, old = (some(2, HEADS, 5, width, seed=seed) for seed in range(3))
    past = (pack(old), pack(old[::-1]))
    found = run(key, value, past)
    for kept, numbers in zip(found[:2], (key, value), strict=True):
        np.testing.assert_array_equal(kept, pack(numbers))
        assert kept.shape[-1] == contract.kv_width(width, "uint8")
    for read, before, kept in zip(found[2:], past, found[:2], strict=True):
        np.testing.assert_array_equal(read, unpack(np.concatenate([before, kept], axis=2), width))


@pytest.mark.parametrize("width", [64])
def test_in_float16_numbers_are_rounded_once_more(width: int) -> None:
    key = some(1, HEADS, 4, width).astype(np.float16)
    kept, _, read, _ = run(key, key)
    np.testing.assert_array_equal(kept, pack(key))
    np.testing.assert_array_equal(read, unpack(kept, width).astype(np.float16))


def test_torch_and_numpy_agree() -> None:
    numbers = some(3, 4, 64)
    rows = packed(torch.from_numpy(numbers)).to(torch.uint8)
    np.testing.assert_array_equal(rows.numpy(), pack(numbers))
    np.testing.assert_array_equal(unpacked(rows, 64).numpy(), unpack(rows.numpy(), 64))


@given(keys=KEYS)
def test_edges_are_kept_as_numpy_keeps_them_and_come_back_within_half_a_step(keys: Array) -> None:
    kept, _, read, _ = run(keys, keys[..., ::-1].copy())
    np.testing.assert_array_equal(kept, pack(keys))
    np.testing.assert_array_equal(read, unpack(kept, 32))
    for numbers, back in zip(keys.reshape(-1, 32), read.reshape(-1, 32), strict=True):
        scale = float(scale_of(level_of(numbers)))
        assert np.abs(back.astype(np.float64) - numbers).max() <= scale * 0.5001
        largest = float(np.abs(numbers).max())
        assert largest * 0.99999 <= scale * 127 <= (largest**0.25 + 1 / 1024) ** 4 * 1.00001


@given(keys=KEYS, bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e30]), place=st.integers(0, 31))
def test_what_cannot_be_kept_spoils_what_is_read_and_nothing_else(
    keys: Array, bad: float, place: int
) -> None:
    clean = run(keys, keys)
    keys = keys.copy()
    keys[0, 0, 0, place] = bad
    spoiled = run(keys, keys)
    for read in (spoiled[2], run(keys, keys, (spoiled[0], spoiled[1]))[2]):  # fresh, then cached
        assert not np.isfinite(read[0, 0, 0]).any()
    for one, other in zip(spoiled, clean, strict=True):
        np.testing.assert_array_equal(one[0, 0, 1:], other[0, 0, 1:])
        np.testing.assert_array_equal(one[0, 1:], other[0, 1:])


def test_by_hand() -> None:
    numbers = np.zeros((1, 1, 1, 32), np.float32)
    numbers[..., :5] = 16, -16, 8, 0.0626, 0.063
    # The fourth root of 16 is 2: level 2048, scale 16 / 127 = 0.12598, half of it 0.06299.
    row = pack(numbers)[0, 0, 0]
    assert row[:6].tolist() == [255, 1, 192, 128, 129, 128]  # 8 is 63.5 steps, 64 is even
    assert row[32:].tolist() == [8, 0, 0, 0]
    assert level_of(numbers) == 2048
    # Nothing at all: the least level, so that zero is zero.
    assert pack(numbers * 0)[0, 0, 0].tolist() == [128] * 32 + [0, 1, 1, 1]
    assert not unpack(pack(numbers * 0), 32).any()


def test_an_outlier_costs_its_own_group_alone() -> None:
    numbers = some(1, 1, 1, 128) / 80
    numbers[..., 3] = 300
    back = unpack(pack(numbers), 128)
    wrong = np.abs(back - numbers)[0, 0, 0]
    assert wrong[:32].max() > 0.2
    assert wrong[32:].max() < 0.01
    assert [group.start for group in groups_of(128)] == [0, 32, 64, 96]


@pytest.mark.parametrize(
    ("width", "bytes_"), [(4, 8), (32, 36), (48, 52), (64, 68), (80, 84), (96, 104), (128, 136)]
)
def test_a_row_has_its_bytes_two_for_each_group_and_is_whole_words(width: int, bytes_: int) -> None:
    assert contract.kv_width(width, "uint8") == bytes_
    assert contract.kv_width(width, "float16") == width
