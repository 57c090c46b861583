"""One table of the settings of a decoding: name, type, bounds, help; flags are made from it.

Sampling and limits are read from their classes, options of rules from the registries, so that what
is registered later is listed too.
"""

import argparse
from collections.abc import Iterator
from typing import Any, Final

from dawn_runtime.decoding import CACHES, SCHEMES, WINDOWS, Sampling
from dawn_runtime.option_fields import Option, in_words, options_of
from dawn_runtime.policies import GUARDS, POLICIES
from dawn_runtime.registry import Registry
from dawn_runtime.request import Limits
from dawn_runtime.rules import known_rules
from dawn_runtime.settings import Scalars

_METAVARS: Final = {
    "temperature": "T",
    "top_p": "P",
    "top_k": "K",
    "seed": "N",
    "forbid": "ID",
    "guidance": "S",
    "timeout": "SECONDS",
    "queue_timeout": "SECONDS",
    "body_timeout": "SECONDS",
    "grace": "SECONDS",
    "max_forwards": "N",
}

_REGISTRIES: Final[tuple[tuple[str, Registry[Any]], ...]] = (
    ("policy", POLICIES),
    ("policy", SCHEMES),
    ("window", WINDOWS),
    ("cache", CACHES),
    ("guard", GUARDS),
)


def scalar_options() -> dict[str, Option]:
    """Returns the settings of `generate` that name no rule, by name."""
    return {one.name: one for cls in (Scalars, Sampling, Limits) for one in options_of(cls)}


def rule_options() -> Iterator[tuple[str, str, tuple[Option, ...]]]:
    """Gives the setting that names a rule, the rule's name and its options, for all rules."""
    for setting, registry in _REGISTRIES:
        for name in registry.names():
            yield setting, name, options_of(registry.class_of(name))


def add_scalar_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, owner: type[Any]
) -> None:
    """Adds one flag for each option of a class, such as `Sampling` or `Limits`; absent, it is None.

    Args:
        parser: Gets the flags.
        owner: The class.
    """
    for one in options_of(owner):
        default = "" if one.default is None else f"; default: {in_words(one.default)}"
        repeated = "; may be repeated" if one.several else ""
        parser.add_argument(
            f"--{one.name.replace('_', '-')}",
            type=one.kind,
            metavar=_METAVARS.get(one.name, "N"),
            action="append" if one.several else "store",
            help=f"{one.help}, {one.expected()}{repeated}{default}",
        )


def add_policy_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    note: str = "",
    *,
    names: tuple[str, ...] | None = None,
    **changes: Any,
) -> None:
    """Adds `--policy` and `--set`.

    Args:
        parser: Gets the flags.
        note: What else there is to say of `--policy`.
        names: Rules that the command takes; None is all, policies and schemes.
        **changes: Further arguments of argparse for `--policy`, such as `action="append"`.
    """
    help_of_policy = f"one of {', '.join(names or known_rules())}{note}"
    parser.add_argument("--policy", metavar="NAME", help=help_of_policy, **changes)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the policy, such as threshold=0.8; may be repeated",
    )


def add_rule_flag(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    setting: str,
    note: str = "",
    **changes: Any,
) -> None:
    """Adds `--window`, `--cache` or `--guard`.

    Args:
        parser: Gets the flag.
        setting: `window`, `cache` or `guard`.
        note: What else there is to say.
        **changes: As for `add_policy_flags`.
    """
    names = dict(_REGISTRIES)[setting].names()
    help_of_rule = f"one of {', '.join(names)}, perhaps with options{note}"
    parser.add_argument(
        f"--{setting}", metavar="NAME[:KEY=VALUE,...]", help=help_of_rule, **changes
    )


def rules_help() -> str:
    """Returns the list of all rules with their options, bounds and defaults, for `--help`."""
    lines = ["options of rules (--set KEY=VALUE for --policy, NAME:KEY=VALUE for the others):"]
    for setting, name, options in rule_options():
        if options:
            lines.append(f"  --{setting} {name}")
            lines += [f"      {one.line()}" for one in options]
    return "\n".join(lines)
