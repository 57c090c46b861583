"""Whatever `policy` may name: the policies and the schemes together."""

from collections.abc import Mapping
from typing import Any

from dawn_runtime.decoding import SCHEMES, Scheme
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import POLICIES, Policy
from dawn_runtime.registry import unknown


def known_rules() -> tuple[str, ...]:
    """Returns every name that `policy` may have, policies and schemes, in alphabetical order."""
    return tuple(sorted((*POLICIES.names(), *SCHEMES.names())))


def make_rule(name: str, options: Mapping[str, Any] | None = None) -> Policy | Scheme:
    """Returns the policy or the scheme of some name.

    Args:
        name: One of `known_rules`.
        options: Its own, those of a call apart.

    Raises:
        OptionError: There is none, or an option is unknown or out of range.
    """
    if name in SCHEMES:
        return SCHEMES.make(name, options)
    if name not in POLICIES:
        raise OptionError(unknown("policy", name, known_rules()))
    return POLICIES.make(name, options)


def takes_cache(policy: str) -> bool:
    """Tells whether a policy or scheme of some name can be decoded with a cache.

    Args:
        policy: Its name; of one that does not exist it is said where it is made.
    """
    return policy not in SCHEMES or "cache" in SCHEMES.fields_of(policy)
