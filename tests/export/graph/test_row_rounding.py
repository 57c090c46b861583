"""Products whose rows are rounded by ranges of their own, as a graph of two products."""

from functools import cache
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from dawn_export.graph.passes import quantize_products
from dawn_export.quantization.schemes import ROWS
from dawn_export.weights.layout import SCALE, Layout

WIDTHS = {"wide.weight": (96, 160), "narrow.weight": (96, 48)}
"""Two products of the same rows, [in, out]; neither is a multiple of every kernel's tile."""

FLOAT = ir.TensorType(ir.DataType.FLOAT)


def value(name: str, *shape: int | str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=FLOAT)


@cache
def weights() -> dict[str, NDArray[Any]]:
    """Integers and scales by name."""
    random = np.random.default_rng(0)
    found: dict[str, NDArray[Any]] = {}
    for name, (width, out) in WIDTHS.items():
        found[name] = random.integers(-127, 128, (width, out), dtype=np.int8)
        found[f"{name}{SCALE}"] = (random.random(out) * 0.01 + 0.001).astype(np.float32)
    return found


@cache
def session() -> Any:
    """The products as the pass writes them, with weights in place."""
    x = value("x", "B", "S", 96)
    inputs = [value(name, *shape) for name, shape in WIDTHS.items()]
    products = [ir.node("MatMul", [x, weight]) for weight in inputs]
    for product, weight in zip(products, inputs, strict=True):
        product.outputs[0].name = str(weight.name).removesuffix(".weight")
        product.outputs[0].type = FLOAT
        product.outputs[0].shape = ir.Shape(["B", "S", WIDTHS[str(weight.name)][1]])
    outputs = [product.outputs[0] for product in products]
    graph = ir.Graph(
        [x, *inputs],
        outputs,
        nodes=products,
        opset_imports={"": 20, "com.microsoft": 1},
        name="products",
    )
    layouts = {name: Layout((name,), transposed=True) for name in WIDTHS}
    quantize_products(graph, layouts, lambda _: ROWS)
    for given in list(graph.inputs[1:]):
        graph.inputs.remove(given)
        given.const_value = ir.tensor(weights()[str(given.name)], name=given.name)
        graph.register_initializer(given)
    model = ir.serde.serialize_model(ir.Model(graph, ir_version=9))
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def run(rows: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Both products of rows [B, S, 96]."""
    found: list[NDArray[np.float32]] = session().run(None, {"x": rows})
    return found


@pytest.mark.parametrize("shape", [(1, 2), (1, 7), (3, 5), (8, 33)])
def test_a_row_gives_the_bits_it_gives_alone(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(sum(shape))
    rows = random.standard_normal((*shape, 96)).astype(np.float32)
    rows *= 10.0 ** random.integers(-3, 4, (*shape, 1))
    rows[0, 0], rows[-1, -1] = np.abs(rows[0, 0]), 0
    together = run(rows)
    for batch in range(shape[0]):
        for place in range(shape[1]):
            alone = run(rows[batch : batch + 1, place : place + 1])
            for one, all_ in zip(alone, together, strict=True):
                np.testing.assert_array_equal(one[0, 0], all_[batch, place])


@pytest.mark.parametrize("largest", [0.0, 1e-38, 1e-20, 1e30])
def test_rows_of_any_size_give_numbers(largest: float) -> None:
    rows = np.zeros((1, 2, 96), np.float32)
    rows[0, 0, :3] = largest, -largest, largest / 2
    for found, (name, _) in zip(run(rows), WIDTHS.items(), strict=True):
        assert np.isfinite(found).all()
        assert not found[0, 1].any(), "a row of zeros gives zeros"
        expected = rows[0, 0] @ (weights()[name] * weights()[f"{name}{SCALE}"])
        np.testing.assert_allclose(found[0, 0], expected, rtol=0.02, atol=0.01 * largest + 1e-30)


def test_products_are_as_near_as_rounding_to_a_127th_of_the_largest_allows() -> None:
    rows = np.random.default_rng(1).standard_normal((2, 9, 96)).astype(np.float32)
    for found, name in zip(run(rows), WIDTHS, strict=True):
        exact = rows @ (weights()[name] * weights()[f"{name}{SCALE}"])
        assert np.linalg.norm(found - exact) < 0.012 * np.linalg.norm(exact)
