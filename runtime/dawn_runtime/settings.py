"""Settings of one call of the decoder, and what they mean for an artifact."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from dawn_runtime._checks import check_integer
from dawn_runtime.decoding import CACHES, WINDOWS, Blocks, Cache, Rules, Window
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import DecodingDefaults
from dawn_runtime.policies import POLICIES, Policy
from dawn_runtime.registry import unknown

DEFAULT_NEW_TOKENS = 256
"""New tokens when the caller does not say and the context has room."""

_OWNER = "generate"


class Settings(TypedDict, total=False):
    """Keyword arguments of `generate`, `generate_batch` and `stream`; None is the default.

    Attributes:
        max_new_tokens: Positions to decode, >= 1; by default 256, or what the context has room for.
        policy: Name or object; by default the artifact's.
        options: Options for a policy given by name, such as `{"threshold": 0.8}`. What is left out
            keeps the artifact's value if the policy is its default, else the policy's own.
        window: Name or object; `blocks` by default.
        cache: Name or object; `none` by default.
        block_length: Tokens in a block of the window `blocks`; by default the artifact's.
        fallback_length: Below this many new tokens a policy that builds a graph hands over to its
            plain rule; by default the artifact's, 0 never does.
        stop_at_eos: Whether to stop at the first end token, and to cut it off; True by default.
    """

    max_new_tokens: int | None
    policy: str | Policy | None
    options: Mapping[str, Any] | None
    window: str | Window | None
    cache: str | Cache | None
    block_length: int | None
    fallback_length: int | None
    stop_at_eos: bool | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings after validation.

    Attributes:
        rules: Policy, window and cache.
        max_new_tokens: As in `Settings`.
        fallback_length: As in `Settings`.
        stop_at_eos: As in `Settings`.
    """

    rules: Rules
    max_new_tokens: int | None
    fallback_length: int
    stop_at_eos: bool

    def rules_for(self, new_tokens: int) -> tuple[Rules, bool]:
        """Returns the rules for an answer of a given length, and whether they are a fallback.

        Args:
            new_tokens: Positions to decode.
        """
        rules = self.rules
        short = rules.policy.short_form() if new_tokens < self.fallback_length else None
        if short is None:
            return rules, False
        return Rules(short, rules.window, rules.cache), True


def make_plan(settings: Settings, defaults: DecodingDefaults) -> Plan:
    """Checks settings and fills in what they leave out.

    Args:
        settings: What the caller gave.
        defaults: What the artifact recommends.

    Raises:
        OptionError: An unknown setting or name, or a bad value.
    """
    known = tuple(Settings.__annotations__)
    for name in settings:
        if name not in known:
            raise OptionError(unknown("setting", name, known))
    max_new_tokens = settings.get("max_new_tokens")
    if max_new_tokens is not None:
        max_new_tokens = check_integer(_OWNER, "max_new_tokens", max_new_tokens, minimum=1)
    fallback_length = settings.get("fallback_length")
    if fallback_length is None:
        fallback_length = defaults.fallback_length
    fallback_length = check_integer(_OWNER, "fallback_length", fallback_length, minimum=0)
    rules = Rules(
        policy=_policy(settings, defaults),
        window=_window(settings, defaults),
        cache=CACHES.make(settings.get("cache") or "none"),
    )
    return Plan(rules, max_new_tokens, fallback_length, settings.get("stop_at_eos") is not False)


def _policy(settings: Settings, defaults: DecodingDefaults) -> Policy:
    """Makes the policy; the artifact's options are the base if it is the artifact's policy."""
    policy = settings.get("policy") or defaults.policy
    options = dict(settings.get("options") or {})
    if policy == defaults.policy:
        options = {**defaults.options, **options}
    return POLICIES.make(policy, options)


def _window(settings: Settings, defaults: DecodingDefaults) -> Window:
    """Makes the window; `block_length` belongs to the window `blocks` alone."""
    window, block_length = settings.get("window") or Blocks.name, settings.get("block_length")
    if window == Blocks.name:
        return Blocks(defaults.block_length if block_length is None else block_length)
    if block_length is not None:
        raise OptionError(f"block_length goes with window 'blocks' only; got window {window!r}")
    return WINDOWS.make(window)
