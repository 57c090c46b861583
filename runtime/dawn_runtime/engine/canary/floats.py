"""A layer in small: norm, rotation, grouped attention over cached and new keys; the head.

Heads and sizes are chosen so that every mistake of indexing shows: six heads share two key heads
(head 1 of 0, head 4 of 1), four keys are cached and three are new, both rows of the batch look at
other keys.
"""

from typing import Final

import numpy as np

from dawn_runtime.engine.canary.case import Array, Case, GraphWriter, waves

_BATCH, _FED, _PAST, _HEADS, _KV_HEADS, _WIDTH = 2, 3, 4, 6, 2, 16
_KEYS: Final = _PAST + _FED
_GROUP: Final = _HEADS // _KV_HEADS
_EPSILON: Final = 1e-6
_SCALE: Final = _WIDTH**-0.5
_VOCABULARY: Final = 24

_X: Final = waves(_BATCH, _FED, _HEADS * _WIDTH, step=1.73, scale=2.0)
_NORM: Final = 1 + waves(_HEADS * _WIDTH, step=0.9, scale=0.5)
_ANGLE: Final = waves(_BATCH, _FED, _WIDTH // 2, step=0.6, scale=3.0)
_PAST_KEY: Final = waves(_BATCH, _KV_HEADS, _PAST, _WIDTH, step=2.3, scale=1.5)
_NEW_KEY: Final = waves(_BATCH, _KV_HEADS, _FED, _WIDTH, step=1.1, scale=1.5)
_VALUE: Final = waves(_BATCH, _KV_HEADS, _KEYS, _WIDTH, step=2.9)
_MASK: Final = np.arange(_BATCH * _FED * _KEYS).reshape(_BATCH, 1, _FED, _KEYS) % 5 > 1


def fused(activations: str) -> Case:
    """`RMSNormalization`, `RotaryEmbedding` and `Attention` of opset 23."""
    graph = GraphWriter(activations)
    x, cos, sin = _opened(graph)
    normed = graph.node("RMSNormalization", x, graph.constant(_NORM), axis=-1, epsilon=_EPSILON)
    heads = graph.node("Reshape", normed, graph.constant(np.array([0, 0, _HEADS, _WIDTH])))
    turned = graph.node("Transpose", heads, perm=(0, 2, 1, 3))
    query = graph.node("RotaryEmbedding", turned, cos, sin, interleaved=0)
    new = graph.node("RotaryEmbedding", graph.input("new_key", _NEW_KEY), cos, sin, interleaved=0)
    keys = graph.node("Concat", graph.input("past_key", _PAST_KEY), new, axis=2)
    values, mask = graph.input("value", _VALUE), graph.input("mask", _MASK)
    mixed = graph.node("Attention", query, keys, values, mask, is_causal=0)
    graph.output("RMSNormalization", normed, _normed())
    graph.output("RotaryEmbedding", query, _rotated(_in_heads(_normed())))
    graph.output("Attention", mixed, _mixed())
    return graph.case(23, 11)


def plain(activations: str) -> Case:
    """The same and the head in operators that every graph has, of opset 20."""
    graph = GraphWriter(activations)
    x, cos, sin = _opened(graph)
    normed = _write_norm(graph, x)
    heads = graph.node("Reshape", normed, graph.constant(np.array([0, 0, _HEADS, _WIDTH])))
    turned = graph.node("Transpose", heads, perm=(0, 2, 1, 3))
    query = _write_rotation(graph, turned, cos, sin)
    new = _write_rotation(graph, graph.input("new_key", _NEW_KEY), cos, sin)
    keys = graph.node("Concat", graph.input("past_key", _PAST_KEY), new, axis=2)
    weights = _write_weights(graph, query, keys)
    grouped = graph.node("Reshape", weights, graph.constant(np.array([0, _KV_HEADS, -1, _KEYS])))
    mixed = graph.node("MatMul", grouped, graph.input("value", _VALUE))
    shape = graph.constant(np.array([0, _HEADS, -1, _WIDTH]))
    mean = graph.node("ReduceMean", weights, graph.constant(np.array([1])), keepdims=0)
    graph.output("normalisation", normed, _normed())
    graph.output("rotation", query, _rotated(_in_heads(_normed())))
    graph.output("grouped attention", graph.node("Reshape", mixed, shape), _mixed())
    graph.output("mean attention", mean, _weights().mean(axis=1))
    _write_head(graph, normed)
    return graph.case(20, 9)


def _opened(graph: GraphWriter) -> tuple[str, str, str]:
    x = graph.input("x", _X)
    return x, graph.input("cos", np.cos(_ANGLE)), graph.input("sin", np.sin(_ANGLE))


def _write_norm(graph: GraphWriter, x: str) -> str:
    two = graph.constant(np.array(2, np.float32))
    square = graph.node("Pow", x, two)
    mean = graph.node("ReduceMean", square, graph.constant(np.array([-1])), keepdims=1)
    tiny = graph.constant(np.array(_EPSILON, np.float32))
    root = graph.node("Sqrt", graph.node("Add", mean, tiny))
    return graph.node("Mul", graph.node("Div", x, root), graph.constant(_NORM))


def _write_rotation(graph: GraphWriter, x: str, cos: str, sin: str) -> str:
    axis = graph.constant(np.array([1]))
    cos, sin = (graph.node("Unsqueeze", one, axis) for one in (cos, sin))
    left, right = graph.nodes("Split", x, outputs=2, axis=3, num_outputs=2)
    first = graph.node("Sub", graph.node("Mul", left, cos), graph.node("Mul", right, sin))
    second = graph.node("Add", graph.node("Mul", right, cos), graph.node("Mul", left, sin))
    return graph.node("Concat", first, second, axis=-1)


def _write_weights(graph: GraphWriter, query: str, keys: str) -> str:
    shape = graph.constant(np.array([0, _KV_HEADS, -1, _WIDTH]))
    grouped = graph.node("Reshape", query, shape)
    scaled = graph.node("Mul", grouped, graph.constant(np.array(_SCALE, np.float32)))
    product = graph.node("MatMul", scaled, graph.node("Transpose", keys, perm=(0, 1, 3, 2)))
    shape = graph.constant(np.array([0, _HEADS, -1, _KEYS]))
    scores = graph.node("Reshape", product, shape)
    hidden = graph.constant(np.array(-np.inf, np.float32))
    seen = graph.node("Where", graph.input("mask", _MASK), scores, hidden)
    return graph.node("Softmax", seen, axis=-1)


def _write_head(graph: GraphWriter, x: str) -> None:
    logits = graph.node("MatMul", x, graph.constant(_head()))
    best = graph.node("ReduceMax", logits, graph.constant(np.array([-1])), keepdims=0)
    tokens = graph.node("ArgMax", logits, axis=-1, keepdims=0)
    expected = _normed() @ _head()
    graph.output("MatMul", logits, expected)
    graph.output("ReduceMax", best, expected.max(axis=-1))
    graph.output("ArgMax", tokens, expected.argmax(axis=-1), cast=False)
    graph.output("Softmax", graph.node("Softmax", logits, axis=-1), _softmax(expected))


def _normed() -> Array:
    normed: Array = _X / np.sqrt(np.mean(_X * _X, axis=-1, keepdims=True) + _EPSILON) * _NORM
    return normed


def _head() -> Array:
    """A head [hidden, vocabulary] in which every row has its own token, far before the others."""
    head = waves(_HEADS * _WIDTH, _VOCABULARY, step=1.3, scale=0.02)
    own = _normed().reshape(-1, _HEADS * _WIDTH)
    head[:, 2 : 2 + 3 * len(own) : 3] = 0.02 * own.T
    return head


def _in_heads(x: Array) -> Array:
    heads: Array = x.reshape(_BATCH, _FED, _HEADS, _WIDTH).transpose(0, 2, 1, 3)
    return heads


def _rotated(x: Array) -> Array:
    cos, sin = np.cos(_ANGLE)[:, None], np.sin(_ANGLE)[:, None]
    left, right = np.split(x, 2, axis=-1)
    return np.concatenate([left * cos - right * sin, right * cos + left * sin], axis=-1)


def _weights() -> Array:
    keys = np.concatenate([_PAST_KEY, _rotated(_NEW_KEY)], axis=2).repeat(_GROUP, axis=1)
    scores = _SCALE * _rotated(_in_heads(_normed())) @ keys.transpose(0, 1, 3, 2)
    return _softmax(np.where(_MASK, scores, -np.inf))


def _mixed() -> Array:
    mixed: Array = _weights() @ _VALUE.repeat(_GROUP, axis=1)
    return mixed


def _softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights: Array = powers / powers.sum(axis=-1, keepdims=True)
    return weights
