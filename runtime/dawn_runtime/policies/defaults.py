"""Published DAWN thresholds by model family (arXiv 2602.06953, evaluation scripts).

The exporter copies these into the manifest; calibration may replace them there. Settings of the
publication: 256 new tokens, block 32, batch 1; `tau_low` varies by task, the value here is the one
used for most of them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import DecodingDefaults

PUBLISHED_DAWN_OPTIONS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "dream": MappingProxyType(
            {
                "tau_sink": 0.03,
                "tau_edge": 0.10,
                "tau_induce": 0.75,
                "tau_low": 0.80,
                "tau_high": 0.90,
            }
        ),
        "llada": MappingProxyType(
            {
                "tau_sink": 0.01,
                "tau_edge": 0.07,
                "tau_induce": 0.70,
                "tau_low": 0.75,
                "tau_high": 0.90,
            }
        ),
    }
)


def published_defaults(family: str) -> DecodingDefaults:
    """Returns the decoding defaults for a freshly exported checkpoint.

    Args:
        family: `dream` or `llada`.

    Raises:
        OptionError: No thresholds were published for the family.
    """
    try:
        options = PUBLISHED_DAWN_OPTIONS[family]
    except KeyError:
        known = ", ".join(PUBLISHED_DAWN_OPTIONS)
        raise OptionError(f"no DAWN thresholds known for family {family!r}; use {known}") from None
    return DecodingDefaults(policy="dawn", options=dict(options))
