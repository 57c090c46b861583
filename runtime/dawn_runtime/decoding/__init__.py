"""Decoding: rows, windows, caches and the loop that drives an engine."""

from dawn_runtime.decoding.caches import CACHES, Cache, Dual, NoCache, Prefix
from dawn_runtime.decoding.kv import Kept, KvStore, kv_bytes
from dawn_runtime.decoding.loop import DecodeState, Rules, decode, step
from dawn_runtime.decoding.packing import PADDINGS, Packer, Padding
from dawn_runtime.decoding.plan import RowPlan, make_plan
from dawn_runtime.decoding.row import Commit, RowState
from dawn_runtime.decoding.runs import HostRun, Run, begin_run
from dawn_runtime.decoding.sampling import Sampling
from dawn_runtime.decoding.windows import WINDOWS, Blocks, Pruned, Single, Sliding, Window

__all__ = [
    "CACHES",
    "PADDINGS",
    "WINDOWS",
    "Blocks",
    "Cache",
    "Commit",
    "DecodeState",
    "Dual",
    "HostRun",
    "Kept",
    "KvStore",
    "NoCache",
    "Packer",
    "Padding",
    "Prefix",
    "Pruned",
    "RowPlan",
    "RowState",
    "Rules",
    "Run",
    "Sampling",
    "Single",
    "Sliding",
    "Window",
    "begin_run",
    "decode",
    "kv_bytes",
    "make_plan",
    "step",
]
