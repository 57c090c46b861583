"""Optimisation profiles: the ranges of shapes that a TensorRT engine is built for.

One profile for full passes and one for cached ones, and as many again for several rows at once.
What varies within a block (the number of predictions and of evidence rows, as positions are
committed) is rounded up to multiples of the block, so that one shape, and one CUDA graph, serves
all its steps. For the same reason fed tokens and cached keys come in multiples of `WHOLE`, and
ranges end at one.

Letters as in `dawn_runtime.contract`: B rows of the batch, S tokens fed, P cached keys, R head
rows, Q evidence rows.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dawn_runtime._fields import Fields
from dawn_runtime.contract import TensorSpec
from dawn_runtime.errors import ArtifactError, EngineError, OptionError

LETTERS: Final = ("B", "S", "P", "R", "Q")

WHOLE: Final = 8
"""Numbers of fed tokens and of cached keys are filled up to a multiple of this."""

_FLAGS = {"B": "--batch"}
"""Letter -> the flag that widens its range; `--max-length` for all others."""

Range = tuple[int, int, int]
"""Least, most likely and greatest size; the second is the one kernels are chosen for."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Ranges of one optimisation profile.

    Attributes:
        name: For people.
        ranges: Letter -> range.

    Raises:
        ArtifactError: A letter is missing, or a range is not ascending.
    """

    name: str
    ranges: Mapping[str, Range]

    def __post_init__(self) -> None:
        ascending = all(0 <= low <= best <= high for low, best, high in self.ranges.values())
        if tuple(self.ranges) != LETTERS or not ascending:
            raise ArtifactError(
                f"profile {self.name!r} has ranges {dict(self.ranges)}; expected three ascending "
                f"sizes for each of {', '.join(LETTERS)}"
            )

    def sizes(self, which: int) -> dict[str, int]:
        """Returns the least (0), most likely (1) or greatest (2) size of every letter."""
        return {letter: limits[which] for letter, limits in self.ranges.items()}

    def misfit(self, sizes: Mapping[str, int]) -> str | None:
        """Returns the first letter whose size is out of range, None if all fit."""
        for letter, (low, _, high) in self.ranges.items():
            if not low <= sizes[letter] <= high:
                return letter
        return None

    def rounded(self, letter: str, size: int, step: int) -> int:
        """Returns a size rounded up to a multiple of `step` as far as the range goes."""
        return min(-(-size // step) * step, self.ranges[letter][2])

    @property
    def multiple(self) -> int:
        """`WHOLE`, or 1 where tokens that fill up might not fit: somebody else chose the ranges."""
        return 1 if any(self.ranges[letter][2] % WHOLE for letter in ("S", "P")) else WHOLE

    def to_dict(self) -> dict[str, object]:
        """The profile as JSON carries it."""
        return {"name": self.name, **{letter: list(r) for letter, r in self.ranges.items()}}

    @classmethod
    def read(cls, fields: Fields) -> "Profile":
        """Reads the profile; raises `ArtifactError` at a wrong field."""
        fields.only("name", *LETTERS)
        ranges = {letter: fields.integers(letter) for letter in LETTERS}
        if any(len(limits) != 3 for limits in ranges.values()):
            raise ArtifactError(f"{fields.source}: a range of a profile needs three sizes")
        return cls(fields.text("name"), {k: (v[0], v[1], v[2]) for k, v in ranges.items()})


def shape_of(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """Returns the shape of a graph input or output.

    Args:
        spec: Its entry in the contract.
        sizes: Letter -> size.
    """
    known = {**sizes, "P+S": sizes["P"] + sizes["S"], "E": 0}  # plans measure nothing
    return tuple(known[dim] if isinstance(dim, str) else dim for dim in spec.shape)


def plan_profiles(max_length: int, block_length: int, batch: int) -> tuple[Profile, ...]:
    """Returns the profiles for what a user will do: full passes, then cached ones.

    Each kind has one for a single row and, where several are decoded together, one for those:
    kernels that are right for many rows are not for one.

    Args:
        max_length: Longest sequence in tokens, prompt and answer together.
        block_length: Tokens in a block, at most `max_length`.
        batch: Most sequences decoded together.

    Raises:
        OptionError: A number is below 1, or the block is longer than the sequence.
    """
    if min(max_length, block_length, batch) < 1 or block_length > max_length:
        raise OptionError(
            f"profiles: got max length {max_length}, block length {block_length}, batch {batch}; "
            "expected at least 1 each, and a block no longer than the sequence"
        )
    length = -(-max_length // WHOLE) * WHOLE
    rows = [(1, 1, 1), (2, batch, batch)] if batch > 1 else [(1, 1, 1)]
    return (
        *(_full(length, one) for one in rows),
        *(_cached(length, block_length, one) for one in rows),
    )


def _full(length: int, rows: Range) -> Profile:
    """Head and evidence on every row, as the `dawn` policy has it, are the likely case."""
    every, none = (1, length, length), (0, 0, 0)
    ranges = {"B": rows, "S": every, "P": none, "R": (0, length, length), "Q": (0, length, length)}
    return Profile(_name("full", length, rows), ranges)


def _cached(length: int, block: int, rows: Range) -> Profile:
    """A step of the `dual` cache is the likely case; one of `prefix` feeds up to all tokens."""
    likely = min(2 * block, length)  # the block, the row before it, tokens committed since
    behind = max(length - block, 1)
    ranges = {
        "B": rows,
        "S": (1, likely, length),
        "P": (1, behind, length),
        "R": (0, block, length),
        "Q": (0, block, length),
    }
    return Profile(_name("cached", length, rows), ranges)


def _name(kind: str, length: int, rows: Range) -> str:
    return f"{kind}-{length}" if rows[2] == 1 else f"{kind}-{length}x{rows[2]}"


def profiles_hash(profiles: Sequence[Profile]) -> str:
    """Returns the SHA-256 of profiles, 64 hex digits."""
    text = json.dumps([profile.to_dict() for profile in profiles], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def choose_profile(engine: str, profiles: Sequence[Profile], sizes: Mapping[str, int]) -> int:
    """Returns the number of the first profile that a step fits.

    Args:
        engine: Name of the engine, for the message.
        profiles: In the order in which the engine was built with them.
        sizes: Letter -> size of this step.

    Raises:
        EngineError: None fits.
    """
    for index, profile in enumerate(profiles):
        if profile.misfit(sizes) is None:
            return index
    kind = [p for p in profiles if (p.ranges["P"][2] == 0) == (sizes["P"] == 0)] or list(profiles)
    same_rows = [p for p in kind if p.ranges["B"][0] <= sizes["B"] <= p.ranges["B"][2]]
    letter = (same_rows or kind)[-1].misfit(sizes) or "S"
    low = min(p.ranges[letter][0] for p in kind)
    high = max(p.ranges[letter][2] for p in kind)
    needed = ", ".join(f"{name}={size}" for name, size in sizes.items())
    flag = _FLAGS.get(letter, "--max-length")
    raise EngineError(
        f"{engine}: the step {needed} does not fit the engine, which was built for {letter} from "
        f"{low} to {high}; build it again with a larger {flag}"
    )
