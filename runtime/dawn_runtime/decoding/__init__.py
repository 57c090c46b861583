"""Decoding: rows, windows, caches, schemes, and the batch that drives an engine."""

from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.batch import Batch
from dawn_runtime.decoding.caches import (
    CACHES,
    D2,
    Cache,
    Causal,
    Dual,
    FullPass,
    NoCache,
    Prefix,
    Trailing,
)
from dawn_runtime.decoding.kv import Kept, KvStore, kv_bytes
from dawn_runtime.decoding.packing import PADDINGS, Packer, Padding
from dawn_runtime.decoding.record import Choice, Recorder, StepRecord
from dawn_runtime.decoding.row import Commit, RowState
from dawn_runtime.decoding.sampling import Sampling
from dawn_runtime.decoding.schemes import (
    SCHEMES,
    ConvDrawn,
    Credit,
    FreeDave,
    Prophet,
    Scheme,
    Unmask,
    Wino,
)
from dawn_runtime.decoding.windows import WINDOWS, Blocks, Pruned, Single, Sliding, Window

__all__ = [
    "CACHES",
    "D2",
    "PADDINGS",
    "SCHEMES",
    "WINDOWS",
    "Answer",
    "Ask",
    "Batch",
    "Blocks",
    "Cache",
    "Causal",
    "Choice",
    "Commit",
    "ConvDrawn",
    "Credit",
    "Decision",
    "Dual",
    "FreeDave",
    "FullPass",
    "Kept",
    "KvStore",
    "NoCache",
    "Packer",
    "Padding",
    "Prefix",
    "Prophet",
    "Pruned",
    "Recorder",
    "RowState",
    "Sampling",
    "Scheme",
    "Single",
    "Sliding",
    "StepRecord",
    "Trailing",
    "Unmask",
    "Window",
    "Wino",
    "kv_bytes",
]
