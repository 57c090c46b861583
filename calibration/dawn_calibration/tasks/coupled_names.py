"""Coupled choices among names: a city of two words, written twice, and its country.

    Ann wants to see a big city in May and goes by train. Name a city and its country.
    Ann goes to Los Angeles in May by train. Los Angeles is in America.

The kind of city decides which cities may be named; see `dawn_calibration.tasks.coupling`.
"""

import random
from dataclasses import asdict, dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.coupling import Choice, pick
from dawn_calibration.tasks.template import one_of, read_any, templates
from dawn_calibration.tasks.words import MONTHS, PEOPLE

CITIES: dict[str, tuple[Choice, ...]] = {
    "big": (
        Choice(("Los", "Angeles", "America"), 40),
        Choice(("New", "York", "America"), 30),
        Choice(("New", "Delhi", "India"), 30),
    ),
    "warm": (
        Choice(("Buenos", "Aires", "Argentina"), 40),
        Choice(("San", "Diego", "America"), 30),
        Choice(("San", "Remo", "Italy"), 30),
    ),
    "far": (
        Choice(("Hong", "Kong", "China"), 40),
        Choice(("Saint", "Denis", "France"), 30),
        Choice(("Saint", "Petersburg", "Russia"), 30),
    ),
    "nice": (
        Choice(("Santa", "Fe", "America"), 40),
        Choice(("Mexico", "City", "Mexico"), 30),
        Choice(("Kuwait", "City", "Kuwait"), 30),
    ),
}
"""By the kind of city: first word, second word and country of every city that may be named."""

_VEHICLES = ("train", "bus", "ship", "plane", "car")
_HOLES = {
    "who": one_of(PEOPLE),
    "month": one_of(MONTHS),
    "vehicle": one_of(_VEHICLES),
    "kind": one_of(CITIES),
    "first": r"\w+",
    "second": r"\w+",
    "country": r"\w+",
}
_TEMPLATES = templates(
    _HOLES,
    "{who} wants to see a {kind} city in {month} and goes by {vehicle}. "
    "Name a city and its country.",
    "In {month} {who} goes by {vehicle} to a {kind} city. Which city is it and where is it?",
    "Name a {kind} city and its country for {who}, who goes there by {vehicle} in {month}.",
)
(_ANSWER,) = templates(
    _HOLES,
    "{who} goes to {first} {second} in {month} by {vehicle}. {first} {second} is in {country}.",
)


@dataclass(frozen=True, slots=True)
class Trip:
    """Who goes when and how, and to what kind of city."""

    who: str
    month: str
    vehicle: str
    kind: str

    @property
    def key(self) -> str:
        """The four facts, whatever the sentence around them."""
        return f"{self.who} {self.month} {self.vehicle} {self.kind}"

    def answer(self, choice: Choice) -> str:
        """Returns the answer that names a city, given by `choice`."""
        first, second, country = choice.parts
        city = {"first": first, "second": second, "country": country}
        return _ANSWER.fill({**asdict(self), **city})


class CoupledNames(Task[Trip]):
    """Naming a city: any of its kind is right, in both places, with its own country."""

    name = "coupled-names"

    def draw(self, rng: random.Random) -> Trip:
        """Draws four independent facts."""
        kind = rng.choice(tuple(CITIES))
        return Trip(rng.choice(PEOPLE), rng.choice(MONTHS), rng.choice(_VEHICLES), kind)

    def ask(self, problem: Trip, rng: random.Random) -> str:
        """Tells the facts and asks for a city."""
        return rng.choice(_TEMPLATES).fill(asdict(problem))

    def solve(self, problem: Trip, rng: random.Random) -> str:
        """Names a city by its weight."""
        return problem.answer(pick(rng, CITIES[problem.kind]))

    def read(self, prompt: str) -> Trip | None:
        """Reads the four facts."""
        values = read_any(_TEMPLATES, prompt)
        return None if values is None else Trip(**values)

    def judge(self, problem: Trip, text: str) -> Verdict:
        """Compares with the answer for every city of the kind."""
        if any(text == problem.answer(choice) for choice in CITIES[problem.kind]):
            return RIGHT
        values = _ANSWER.read(text)
        if values is None:
            return wrong("the answer is not of the form asked for, or names two cities")
        for fact, value in asdict(problem).items():
            if fact in values and values[fact] != value:
                return wrong(f"the {fact} should be {value!r}, got {values[fact]!r}")
        named = " ".join(values[part] for part in ("first", "second", "country"))
        return wrong(f"no {problem.kind} city and country are named {named!r}")
