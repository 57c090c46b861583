"""Whatever `policy` may name, policies and schemes together, and the guards around a policy."""

from collections.abc import Mapping
from typing import Any, Final

from dawn_runtime.checks import shown
from dawn_runtime.decoding import SCHEMES, Scheme
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import GUARDS, POLICIES, Guard, Policy
from dawn_runtime.registry import unknown

NO_GUARD: Final = "none"
"""What is given for no guard where the artifact recommends one."""


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


def make_guards(given: Any) -> tuple[Guard, ...]:
    """Returns the guards of one text or object, or of a list of them; None is none, as is `none`.

    Args:
        given: What was given.

    Raises:
        OptionError: There is none of a name, an option is bad, or one comes twice.
    """
    if isinstance(given, (str, Guard, type(None))):
        given = () if given is None else (given,)
    if not isinstance(given, (list, tuple)):
        raise OptionError(
            f"guard is {shown(given)}; expected a name ({', '.join(GUARDS.names())}), a guard, or "
            "several in a list"
        )
    none = len(given) == 1 and isinstance(given[0], str) and given[0] == NO_GUARD
    made = () if none else tuple(GUARDS.parse(one) for one in given)
    names = [one.name for one in made]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"guard {name!r} is given twice; give it once")
    return made
