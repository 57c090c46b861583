"""Passes over traced graphs; each one is a function and has a file of its own."""

from __future__ import annotations

from dawn_export.passes.share_head import share_head
from dawn_export.passes.static_reshape import make_reshapes_static
from dawn_export.passes.stored_transpose import store_transposed

__all__ = ["make_reshapes_static", "share_head", "store_transposed"]
