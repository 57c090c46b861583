"""What `dawn-calibrate ranges` can be asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from dawn_calibration.answers import check_decoding
from dawn_calibration.ranges.clipping import Clip
from dawn_calibration.ranges.strata import Strata
from dawn_runtime._fields import MAX_INTEGER
from dawn_runtime.checks import check_choice, check_flag, check_integer, check_kind
from dawn_runtime.manifest import OptionValue
from dawn_runtime.policies import POLICIES
from dawn_runtime.settings import Settings

SEEN: Final = ("decoding", "unmasked")
"""What the network is shown: every step of decoding, or finished answers alone."""

MOST_SAMPLES: Final = 100_000
"""Rows of a stratum; what fits the memory is less, see `dawn_calibration.ranges.bounds`."""

DTYPES: Final = ("float32", "bfloat16", "float16")
"""Element types the weights can be loaded in; statistics are float32 whatever the choice."""


@dataclass(frozen=True, slots=True)
class RangeOptions:
    """How ranges are found.

    Attributes:
        seen: `decoding` records every step of decoding. `unmasked` records one pass over each
            prompt with its finished answer, as one calibrates a model that writes from left to
            right; it is here to be compared with.
        clip: How ranges follow from magnitudes.
        smooth: Whether activations are smoothed.
        strata: How rows are told apart.
        policy: Rule that decodes; one token per step meets every mask ratio.
        max_new_tokens: Positions to decode; None takes the checkpoint's default.
        block_length: Of the window; None takes the default.
        samples: Rows kept of every stratum for the search of strengths, 1 to `MOST_SAMPLES`.
        seed: Of their draw.
        dtype: Element type of the weights, one of `DTYPES`.

    Raises:
        OptionError: A value is out of range or of another type.
    """

    seen: str = "decoding"
    clip: Clip = field(default_factory=Clip)
    smooth: bool = True
    strata: Strata = field(default_factory=Strata)
    policy: str = "one-per-step"
    max_new_tokens: int | None = None
    block_length: int | None = None
    samples: int = 32
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_choice("ranges", "strata", self.seen, SEEN)
        check_choice("ranges", "dtype", self.dtype, DTYPES)
        check_kind("ranges", "clip", self.clip, Clip, "a Clip")
        check_kind("ranges", "strata", self.strata, Strata, "Strata")
        check_flag("ranges", "smooth", self.smooth)
        check_kind("ranges", "policy", self.policy, str, "the name of a rule")
        POLICIES.make(self.policy)
        check_decoding("ranges", max_new_tokens=self.max_new_tokens, block_length=self.block_length)
        check_integer("ranges", "samples", self.samples, minimum=1, maximum=MOST_SAMPLES)
        check_integer("ranges", "seed", self.seed, minimum=0, maximum=MAX_INTEGER)

    def decoding(self) -> Settings:
        """How answers are decoded: to the end, so that every mask ratio is met."""
        return {
            "policy": self.policy,
            "max_new_tokens": self.max_new_tokens,
            "block_length": self.block_length,
            "stop_at_eos": False,
        }

    def to_settings(self) -> dict[str, OptionValue]:
        """The options by name, for `calibration.json`, as far as they are given and apply."""
        plain: dict[str, Any] = {
            **asdict(self),
            "clip": self.clip.rule,
            "percentile": self.clip.percentile if self.clip.rule == "percentile" else None,
            "strata": self.strata.bins,
        }
        return {name: value for name, value in plain.items() if value is not None}
