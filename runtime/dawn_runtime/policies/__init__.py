"""Policies: which masked positions to commit in a step; guards: which of them have to wait.

Importing this package registers all of them.
"""

from dawn_runtime.policies.adjacent import Adjacent
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.clad import Clad
from dawn_runtime.policies.conv import Conv
from dawn_runtime.policies.dapd import Dapd
from dawn_runtime.policies.dawn import Dawn
from dawn_runtime.policies.dico import Dico
from dawn_runtime.policies.dream import Dream
from dawn_runtime.policies.eb import Eb
from dawn_runtime.policies.explanation import REASONS, Edges, Explanation, reasons_of
from dawn_runtime.policies.factor import Factor
from dawn_runtime.policies.guards import GUARDS, Apart, Budget, EntropyBound, Guard, guarded
from dawn_runtime.policies.hierarchy import Hierarchy
from dawn_runtime.policies.kernel import Kernel, KernelView, Selected
from dawn_runtime.policies.klass import Klass
from dawn_runtime.policies.llada import Llada
from dawn_runtime.policies.local_leap import LocalLeap
from dawn_runtime.policies.lsp import Lsp
from dawn_runtime.policies.one_per_step import OnePerStep
from dawn_runtime.policies.rpd import Rpd
from dawn_runtime.policies.sdar import Sdar
from dawn_runtime.policies.streaming import Streaming
from dawn_runtime.policies.threshold import Threshold
from dawn_runtime.policies.wedlm import Wedlm

__all__ = [
    "GUARDS",
    "POLICIES",
    "REASONS",
    "Adjacent",
    "Apart",
    "Budget",
    "Clad",
    "Conv",
    "Dapd",
    "Dawn",
    "Dico",
    "Dream",
    "Eb",
    "Edges",
    "EntropyBound",
    "Explanation",
    "Factor",
    "Guard",
    "Hierarchy",
    "Kernel",
    "KernelView",
    "Klass",
    "Llada",
    "LocalLeap",
    "Lsp",
    "Needs",
    "OnePerStep",
    "Policy",
    "RowView",
    "Rpd",
    "Sdar",
    "Selected",
    "Streaming",
    "Threshold",
    "Wedlm",
    "guarded",
    "reasons_of",
]
