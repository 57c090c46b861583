"""Graphs that decode around the step graph where there is none of our runtime.

The rule is one token a step: of the first block with masks, the most confident one. It is that of
`one-per-step` without a cache. All are in ONNX's own text form; B sequences of a prompt and N new
tokens are T long.
"""

from __future__ import annotations

from typing import Final

import onnx
from onnx import parser

from dawn_runtime.manifest import Manifest

CANVAS: Final = "genai_canvas"
FEED: Final = "genai_feed"
COMMIT: Final = "genai_commit"
"""Names of components, and with `.onnx` of their files."""

_HEAD = '<ir_version: 9, opset_import: ["" : 20]>\n'
_ONNX_TYPES = {"float32": "float", "float16": "float16"}
"""Element type of keys -> what ONNX calls it; ONNX Runtime has no CPU kernel for others."""


def canvas(mask: int) -> onnx.ModelProto:
    """The prompt with N masks behind it, and where they are.

    Args:
        mask: id of the mask.
    """
    return _parsed(
        f"""canvas (int64[B,S] prompt, int64[1] length)
            => (int64[B,T] tokens, bool[B,T] masked) {{
          batch = Shape <start = 0, end = 1> (prompt)
          size = Concat <axis = 0> (batch, length)
          mask = Constant <value = int64 {{{mask}}}> ()
          tail = Expand (mask, size)
          tokens = Concat <axis = 1> (prompt, tail)
          given = Equal (prompt, prompt)
          closed = Not (given)
          open = Equal (tail, mask)
          masked = Concat <axis = 1> (closed, open)
        }}"""
    )


def feed(manifest: Manifest) -> onnx.ModelProto:
    """What the step graph reads beside the tokens: a full pass, every row predicted.

    Args:
        manifest: of the artifact; it says the shape of keys, and which row predicts a token.
    """
    dims = manifest.dims
    kind = _ONNX_TYPES[manifest.kv_dtype]
    heads, width = dims.kv_heads, dims.head_dim
    return _parsed(
        f"""feed (int64[B,T] tokens)
            => (int64[B,T] position_ids, bool[B,1,T,T] attention_mask, int64[B,T] logit_rows,
                int64[B,Q] attention_rows, int64[B,E] entropy_rows,
                {kind}[B,{heads},P,{width}] past) {{
          size = Shape (tokens)
          batch = Shape <start = 0, end = 1> (tokens)
          length = Shape <start = 1, end = 2> (tokens)
          {_ROW}
          position_ids = Expand (row, size)
          shift = Constant <value = int64 {{{manifest.prediction_shift}}}> ()
          before = Sub (position_ids, shift)
          logit_rows = Max (before, zero)
          rows = Constant <value = int64[1] {{1}}> ()
          square = Concat <axis = 0> (batch, rows, length, length)
          yes = Cast <to = 9> (rows)
          attention_mask = Expand (yes, square)
          none = Constant <value = int64[1] {{0}}> ()
          no_rows = Concat <axis = 0> (batch, none)
          attention_rows = Expand (zero, no_rows)
          entropy_rows = Identity (attention_rows)
          key = Constant <value = int64[2] {{{heads}, {width}}}> ()
          heads = Slice (key, none, rows)
          two = Constant <value = int64[1] {{2}}> ()
          width = Slice (key, rows, two)
          no_keys = Concat <axis = 0> (batch, heads, none, width)
          nothing = Cast <to = {onnx.TensorProto.DataType.Value(kind.upper())}> (none)
          past = Expand (nothing, no_keys)
        }}"""
    )


def commit(block: int, ends: tuple[int, ...]) -> onnx.ModelProto:
    """Takes the most confident prediction of the first block with masks into each sequence.

    Args:
        block: tokens in a block, counted from the first new one.
        ends: ids that end an answer: what stands behind the first is shown as that, too.
    """
    return _parsed(
        f"""commit (int64[B,T] tokens, bool[B,T] masked, int64[B,T] proposed,
                    float[B,T] confidence, int64[1] length)
            => (int64[B,T] next_tokens, bool[B,T] next_masked, int64[B,N] answer, bool[1] more) {{
          {_ROW_OF_TOKENS}
          first_new = Sub (total, length)
          place = Sub (row, first_new)
          size = Constant <value = int64 {{{block}}}> ()
          blocks = Div (place, size)
          open_blocks = Where (masked, blocks, total)
          axis = Constant <value = int64[1] {{1}}> ()
          current = ReduceMin <keepdims = 1> (open_blocks, axis)
          of_current = Equal (blocks, current)
          in_play = And (masked, of_current)
          never = Constant <value = float {{-1.0}}> ()
          score = Where (in_play, confidence, never)
          best = ArgMax <axis = 1, keepdims = 1> (score)
          is_best = Equal (row, best)
          taken = And (is_best, in_play)
          next_tokens = Where (taken, proposed, tokens)
          left = Not (taken)
          next_masked = And (masked, left)
          as_numbers = Cast <to = 7> (next_masked)
          any_left = ReduceMax <keepdims = 0> (as_numbers)
          one = Constant <value = int64[1] {{1}}> ()
          any_left_1 = Reshape (any_left, one)
          more = Cast <to = 9> (any_left_1)
          new = Slice (next_tokens, first_new, total, axis)
          {_shown(ends)}
        }}"""
    )


_ROW = """zero = Constant <value = int64 {0}> ()
          step = Constant <value = int64 {1}> ()
          scalar = Constant <value = int64[1] {0}> ()
          end = Squeeze (length, scalar)
          row = Range (zero, end, step)"""
_ROW_OF_TOKENS = "total = Shape <start = 1, end = 2> (tokens)\n          " + _ROW.replace(
    "length", "total"
)


def _shown(ends: tuple[int, ...]) -> str:
    """Nodes that make `answer` of the new tokens."""
    if not ends:
        return "answer = Identity (new)"
    listed = ", ".join(map(str, ends))
    return f"""ends = Constant <value = int64[{len(ends)}] {{{listed}}}> ()
          last = Constant <value = int64[1] {{-1}}> ()
          apart = Unsqueeze (new, last)
          hits = Equal (apart, ends)
          hit_numbers = Cast <to = 7> (hits)
          is_end = ReduceMax <keepdims = 0> (hit_numbers, last)
          ended = CumSum (is_end, step)
          behind = Cast <to = 9> (ended)
          an_end = Constant <value = int64 {{{ends[0]}}}> ()
          answer = Where (behind, an_end, new)"""


def _parsed(text: str) -> onnx.ModelProto:
    model = parser.parse_model(_HEAD + text)
    onnx.checker.check_model(model)
    return model
