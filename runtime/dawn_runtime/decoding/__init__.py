"""Decoding: rows, windows, caches and the loop that drives an engine."""

from dawn_runtime.decoding.cache import CACHES, Cache, NoCache, RowPlan
from dawn_runtime.decoding.loop import DecodeState, Rules, decode, step
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.state import Commit, RowState
from dawn_runtime.decoding.window import WINDOWS, Blocks, Single, Window

__all__ = [
    "CACHES",
    "WINDOWS",
    "Blocks",
    "Cache",
    "Commit",
    "DecodeState",
    "NoCache",
    "Packer",
    "RowPlan",
    "RowState",
    "Rules",
    "Single",
    "Window",
    "decode",
    "step",
]
