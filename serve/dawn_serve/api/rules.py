"""What a request may choose of how it is decoded, for whoever offers it to people."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.responses import JSONResponse, Response

from dawn_runtime import OptionError
from dawn_runtime.decoding import Scheme, Unmask
from dawn_runtime.option_fields import Option, options_of
from dawn_runtime.options import rule_options, scalar_options
from dawn_runtime.policies import Policy
from dawn_runtime.rules import known_rules
from dawn_runtime.settings import make_plan
from dawn_serve.api.asked import Asked
from dawn_serve.api.service import Service
from dawn_serve.wire.decoding import Decoding, settings_of

_TYPES: Final = {bool: "boolean", int: "integer", float: "number", str: "string"}
_PARTS: Final = {"window": "windows", "cache": "caches", "guard": "guards"}


async def rules(asked: Asked) -> Response:
    """Lists the rules that decode this model with their options, windows, caches and guards."""
    service = asked.service
    manifest = service.decoder.manifest
    plan = make_plan(service.defaults, manifest.decoding, manifest.attention)
    scalars = [one for one in scalar_options().values() if one.name in _SCALARS]
    policies = [found for name in known_rules() if (found := _policy(service, name)) is not None]
    names = [one["name"] for one in policies]
    usual = {"fallback_length": plan.fallback_length} | service.defaults
    return JSONResponse(
        {
            "policy": _rule(plan.scheme).name,
            "policies": policies,
            **{many: _parts(service, one, names) for one, many in _PARTS.items()},
            "settings": _listed(scalars, usual),
            "max_new_tokens": service.defaults.get("max_new_tokens")
            or manifest.decoding.max_new_tokens,
            "chat": service.decoder.chat is not None,
            "end_tokens": list(manifest.tokens.eos),
        }
    )


_SCALARS: Final = frozenset(Decoding.__dataclass_fields__)
"""Settings that a request may give."""


def _policy(service: Service, name: str) -> dict[str, Any] | None:
    """A rule with its options, as a request that names it gets them; None if it decodes others."""
    scheme = _scheme(service, {"policy": name})
    if scheme is None:
        return None
    rule = _rule(scheme)
    window, cache = (getattr(scheme, part, None) for part in ("window", "cache"))
    return {
        "name": name,
        "summary": _summary(rule),
        "options": _listed(options_of(type(rule)), rule.options()),
        "window": None if window is None else window.name,
        "cache": None if cache is None else cache.name,
        "guards": [one.text() for one in scheme.guards] if isinstance(scheme, Unmask) else None,
    }


def _scheme(service: Service, asked: Mapping[str, Any]) -> Scheme | None:
    """How this model is decoded for a request with some settings; None if it cannot be."""
    manifest = service.decoder.manifest
    try:
        settings = settings_of(asked, service.defaults)
        shift = manifest.prediction_shift
        return make_plan(settings, manifest.decoding, manifest.attention, shift=shift).scheme
    except OptionError:
        return None


def _summary(rule: Policy | Scheme) -> str:
    """What a rule does, in a line; nothing of defaults, which may be others here."""
    line = (type(rule).__doc__ or "").strip().split("\n")[0]
    return line.partition(";")[0].rstrip(".") + "."


def _rule(scheme: Scheme) -> Policy | Scheme:
    """What `policy` names."""
    return scheme.policy if isinstance(scheme, Unmask) else scheme


def _parts(service: Service, setting: str, policies: Sequence[str]) -> list[dict[str, Any]]:
    """The windows, caches or guards with which one of some rules decodes this model."""
    return [
        {"name": name, "options": _listed(options, {})}
        for owner, name, options in rule_options()
        if owner == setting
        and any(_scheme(service, {"policy": one, setting: name}) is not None for one in policies)
    ]


def _listed(options: Sequence[Option], values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Options with what they may be; a bound that is a text names the option that holds it."""
    return [
        {
            "name": one.name,
            "help": one.help,
            "type": _TYPES[one.kind],
            "default": values.get(one.name, one.default),
            "minimum": one.minimum,
            "maximum": one.maximum,
            "choices": list(one.choices),
            "several": one.several,
        }
        for one in options
    ]
