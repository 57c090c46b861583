"""Settings of one call of the decoder, and what they mean for an artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypedDict

from dawn_runtime.checks import shown
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
from dawn_runtime.manifest import Attention, DecodingDefaults
from dawn_runtime.option_fields import Options, option, options_of
from dawn_runtime.policies import GUARDS, POLICIES, Guard, Policy
from dawn_runtime.registry import check_options, unknown
from dawn_runtime.request import Limits


class Settings(TypedDict, total=False):
    """Keyword arguments of `generate`, `generate_batch` and `stream`; None is the default.

    Attributes:
        max_new_tokens: Positions to decode, >= 1; by default the artifact's, or what has room.
        policy: Name or object; by default the artifact's.
        options: Options for a policy given by name, such as `{"threshold": 0.8}`. What is left out
            keeps the artifact's value if the policy is its default, else the policy's own.
        window: Name, name with options such as `pruned:near=64`, or object; by default `blocks`,
            or what goes with the policy.
        cache: Name, name with options such as `dual:refresh=8`, or object; by default `none`, or
            what goes with the policy.
        guard: Name, name with options such as `budget:nats=4`, or object, or several in a list:
            what of the policy's choice has to wait; none by default.
        block_length: Tokens in a block of a named window of blocks; by default the artifact's.
        fallback_length: Below this many new tokens a policy that builds a graph hands over to its
            plain rule; by default the artifact's, 0 never does.
        stop_at_eos: Whether to stop at the first end token, and to cut it off; True by default.
        temperature: 0, the default, takes the most probable tokens; above, they are drawn.
        top_p: Share of the probability that tokens are drawn from; 1 by default.
        top_k: Number of most probable tokens that are drawn from; 0, the default, is all.
        forbid: Id of a token that is never taken, such as an end token; by default none.
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
    guard: str | Guard | Sequence[str | Guard] | None
    block_length: int | None
    fallback_length: int | None
    stop_at_eos: bool | None
    temperature: float | None
    top_p: float | None
    top_k: int | None
    seed: int | None
    forbid: int | None
    timeout: float | None
    max_forwards: int | None
    padding: Padding | None


@dataclass(frozen=True, slots=True)
class Scalars(Options):
    """The settings that belong to no rule; None is the artifact's, or what has room.

    Attributes:
        max_new_tokens: As in `Settings`.
        block_length: As in `Settings`.
        fallback_length: As in `Settings`.
        stop_at_eos: As in `Settings`.
        padding: As in `Settings`.
    """

    kind: ClassVar[str] = "generate"

    max_new_tokens: int | None = option(None, 1, None, "positions to decode", kind=int)
    block_length: int | None = option(None, 1, None, "tokens in a block", kind=int)
    fallback_length: int = option(
        0, 0, None, "below this many new tokens a graph rule becomes its plain one"
    )
    stop_at_eos: bool = option(True, help="stop at the first end token")
    padding: Padding = option(  # noqa: RUF009 - it is a field, which ruff cannot see
        "right", help="side that is filled up", choices=PADDINGS
    )


def _scalars(settings: Settings, defaults: DecodingDefaults) -> Scalars:
    """Checks the settings that belong to no rule."""
    named = {one.name: settings.get(one.name) for one in options_of(Scalars)}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return Scalars(**{"fallback_length": defaults.fallback_length, **given})


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


def make_plan(
    settings: Settings, defaults: DecodingDefaults, attention: Attention | None = None
) -> Plan:
    """Checks settings and fills in what they leave out.

    Args:
        settings: What the caller gave.
        defaults: What the artifact recommends.
        attention: What its model was trained to see; None is everything.

    Raises:
        OptionError: An unknown setting or name, a bad value, or a scheme for models that see
            something else.
    """
    known = tuple(Settings.__annotations__)
    for name in settings:
        if name not in known:
            raise OptionError(unknown("setting", name, known))
    scalars = _scalars(settings, defaults)
    scheme = _scheme(settings, scalars.block_length, defaults)
    _check_attention(scheme, attention or Attention())
    return Plan(
        scheme=scheme,
        max_new_tokens=scalars.max_new_tokens,
        fallback_length=scalars.fallback_length,
        stop_at_eos=scalars.stop_at_eos,
        limits=Limits(settings.get("timeout"), settings.get("max_forwards")),
        padding=scalars.padding,
    )


