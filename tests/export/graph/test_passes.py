"""The passes on graphs of a few nodes."""

import onnx_ir as ir
import pytest

from dawn_export.graph.passes import (
    copy_rows_whole,
    make_expands_static,
    make_reshapes_static,
    share_head,
    store_transposed,
)


def value(name: str, *shape: int | str) -> ir.Value:
    return ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(ir.DataType.FLOAT))


def graph_of(inputs: list[ir.Value], *nodes: ir.Node) -> ir.Graph:
    return ir.Graph(inputs, nodes[-1].outputs, nodes=nodes, opset_imports={"": 20}, name="test")


def reshape(source: tuple[int | str, ...], target: tuple[int | str, ...]) -> ir.Graph:
    x, sizes = value("x", *source), value("sizes", len(target))
    node = ir.node("Reshape", [x, sizes], {"allowzero": 1})
    node.outputs[0].name, node.outputs[0].shape = "y", ir.Shape(target)
    return graph_of([x, sizes], node)


@pytest.mark.parametrize(
    ("source", "target", "sizes"),
    [
        (("B", "S", 32), ("B", "S", 4, 8), [0, 0, 4, 8]),
        (("B", "S", 4, 8), ("B", "S", 32), [0, 0, 32]),
        (("B", 4, "S", 8), ("B", 2, "2*S", 8), [0, 2, -1, 8]),
        (("B", 4, "Q", 8), ("B", 2, "2*Q", 8), [0, 2, -1, 8]),
        (("B", 2, "2*Q", "P + S"), ("B", 4, "Q", "P + S"), [0, 4, -1, 0]),
        (("B", 4), (2, "2*B"), [2, -1]),
    ],
)
def test_reshapes_get_numbers_where_the_axes_are_known(
    source: tuple[int | str, ...], target: tuple[int | str, ...], sizes: list[int]
) -> None:
    graph = reshape(source, target)
    assert make_reshapes_static(graph) == 1
    (node,) = graph
    assert node.inputs[1] is not None
    assert node.inputs[1].const_value is not None
    assert node.inputs[1].const_value.numpy().tolist() == sizes
    assert node.attributes["allowzero"].as_int() == 0


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (("B", 8, "Q"), ("2*B", 4, "Q")),  # -1 beside an axis that may be empty
        (("B", "S", 8), ("S", "B", 8)),  # two axes would have to be worked out
    ],
)
def test_reshapes_keep_computed_sizes_where_numbers_could_fail(
    source: tuple[int | str, ...], target: tuple[int | str, ...]
) -> None:
    graph = reshape(source, target)
    assert make_reshapes_static(graph) == 0
    (node,) = graph
    assert node.inputs[1] is graph.inputs[1]


def test_reshapes_that_have_numbers_already_are_left_alone() -> None:
    graph = reshape(("B", "S", 8), ("B", "S", 8))
    assert make_reshapes_static(graph) == 1
    assert make_reshapes_static(graph) == 0


def expand(source: tuple[int | str, ...], target: tuple[int | str, ...]) -> ir.Graph:
    x, sizes = value("x", *source), value("sizes", len(target))
    node = ir.node("Expand", [x, sizes])
    node.outputs[0].name, node.outputs[0].shape = "y", ir.Shape(target)
    return graph_of([x, sizes], node)


@pytest.mark.parametrize(
    ("source", "target", "sizes"),
    [
        (("B", "Q", 1), ("B", "Q", 32), [1, 1, 32]),
        (("B", 1, "Q", 1), ("B", 4, "Q", 8), [1, 4, 1, 8]),
        (("Q", 1), ("Q", 8), [1, 8]),
        ((1,), (5, 8), [5, 8]),
    ],
)
def test_expansions_get_numbers_where_what_grows_is_fixed(
    source: tuple[int | str, ...], target: tuple[int | str, ...], sizes: list[int]
) -> None:
    graph = expand(source, target)
    assert make_expands_static(graph) == 1
    (node,) = graph
    assert node.inputs[1] is not None
    assert node.inputs[1].const_value is not None
    assert node.inputs[1].const_value.numpy().tolist() == sizes
    assert make_expands_static(graph) == 0


@pytest.mark.parametrize(("source", "target"), [(("B", 1), ("B", "S")), ((8,), ("B", 8))])
def test_expansions_along_a_dynamic_axis_are_left_alone(
    source: tuple[int | str, ...], target: tuple[int | str, ...]
) -> None:
    graph = expand(source, target)
    assert make_expands_static(graph) == 0
    assert next(iter(graph)).inputs[1] is graph.inputs[1]


