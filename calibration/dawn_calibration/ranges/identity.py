"""What the state of a run depends on: it is taken up by a run on the same things alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime.manifest import OptionValue

_FLAGS: Final = {"seen": "strata", "strata": "bins"}
"""Settings whose flag has another name."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a run is about; all of it can be written as JSON and read back unchanged.

    Attributes:
        model: Fingerprint of the checkpoint.
        data: Hash of the prompts, 64 hex digits.
        settings: Options by name, as `RangeOptions.to_settings` gives them.
    """

    model: Mapping[str, Any]
    data: str
    settings: Mapping[str, OptionValue]

    def differences(self, other: Identity) -> list[str]:
        """Says what another run has instead; nothing if it is about the same.

        Args:
            other: The other run.

        Returns:
            Parts of a sentence, such as `other prompts` or `--bins 3 instead of --bins 5`.
        """
        found = []
        if self.model != other.model:
            found.append("another model")
        if self.data != other.data:
            found.append("other prompts")
        for name in dict.fromkeys([*other.settings, *self.settings]):
            ours, theirs = self.settings.get(name), other.settings.get(name)
            if ours != theirs:
                found.append(f"{_spelled(name, theirs)} instead of {_spelled(name, ours)}")
        return found


def _spelled(name: str, value: OptionValue | None) -> str:
    """A setting as the flag that makes it."""
    flag = _FLAGS.get(name, name).replace("_", "-")
    if value is None or value is False:
        return f"no --{flag}" if value is None else f"--no-{flag}"
    return f"--{flag}" if value is True else f"--{flag} {value}"
