r"""Coupled choices in tables: free ids of three rows that a second table must refer to.

    Write a table of any three people with an id each, and a table of who buys the box, cup and map.
    id, name\n4, Ann\n7, Tom\n2, Ida\nid, item\n7, box\n2, cup\n4, map

Names and ids are free and differ. In the second table every id of the first stands once, in any
order, and so does every item.
"""

import csv
import random
from dataclasses import dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.template import one_of, read_any, templates
from dawn_calibration.tasks.words import ANIMALS, PEOPLE, THINGS

ROWS = 3
_ITEMS = ANIMALS + THINGS
_IDS = tuple("123456789")
_PEOPLE_HEAD, _ITEMS_HEAD = ["id", "name"], ["id", "item"]
_TEMPLATES = templates(
    dict.fromkeys(("first", "second", "third"), one_of(_ITEMS)),
    "Write a table of any three people with an id each, "
    "and a table of who buys the {first}, {second} and {third}.",
    "The {first}, {second} and {third} are for three people. "
    "Write a table of any people with id, and one of the items.",
)


@dataclass(frozen=True, slots=True)
class Purchase:
    """The items that are bought, in the order in which they are told."""

    items: tuple[str, ...]

    @property
    def key(self) -> str:
        """The set of items: another order is no new problem."""
        return " ".join(sorted(self.items))


class CoupledTables(Task[Purchase]):
    """Writing two tables: any names and ids are right if the tables refer to each other."""

    name = "coupled-tables"

    def draw(self, rng: random.Random) -> Purchase:
        """Draws three items that differ."""
        return Purchase(tuple(rng.sample(_ITEMS, ROWS)))

    def ask(self, problem: Purchase, rng: random.Random) -> str:
        """Tells the items and asks for both tables."""
        values = dict(zip(("first", "second", "third"), problem.items, strict=True))
        return rng.choice(_TEMPLATES).fill(values)

    def solve(self, problem: Purchase, rng: random.Random) -> str:
        """Invents people and ids, and who buys what; items stand in the order of the prompt."""
        ids = rng.sample(_IDS, ROWS)
        people = zip(ids, rng.sample(PEOPLE, ROWS), strict=True)
        items = zip(rng.sample(ids, ROWS), problem.items, strict=True)
        rows = [_PEOPLE_HEAD, *people, _ITEMS_HEAD, *items]
        return "\n".join(", ".join(row) for row in rows)

    def read(self, prompt: str) -> Purchase | None:
        """Reads the items; they must differ."""
        values = read_any(_TEMPLATES, prompt)
        if values is None or len(set(values.values())) < ROWS:
            return None
        return Purchase((values["first"], values["second"], values["third"]))

    def judge(self, problem: Purchase, text: str) -> Verdict:
        """Parses the rows and compares ids, names and items."""
        rows = _read_rows(text)
        if [len(row) for row in rows] != [2] * (2 + 2 * ROWS):
            return wrong(f"expected two tables of {ROWS} rows and a head, each row of two cells")
        if rows[0] != _PEOPLE_HEAD or rows[1 + ROWS] != _ITEMS_HEAD:
            return wrong("the heads should be 'id, name' and 'id, item'")
        people, items = rows[1 : 1 + ROWS], rows[2 + ROWS :]
        ids, names = zip(*people, strict=True)
        if len({*ids}) < ROWS or not {*ids} <= {*_IDS}:
            return wrong(f"the ids of the people should be {ROWS} digits that differ, got {ids}")
        if len({*names}) < ROWS or not {*names} <= {*PEOPLE}:
            return wrong(f"the names should be {ROWS} known ones that differ, got {names}")
        buyers, bought = zip(*items, strict=True)
        if sorted(bought) != sorted(problem.items):
            return wrong(f"the items should be {problem.items}, got {bought}")
        if sorted(buyers) != sorted(ids):
            return wrong(f"the ids are {ids} in one table and {buyers} in the other")
        return RIGHT


def _read_rows(text: str) -> list[list[str]]:
    """Returns the rows of a comma-separated text, none if it is malformed."""
    try:
        return list(csv.reader(text.split("\n"), skipinitialspace=True, strict=True))
    except csv.Error:
        return []
