"""Fields that every request for an answer has: how it is decoded, and when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime.decoding import CACHES, WINDOWS
from dawn_runtime.options import scalar_options
from dawn_runtime.policies import GUARDS
from dawn_runtime.rules import known_rules
from dawn_runtime.settings import Settings
from dawn_serve.wire.kinds import AnyOf, ListOf, Object, Rule, Setting, Text
from dawn_serve.wire.records import wire

MOST_STOPS: Final = 16
LONGEST_STOP: Final = 256

_SCALARS: Final = scalar_options()
_OF_RULES: Final = ("policy", "options", "window", "cache", "guard", "block_length")
"""What goes together: who names a policy does not want options that were meant for another."""

_MOST: Final = 256
_POLICY: Final = Rule(1, _MOST, names=known_rules(), takes_options=False)
_WINDOW: Final = Rule(1, _MOST, names=WINDOWS.names())
_CACHE: Final = Rule(1, _MOST, names=CACHES.names())
_GUARD: Final = Rule(1, _MOST, names=GUARDS.names())

STOPS: Final = AnyOf((Text(1, LONGEST_STOP), ListOf(Text(1, LONGEST_STOP), 0, MOST_STOPS)))


def setting(name: str) -> Any:
    """Declares a field that is a setting of decoding of that name, left out by default."""
    return wire(Setting(_SCALARS[name]), _SCALARS[name].help, default=None)


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is decoded; see `dawn_runtime.Settings`. What is left out is the server's."""

    policy: str | None = wire(_POLICY, "rule that decides what is committed together", default=None)
    options: Mapping[str, Any] | None = wire(Object(), "options of that rule", default=None)
    window: str | None = wire(_WINDOW, "positions in play, such as sliding", default=None)
    cache: str | None = wire(_CACHE, "keys that are kept, such as dual:refresh=8", default=None)
    guard: str | list[str] | None = wire(
        AnyOf((_GUARD, ListOf(_GUARD, 0, 16))), "what may hold choices back", default=None
    )
    block_length: int | None = setting("block_length")
    fallback_length: int | None = setting("fallback_length")
    stop_at_eos: bool | None = setting("stop_at_eos")
    temperature: float | None = setting("temperature")
    top_p: float | None = setting("top_p")
    top_k: int | None = setting("top_k")
    seed: int | None = setting("seed")
    forbid: int | list[int] | None = setting("forbid")
    guidance: float | None = setting("guidance")
    timeout: float | None = setting("timeout")
    max_forwards: int | None = setting("max_forwards")

    def given(self) -> dict[str, Any]:
        """Returns the settings that are given, by name."""
        found = {name: getattr(self, name) for name in Decoding.__dataclass_fields__}
        return {name: value for name, value in found.items() if value is not None}


def settings_of(given: Mapping[str, Any], defaults: Settings) -> Settings:
    """Returns the settings of a request, the server's where it leaves them out.

    A rule that is named takes nothing of what the server's own rule was given, a temperature of 0
    no bounds of a draw that there is not. Nobody gets more time than the server gives.

    Args:
        given: Those of the request.
        defaults: Those of the server.
    """
    base: dict[str, Any] = {k: v for k, v in defaults.items() if v is not None}
    if "policy" in given and given["policy"] != base.get("policy"):
        base = {name: value for name, value in base.items() if name not in _OF_RULES}
    elif "options" in given:
        given = {**given, "options": {**base.get("options", {}), **given["options"]}}
    if given.get("temperature") == 0:
        base = {name: value for name, value in base.items() if name not in ("top_p", "top_k")}
    if "timeout" in base and "timeout" in given:
        given = {**given, "timeout": min(given["timeout"], base["timeout"])}
    made: Settings = {**base, **given}  # type: ignore[typeddict-item]  # names are checked
    return made