def gathering(source: tuple[int | str, ...], rows: tuple[int | str, ...], axis: int) -> ir.Graph:
    """``GatherElements(x, Expand(rows))`` along an axis."""
    x, index, sizes = value("x", *source), value("rows", *rows), value("sizes", len(source))
    spread = ir.node("Expand", [index, sizes])
    picked = ir.node("GatherElements", [x, spread.outputs[0]], {"axis": axis})
    picked.outputs[0].name = "y"
    return graph_of([x, index, sizes], spread, picked)


@pytest.mark.parametrize(
    ("source", "rows", "axis", "batches", "repeats"),
    [
        (("B", "S", 16), ("B", "Q", 1), 1, 1, None),
        (("B", "S", "T"), ("B", "Q", 1), -2, 1, None),
        (("B", 4, "S", 8), ("B", 1, "Q", 1), 2, 2, [1, 4, 1, 1]),
    ],
)
def test_rows_are_copied_whole(
    source: tuple[int | str, ...],
    rows: tuple[int | str, ...],
    axis: int,
    batches: int,
    repeats: list[int] | None,
) -> None:
    graph = gathering(source, rows, axis)
    assert copy_rows_whole(graph) == 1
    node = graph.outputs[0].producer()
    assert node is not None
    assert node.op_type == "GatherND"
    assert node.attributes["batch_dims"].as_int() == batches
    index = node.inputs[1]
    assert index is not None
    if repeats is None:
        assert index is graph.inputs[1]
        return
    spread = index.producer()
    assert spread is not None
    assert spread.inputs[1] is not None
    assert spread.inputs[1].const_value is not None
    assert spread.inputs[1].const_value.numpy().tolist() == repeats


@pytest.mark.parametrize(
    ("source", "rows", "axis"),
    [
        (("B", "R", 6, 8), ("B", "R", 1, 1), -2),  # no batch where nothing is predicted
        (("B", "S", "T"), ("B", "Q", "T"), 1),  # an index for every number
        (("B", "S", 16), ("B", "Q", 1), 2),  # along the last axis
        (("B", "S", 16), (1, "Q", 1), 1),  # rows that all of a batch share
    ],
)
def test_what_picks_no_whole_rows_is_left_alone(
    source: tuple[int | str, ...], rows: tuple[int | str, ...], axis: int
) -> None:
    graph = gathering(source, rows, axis)
    assert copy_rows_whole(graph) == 0
    assert [node.op_type for node in graph] == ["Expand", "GatherElements"]


def test_a_weight_that_is_only_used_transposed_is_stored_transposed() -> None:
    x, weight = value("x", "B", 3), value("weight", 5, 3)
    turn = ir.node("Transpose", [weight], {"perm": [1, 0]})
    product = ir.node("MatMul", [x, turn.outputs[0]])
    graph = graph_of([x, weight], turn, product)
    assert store_transposed(graph, [weight]) == {"weight"}
    assert [node.op_type for node in graph] == ["MatMul"]
    assert product.inputs == (x, weight)
    assert weight.shape == ir.Shape([3, 5])


def test_a_weight_that_is_also_used_as_it_is_stays() -> None:
    x, weight = value("x", "B"), value("weight", 5, 3)
    rows = ir.node("Gather", [weight, x])
    turn = ir.node("Transpose", [weight], {"perm": [1, 0]})
    product = ir.node("MatMul", [rows.outputs[0], turn.outputs[0]])
    graph = graph_of([x, weight], rows, turn, product)
    assert store_transposed(graph, [weight]) == frozenset()
    assert len(graph) == 3


def test_unused_weights_and_vectors_are_not_turned() -> None:
    x, unused, scale = value("x", 3, 3), value("unused", 3, 3), value("scale", 3)
    graph = graph_of([x, unused, scale], ir.node("Mul", [x, scale]))
    assert store_transposed(graph, [unused, scale]) == frozenset()


def test_a_tied_head_becomes_a_gemm_that_reads_the_embedding() -> None:
    x, embedding = value("x", "B", "R", 3), value("embedding", 5, 3)
    turn = ir.node("Transpose", [embedding], {"perm": [1, 0]})
    product = ir.node("MatMul", [x, turn.outputs[0]])
    graph = graph_of([x, embedding], turn, product)
    share_head(graph, embedding)
    assert [n.op_type for n in graph] == ["Reshape", "Gemm", "Shape", "Concat", "Reshape"]
    assert embedding.consumers()[0].attributes["transB"].as_int() == 1
    assert graph.outputs[0].producer() is graph[-1]
