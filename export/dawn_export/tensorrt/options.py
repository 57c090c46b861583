"""What a plan can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dawn_export.options import check_flag, set_positive
from dawn_runtime.checks import is_integer, shown
from dawn_runtime.engine.checks import too_large
from dawn_runtime.engine.tensorrt.profiles import Profile, plan_profiles
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import Manifest

DEFAULT_MAX_LENGTH: Final = 1024
"""Tokens of prompt and answer together, where the model has room for as many: memory and time to
build grow with it."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How to build a plan.

    Attributes:
        max_length: Longest sequence in tokens, prompt and answer together; None is
            `DEFAULT_MAX_LENGTH`, or the artifact's if that is less.
        block_length: Tokens in a block; None takes the artifact's.
        batch: Most sequences decoded together.
        logits: Whether the plan returns logits, which sampling and some policies read. They take
            4 bytes for each token of the vocabulary and each row of the head.
        version_compatible: Whether newer releases and the lean runtime shall be able to load it;
            it may be slower.
        stripped: Whether weights are left out of the plan and put in from the graph when it is
            loaded: one copy of them on disk instead of two.
        capability: Compute capability of the GPU it is for; None is the one of this machine.
            Others are for `tensorrt_rtx`, which builds without a GPU.

    Raises:
        OptionError: A number is below 1, or a value is of another type.
    """

    max_length: int | None = None
    block_length: int | None = None
    batch: int = 1
    logits: bool = False
    version_compatible: bool = False
    stripped: bool = False
    capability: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        set_positive(self, "batch", optional=("max_length", "block_length"))
        for name in ("logits", "version_compatible", "stripped"):
            check_flag(name.replace("_", " "), getattr(self, name))
        if self.capability is not None and not _is_capability(self.capability):
            raise OptionError(
                f"capability: got {shown(self.capability)}, expected two numbers such as (8, 7)"
            )

    def length(self, manifest: Manifest) -> int:
        """Longest sequence of a plan of this artifact, in tokens.

        Raises:
            OptionError: The artifact was made for shorter ones.
        """
        most = manifest.dims.max_length
        if self.max_length is not None and self.max_length > most:
            raise OptionError(
                f"max length: got {self.max_length}, but the artifact was made for {most} tokens; "
                f"ask for {most} or fewer"
            )
        return self.max_length or min(DEFAULT_MAX_LENGTH, most)

    def block(self, manifest: Manifest) -> int:
        """Tokens in a block of a plan of this artifact."""
        default = min(manifest.decoding.block_length, self.length(manifest))
        return self.block_length or default

    def profiles(self, manifest: Manifest) -> tuple[Profile, ...]:
        """Optimisation profiles of a plan of this artifact.

        Raises:
            OptionError: They do not fit the artifact or each other, or are too large.
        """
        profiles = plan_profiles(self.length(manifest), self.block(manifest), self.batch)
        for profile in profiles:
            if (line := too_large(manifest.dims, profile.sizes(2))) is not None:
                raise OptionError(
                    f"profiles: a step of {self.length(manifest)} tokens in {self.batch} rows "
                    f"{line}; build for a smaller --max-length or --batch"
                )
        return profiles


def _is_capability(value: object) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(map(is_integer, value))
