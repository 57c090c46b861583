"""Places of rows in memory for keys and values, wherever the memory is."""

from collections.abc import Sequence
from dataclasses import dataclass

from dawn_runtime.errors import EngineError


@dataclass(frozen=True, slots=True)
class Rearrangement:
    """What becomes of the places of rows in a memory.

    Attributes:
        rows: Keys of the rows that have a place from now on, in the order of the places.
        slots: P from now on.
        places: Old places of the rows that stay, which come first; None if nothing has to be moved.
    """

    rows: tuple[int, ...]
    slots: int
    places: list[int] | None


def rearrangement(
    rows: tuple[int, ...], slots: int, wanted: dict[int, int], rewritten: Sequence[int], room: int
) -> Rearrangement:
    """Plans `KvStore.arrange`.

    Args:
        rows: Keys of the rows that have a place.
        slots: P now.
        wanted: Key of every row that is to have one -> slots that it needs.
        rewritten: Rows all of whose content will be written next.
        room: Tokens that there is memory for.

    Raises:
        EngineError: That is too few.
    """
    if wanted and not rewritten and tuple(wanted) == rows and max(wanted.values()) <= slots:
        return Rearrangement(rows, slots, None)  # as in most steps
    staying = tuple(row for row in rows if row in wanted)
    after = (*staying, *(row for row in wanted if row not in rows))
    most = max(wanted.values(), default=0)
    all_new = set(rewritten) >= set(after)
    # P never shrinks under rows that stay as they are, unless others leave and all move anyway.
    now = most if all_new or staying != rows else max(most, slots)
    if len(after) * now > room:
        raise EngineError(
            f"keys of {len(after)} rows with {now} slots each need room for {len(after) * now} "
            f"tokens; there is room for {room}"
        )
    same = all_new or (staying == rows and now == slots)
    return Rearrangement(after, now, None if same else [rows.index(row) for row in staying])
