"""Policies: which masked positions to commit in a step.

Importing this package registers all of them.
"""

from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView
from dawn_runtime.policies.dawn import Dawn
from dawn_runtime.policies.defaults import PUBLISHED_DAWN_OPTIONS, published_defaults
from dawn_runtime.policies.one_per_step import OnePerStep
from dawn_runtime.policies.threshold import Threshold

__all__ = [
    "POLICIES",
    "PUBLISHED_DAWN_OPTIONS",
    "Dawn",
    "Needs",
    "OnePerStep",
    "Policy",
    "RowView",
    "Threshold",
    "published_defaults",
]