def _check_attention(scheme: Scheme, attention: Attention) -> None:
    """Refuses a scheme under whose masks the model was not trained: its answers would be noise."""
    if attention.kind in scheme.attends:
        return
    name = scheme.policy.name if isinstance(scheme, Unmask) else scheme.name
    able = [one for one in SCHEMES.names() if attention.kind in SCHEMES.class_of(one).attends]
    advice = f"use {' or '.join(able)}" if able else "this version has no scheme for that"
    raise OptionError(
        f"policy {name!r} decodes models that attend to everything, and this one attends "
        f"{attention.words()}; {advice}"
    )


def _given(value: Any, default: Any) -> Any:
    """Returns a setting, or its default if it is None; an empty text or 0 is no default."""
    return default if value is None else value


def _scheme(settings: Settings, block_length: int | None, defaults: DecodingDefaults) -> Scheme:
    """Makes the scheme that `policy` names, or `Unmask` with that policy.

    The artifact's options are the base if it is the artifact's policy.
    """
    policy: str | Policy | Scheme = _given(settings.get("policy"), defaults.policy)
    options = check_options("policy", settings.get("options"))
    if isinstance(policy, str) and policy == defaults.policy:
        options = {**defaults.options, **options}
    sampling, guards = _sampling(settings), _guards(settings.get("guard"))
    if isinstance(policy, Scheme) or (isinstance(policy, str) and policy in SCHEMES):
        if guards:
            name = policy if isinstance(policy, str) else policy.name
            raise OptionError(
                f"scheme {name!r} takes no guard, which belongs to a policy; leave guard out, "
                f"got {', '.join(one.name for one in guards)}"
            )
        window = _window(settings.get("window"), block_length, defaults)
        cache = CACHES.parse(_given(settings.get("cache"), NoCache.name))
        return fitted(policy, options, window, cache, sampling)
    if isinstance(policy, str) and policy not in POLICIES:
        raise OptionError(unknown("policy", policy, known_rules()))
    rule = POLICIES.make(policy, options)
    asked = _given(settings.get("window"), _usual_window(rule, block_length))
    window = _window(asked, block_length, defaults)
    cache = CACHES.parse(_given(settings.get("cache"), rule.usual_cache))
    return Unmask(rule, window, cache, sampling, guards)


def _guards(given: Any) -> tuple[Guard, ...]:
    """Makes the guards of one text or object, or of a list of them; None is none."""
    if given is None or isinstance(given, (str, Guard)):
        return () if given is None else (GUARDS.parse(given),)
    if not isinstance(given, (list, tuple)):
        raise OptionError(
            f"guard is {shown(given)}; expected a name ({', '.join(GUARDS.names())}), a guard, or "
            "several in a list"
        )
    made = tuple(GUARDS.parse(one) for one in given)
    names = [one.name for one in made]
    for name in names:
        if names.count(name) > 1:
            raise OptionError(f"guard {name!r} is given twice; give it once")
    return made


def _usual_window(policy: Policy, block_length: int | None) -> str:
    """Returns the window of a policy where none is named; one of blocks if a length is given."""
    name = policy.usual_window
    blocks = "block_length" in WINDOWS.fields_of(name.partition(":")[0])
    return name if blocks or block_length is None else Blocks.name


def known_rules() -> tuple[str, ...]:
    """Returns every name that `policy` may have, policies and schemes, in alphabetical order."""
    return tuple(sorted((*POLICIES.names(), *SCHEMES.names())))


def _sampling(settings: Settings) -> Sampling:
    """Makes the sampling from the settings that are its fields."""
    named = {field.name: settings.get(field.name) for field in fields(Sampling)}
    given: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
    return Sampling(**given)


def _window(
    asked: str | Window | None, block_length: int | None, defaults: DecodingDefaults
) -> Window:
    """Makes the window; `block_length` belongs to windows that are made of blocks."""
    window: str | Window = _given(asked, Blocks.name)
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
