"""Policies: which masked positions to commit in a step.

Importing this package registers all of them.
"""

from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.dapd import Dapd
from dawn_runtime.policies.dawn import Dawn
from dawn_runtime.policies.factor import Factor
from dawn_runtime.policies.kernel import Kernel, KernelView, Selected
from dawn_runtime.policies.klass import Klass
from dawn_runtime.policies.local_leap import LocalLeap
from dawn_runtime.policies.one_per_step import OnePerStep
from dawn_runtime.policies.threshold import Threshold

__all__ = [
    "POLICIES",
    "Dapd",
    "Dawn",
    "Factor",
    "Kernel",
    "KernelView",
    "Klass",
    "LocalLeap",
    "Needs",
    "OnePerStep",
    "Policy",
    "RowView",
    "Selected",
    "Threshold",
]
