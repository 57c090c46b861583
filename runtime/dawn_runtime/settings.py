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
    Causal,
    NoCache,
    Padding,
    Sampling,
    Scheme,
    Unmask,
    Window,
)
from dawn_runtime.decoding.schemes import fitted, unmasking
from dawn_runtime.errors import ArtifactError, OptionError
from dawn_runtime.manifest import MANIFEST_FILE, Attention, DecodingDefaults
from dawn_runtime.option_fields import Options, option, options_of
from dawn_runtime.policies import POLICIES, Guard, Policy
from dawn_runtime.registry import check_options, unknown
from dawn_runtime.request import Limits
from dawn_runtime.rules import known_rules, make_guards


class Settings(TypedDict, total=False):
    """Keyword arguments of `generate`, `generate_batch` and `stream`; None is the default.

    Attributes:
        max_new_tokens: Positions to decode, >= 1; by default the artifact's, or what has room.
        policy: Name or object; by default the artifact's. Options, window, cache and guard that are
            left out are the artifact's if this is its default, else as said below.
        options: Options for a policy given by name, such as `{"threshold": 0.8}`; by default the
            policy's own.
        window: Name, name with options such as `pruned:near=64`, or object; by default `blocks`,
            or what goes with the policy.
        cache: Name, name with options such as `dual:refresh=8`, or object; by default `none`, or
            what goes with the policy.
        guard: Name, name with options such as `budget:nats=4`, or object, or several in a list:
            what of the policy's choice has to wait; by default, and with `none`, nothing.
        block_length: Tokens in a block of a named window of blocks; by default the artifact's.
        fallback_length: Below this many new tokens a policy that builds a graph hands over to its
            plain rule; by default the artifact's, 0 never does.
        stop_at_eos: Whether to stop at the first end token, and to cut it off; True by default.
        temperature: 0, the default, takes the most probable tokens; above, they are drawn.
        top_p: Share of the probability that tokens are drawn from; 1 by default.
        top_k: Number of most probable tokens that are drawn from; 0, the default, is all.
        forbid: Id of a token that is never taken, such as an end token, or a list of them; by
            default none.
        guidance: How far predictions move away from those without the prompt, which are made in the
            same runs; 0, the default, makes none.
        seed: Of the draw, 0 by default. Equal prompts with equal seeds get equal answers, in
            whatever batch they are.
        timeout: Seconds after which decoding stops with what is there; by default never.
        max_forwards: Runs of the engine after which an answer stops with what is there.
        padding: Side on which shorter rows of a batch are filled up, `right` (the default) or
            `left`; answers do not depend on it.
        record: Whether the result says of every step what was decided and why, in `record`; False
            by default. No answer depends on it.
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
    forbid: int | Sequence[int] | None
    guidance: float | None
    timeout: float | None
    max_forwards: int | None
    padding: Padding | None
    record: bool | None


@dataclass(frozen=True, slots=True)
class Scalars(Options):
    """The settings that belong to no rule; None is the artifact's, or what has room.

    Attributes:
        max_new_tokens: As in `Settings`.
        block_length: As in `Settings`.
        fallback_length: As in `Settings`.
        stop_at_eos: As in `Settings`.
        padding: As in `Settings`.
        record: As in `Settings`.
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
    record: bool = option(False, help="say of every step what was decided and why")


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
        record: As in `Settings`.
    """

    scheme: Scheme
    max_new_tokens: int | None
    fallback_length: int
    stop_at_eos: bool
    limits: Limits
    padding: Padding
    record: bool

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
    settings: Settings,
    defaults: DecodingDefaults,
    attention: Attention | None = None,
    *,
    shift: int | None = None,
) -> Plan:
    """Checks settings and fills in what they leave out.

    Args:
        settings: What the caller gave.
        defaults: What the artifact recommends.
        attention: What its model was trained to see; None is everything.
        shift: Of its model, which has to be one that the scheme decodes; None looks at no model.

    Raises:
        OptionError: An unknown setting or name, a bad value, or a scheme for models that see
            something else, or predict another token.
    """
    known = tuple(Settings.__annotations__)
    for name in settings:
        if name not in known:
            raise OptionError(unknown("setting", name, known))
    scalars = _scalars(settings, defaults)
    attention = attention or Attention()
    scheme = _scheme(settings, scalars.block_length, defaults, attention)
    _check_attention(scheme, attention, shift)
    if shift is not None:
        scheme.suits(shift)
    return Plan(
        scheme=scheme,
        max_new_tokens=scalars.max_new_tokens,
        fallback_length=scalars.fallback_length,
        stop_at_eos=scalars.stop_at_eos,
        limits=Limits(settings.get("timeout"), settings.get("max_forwards")),
        padding=scalars.padding,
        record=scalars.record,
    )


def _check_attention(scheme: Scheme, attention: Attention, shift: int | None) -> None:
    """Refuses a scheme under whose masks the model was not trained: its answers would be noise."""
    if _decodes(type(scheme), attention):
        return
    name = scheme.policy.name if isinstance(scheme, Unmask) else scheme.name
    able = ["threshold or another policy"] if _fits("threshold", attention, shift) else []
    able += [one for one in SCHEMES.names() if _fits(one, attention, shift)]
    kinds = " or ".join(Attention(kind).words() for kind in type(scheme).attends)
    blocks = " and decide in blocks" if scheme.in_blocks else ""
    raise OptionError(
        f"policy {name!r} decodes models that attend {kinds}{blocks}, and this one attends "
        f"{attention.words()}; use {', '.join(able)}"
    )


def _fits(rule: str, attention: Attention, shift: int | None) -> bool:
    """Tells whether a rule, as it is without options, decodes a model."""
    try:
        scheme = _made({"policy": rule}, None, DecodingDefaults(rule, {}), attention)
        if shift is not None:
            scheme.suits(shift)
    except OptionError:
        return False
    return _decodes(type(scheme), attention)


def _decodes(scheme: type[Scheme], attention: Attention) -> bool:
    in_blocks = attention.block_length is not None or not scheme.in_blocks
    return attention.kind in scheme.attends and in_blocks


def _given(value: Any, default: Any) -> Any:
    """Returns a setting, or its default if it is None; an empty text or 0 is no default."""
    return default if value is None else value


def _scheme(
    settings: Settings, block_length: int | None, defaults: DecodingDefaults, attention: Attention
) -> Scheme:
    """Makes the scheme that `policy` names, or `Unmask` with that policy.

    Where that is the artifact's rule, or the published one that it stands for, all that is left out
    is as the artifact has it.
    """
    policy, published = settings.get("policy"), defaults.published
    if policy is not None and not (isinstance(policy, str) and policy == defaults.policy):
        if published is None or policy != published.policy:
            return _made(settings, block_length, defaults, attention)
        defaults = defaults.with_rule(published, None)
    try:
        filled = _with_default(settings, block_length, defaults)
        return _made(filled, block_length, defaults, attention)
    except OptionError:
        check_default(defaults, attention=attention)  # whose fault is it?
        raise


def check_default(
    defaults: DecodingDefaults,
    source: str = MANIFEST_FILE,
    *,
    shift: int | None = None,
    attention: Attention | None = None,
) -> Scheme:
    """Returns the scheme that an artifact recommends.

    Args:
        defaults: Its record.
        source: File that it comes from, for the message.
        shift: Of the model, which has to be one that it decodes; None looks at no model.
        attention: What the model was trained to see; None is everything.

    Raises:
        ArtifactError: There is none of that name here, or what is recorded does not go together.
    """
    try:
        attention = attention or Attention()
        scheme = _made(_with_default({}, None, defaults), None, defaults, attention)
        _check_attention(scheme, attention, shift)
        if shift is not None:
            scheme.suits(shift)
    except OptionError as error:
        raise ArtifactError(
            f"{source}: the decoding it records cannot be used here ({error}); name another "
            "policy, or update dawn-edge, or export again"
        ) from error
    return scheme


def _with_default(
    settings: Settings, block_length: int | None, defaults: DecodingDefaults
) -> Settings:
    """Fills in what the artifact recommends, option by option."""
    given = check_options("policy", settings.get("options"))
    window = None if defaults.window is None else _fitting(defaults.window, block_length)
    return {
        **settings,
        "policy": defaults.policy,
        "options": {**defaults.options, **given},
        "window": _given(settings.get("window"), window),
        "cache": _given(settings.get("cache"), defaults.cache),
        "guard": _given(settings.get("guard"), defaults.guard),
    }


def _made(
    settings: Settings, block_length: int | None, defaults: DecodingDefaults, attention: Attention
) -> Scheme:
    """Makes the scheme of settings that name a policy."""
    policy, looks_ahead = settings["policy"], attention.kind == "full"
    options = check_options("policy", settings.get("options"))
    sampling, guards = _sampling(settings), make_guards(settings.get("guard"))
    if isinstance(policy, Scheme) or (isinstance(policy, str) and policy in SCHEMES):
        if guards:
            name = policy if isinstance(policy, str) else policy.name
            raise OptionError(
                f"scheme {name!r} takes no guard, which belongs to a policy; leave guard out, "
                f"got {', '.join(one.name for one in guards)}"
            )
        _check_window(policy, settings.get("window"), block_length)
        window = _window(settings.get("window"), block_length, defaults)
        usual = Causal.name if _keeps_text(policy) else NoCache.name
        cache = CACHES.parse(_given(settings.get("cache"), usual))
        return fitted(policy, options, window, cache, sampling, attention)
    if isinstance(policy, str) and policy not in POLICIES:
        raise OptionError(unknown("policy", policy, known_rules()))
    rule = POLICIES.make(policy, options)  # type: ignore[arg-type]  # None is refused
    usual = rule.usual_window if looks_ahead else Blocks.name
    asked = _given(settings.get("window"), _fitting(usual, block_length))
    window = _window(asked, block_length, defaults)
    kept = rule.usual_cache if looks_ahead else Causal.name
    cache = CACHES.parse(_given(settings.get("cache"), kept))
    return unmasking(attention, rule, window, cache, sampling, guards)


def _check_window(
    scheme: str | Scheme, window: str | Window | None, block_length: int | None
) -> None:
    """Refuses a window, or blocks of a length, for a scheme that has none."""
    if not isinstance(scheme, str) or "window" in SCHEMES.fields_of(scheme):
        return
    for name, value in (("window", window), ("block_length", block_length)):
        if value is not None:
            raise OptionError(
                f"scheme {scheme!r} has no window; leave {name} out, got {shown(value)}"
            )


def _keeps_text(scheme: str | Scheme) -> bool:
    """Whether a scheme is one of models whose finished text keeps its keys."""
    if not isinstance(scheme, str):
        return False
    return "cache" in SCHEMES.fields_of(scheme) and "full" not in SCHEMES.class_of(scheme).attends


def _fitting(window: str, block_length: int | None) -> str:
    """Returns a window that nobody named, or one of blocks if their length is given."""
    blocks = "block_length" in WINDOWS.fields_of(window.partition(":")[0])
    return window if blocks or block_length is None else Blocks.name


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
