"""Settings of one call of the decoder, and what they mean for an artifact."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from dawn_runtime.checks import check_choice, check_flag, check_integer, shown
from dawn_runtime.decoding import (
    CACHES,
    PADDINGS,
    SCHEMES,
    WINDOWS,
    Blocks,
    Cache,
    NoCache,
    Padding,
    Sampling,
    Scheme,
    Unmask,
    Window,
)
from dawn_runtime.decoding.schemes import fitted
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import DecodingDefaults
from dawn_runtime.policies import POLICIES, Policy
from dawn_runtime.registry import check_options, unknown
from dawn_runtime.request import Limits

_OWNER = "generate"
_DEFAULT_PADDING: Padding = "right"


class Settings(TypedDict, total=False):
    """Keyword arguments of `generate`, `generate_batch` and `stream`; None is the default.

    Attributes:
        max_new_tokens: Positions to decode, >= 1; by default the artifact's, or what has room.
        policy: Name or object; by default the artifact's.
        options: Options for a policy given by name, such as `{"threshold": 0.8}`. What is left out
            keeps the artifact's value if the policy is its default, else the policy's own.
        window: Name, name with options such as `pruned:near=64`, or object; `blocks` by default.
        cache: Name, name with options such as `dual:refresh=8`, or object; `none` by default.
        block_length: Tokens in a block of a named window of blocks; by default the artifact's.
        fallback_length: Below this many new tokens a policy that builds a graph hands over to its
            plain rule; by default the artifact's, 0 never does.
        stop_at_eos: Whether to stop at the first end token, and to cut it off; True by default.
        temperature: 0, the default, takes the most probable tokens; above, they are drawn.
        top_p: Share of the probability that tokens are drawn from; 1 by default.
        top_k: Number of most probable tokens that are drawn from; 0, the default, is all.
        seed: Of the draw, 0 by default. Equal prompts with equal seeds get equal answers, in
            whatever batch they are.
        timeout: Seconds after which decoding stops with what is there; by default never.
        max_forwards: Runs of the engine after which an answer stops with what is there.
        padding: Side on which shorter rows of a batch are filled up, `right` (the default) or
            `left`; answers do not depend on it.
    """

    max_new_tokens: int | None
    policy: str | Policy | Scheme | None
    options: Mapping[str, Any] | None
    window: str | Window | None
    cache: str | Cache | None
    block_length: int | None
    fallback_length: int | None
    stop_at_eos: bool | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    seed: int | None
    timeout: float | None
    max_forwards: int | None
    padding: Padding | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings after validation.

    Attributes:
        scheme: How it is decoded.
        max_new_tokens: As in `Settings`.
        fallback_length: As in `Settings`.
        stop_at_eos: As in `Settings`.
        limits: When to stop early.
        padding: As in `Settings`.
    """

    scheme: Scheme
    max_new_tokens: int | None
    fallback_length: int
    stop_at_eos: bool
    limits: Limits
    padding: Padding

    def scheme_for(self, new_tokens: int) -> tuple[Scheme, bool]:
        """Returns the scheme for an answer of a given length, and whether it is a fallback.

        Args:
            new_tokens: Positions to decode.
        """
        scheme = self.scheme
        if not isinstance(scheme, Unmask) or new_tokens >= self.fallback_length:
            return scheme, False
        short = scheme.policy.short_form()
        return (scheme, False) if short is None else (replace(scheme, policy=short), True)


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
    fallback_length = _given(settings.get("fallback_length"), defaults.fallback_length)
    fallback_length = check_integer(_OWNER, "fallback_length", fallback_length, minimum=0)
    scheme = _scheme(settings, defaults)
    limits = Limits(settings.get("timeout"), settings.get("max_forwards"))
    stop_at_eos = check_flag(_OWNER, "stop_at_eos", _given(settings.get("stop_at_eos"), True))
    padding = _given(settings.get("padding"), _DEFAULT_PADDING)
    check_choice(_OWNER, "padding", padding, PADDINGS)
    return Plan(scheme, max_new_tokens, fallback_length, stop_at_eos, limits, padding)


def _given(value: Any, default: Any) -> Any:
    """Returns a setting, or its default if it is None; an empty text or 0 is no default."""
    return default if value is None else value


def _scheme(settings: Settings, defaults: DecodingDefaults) -> Scheme:
    """Makes the scheme that `policy` names, or `Unmask` with that policy.

    The artifact's options are the base if it is the artifact's policy.
    """
    policy: str | Policy | Scheme = _given(settings.get("policy"), defaults.policy)
    options = check_options("policy", settings.get("options"))
    if isinstance(policy, str) and policy == defaults.policy:
        options = {**defaults.options, **options}
    window = _window(settings, defaults)
    cache = CACHES.parse(_given(settings.get("cache"), NoCache.name))
    sampling = _sampling(settings)
    if isinstance(policy, Scheme) or (isinstance(policy, str) and policy in SCHEMES):
        return fitted(policy, options, window, cache, sampling)
    if isinstance(policy, str) and policy not in POLICIES:
        raise OptionError(unknown("policy", policy, known_rules()))
    return Unmask(POLICIES.make(policy, options), window, cache, sampling)


def known_rules() -> tuple[str, ...]:
    """Returns every name that `policy` may have, policies and schemes, in alphabetical order."""
    return tuple(sorted((*POLICIES.names(), *SCHEMES.names())))


def _sampling(settings: Settings) -> Sampling:
    """Makes the sampling from the settings that are its fields."""
    named = {field.name: settings.get(field.name) for field in fields(Sampling)}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return Sampling(**given)


def _window(settings: Settings, defaults: DecodingDefaults) -> Window:
    """Makes the window; `block_length` belongs to windows that are made of blocks."""
    window: str | Window = _given(settings.get("window"), Blocks.name)
    block_length = settings.get("block_length")
    if block_length is not None:
        block_length = check_integer(_OWNER, "block_length", block_length, minimum=1)
    default = _given(block_length, defaults.block_length)
    made = WINDOWS.parse(window, {"block_length": default})
    if block_length is not None and getattr(made, "block_length", None) != block_length:
        raise OptionError(
            f"block_length is {block_length}, which goes with a named window of blocks; "
            f"got window {shown(window)}"
        )
    return made


def refuse_length(settings: Settings) -> None:
    """Refuses settings that say how long an answer is, where its holes do.

    Raises:
        OptionError: There is one.
    """
    for name in ("max_new_tokens", "stop_at_eos"):
        if settings.get(name) is not None:
            raise OptionError(f"fill takes no {name}: every hole is decided as long as it is")
