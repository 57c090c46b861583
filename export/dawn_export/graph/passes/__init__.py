"""Passes over traced graphs; each one is a function and has a file of its own."""

from __future__ import annotations

from dawn_export.graph.passes.empty_reductions import cut_reductions
from dawn_export.graph.passes.fuse_products import Layouts, fuse_products
from dawn_export.graph.passes.integer_embedding import quantize_embedding
from dawn_export.graph.passes.integer_products import quantize_products
from dawn_export.graph.passes.rotary_embedding import use_rotary_embedding
from dawn_export.graph.passes.share_head import share_head
from dawn_export.graph.passes.static_expand import make_expands_static
from dawn_export.graph.passes.static_reshape import make_reshapes_static
from dawn_export.graph.passes.stored_transpose import store_transposed
from dawn_export.graph.passes.whole_rows import copy_rows_whole

__all__ = [
    "Layouts",
    "copy_rows_whole",
    "cut_reductions",
    "fuse_products",
    "make_expands_static",
    "make_reshapes_static",
    "quantize_embedding",
    "quantize_products",
    "share_head",
    "store_transposed",
    "use_rotary_embedding",
]
