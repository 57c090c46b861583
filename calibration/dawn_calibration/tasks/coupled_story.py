"""Coupled choices in sentences: two people, a price and a pronoun that agree throughout.

    Write how any person sells the box in May and gets coins in Rome.
    In May Ann sells the box to Tom for 47 coins. In Rome Tom gives Ann the 47 coins. Now he has
    the box.

Who sells, who buys and for how much is free. Each stands twice, and the pronoun is the buyer's.
"""

import random
from dataclasses import asdict, dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.template import NUMBER, one_of, read_any, templates
from dawn_calibration.tasks.words import CITIES, MONTHS, PEOPLE, THINGS, WOMEN

_PRICES = range(10, 100)
_HOLES = {
    "thing": one_of(THINGS),
    "month": one_of(MONTHS),
    "city": one_of(CITIES),
    **dict.fromkeys(("seller", "buyer", "giver", "taker"), one_of(PEOPLE)),
    **dict.fromkeys(("price", "paid"), NUMBER),
    "pronoun": one_of(("he", "she")),
    "owned": one_of(THINGS),
}
_TEMPLATES = templates(
    _HOLES,
    "Write how any person sells the {thing} in {month} and gets coins in {city}.",
    "Say how any person buys the {thing} in {month} and gives coins in {city}.",
)
(_ANSWER,) = templates(
    _HOLES,
    "In {month} {seller} sells the {thing} to {buyer} for {price} coins. "
    "In {city} {giver} gives {taker} the {paid} coins. Now {pronoun} has the {owned}.",
)


@dataclass(frozen=True, slots=True)
class Sale:
    """What is sold, when, and where it is paid."""

    thing: str
    month: str
    city: str

    @property
    def key(self) -> str:
        """The three facts, whatever the wording."""
        return f"{self.thing} {self.month} {self.city}"

    def answer(self, seller: str, buyer: str, price: int) -> str:
        """Returns the story of two people and a price."""
        again = {"giver": buyer, "taker": seller, "paid": price, "owned": self.thing}
        free = {"seller": seller, "buyer": buyer, "price": price, "pronoun": pronoun_of(buyer)}
        return _ANSWER.fill({**asdict(self), **free, **again})


class CoupledStory(Task[Sale]):
    """Telling of a sale: any two people and price are right, told alike in all sentences."""

    name = "coupled-story"

    def draw(self, rng: random.Random) -> Sale:
        """Draws three independent facts."""
        return Sale(rng.choice(THINGS), rng.choice(MONTHS), rng.choice(CITIES))

    def ask(self, problem: Sale, rng: random.Random) -> str:
        """Tells the facts and asks for the story."""
        return rng.choice(_TEMPLATES).fill(asdict(problem))

    def solve(self, problem: Sale, rng: random.Random) -> str:
        """Invents two people and a price."""
        seller, buyer = rng.sample(PEOPLE, 2)
        return problem.answer(seller, buyer, rng.choice(_PRICES))

    def read(self, prompt: str) -> Sale | None:
        """Reads the facts."""
        values = read_any(_TEMPLATES, prompt)
        return None if values is None else Sale(**values)

    def judge(self, problem: Sale, text: str) -> Verdict:
        """Reads the story and compares what must agree."""
        told = _ANSWER.read(text)
        if told is None:
            return wrong("the answer is not a story of the form asked for")
        for fact, value in asdict(problem).items():
            if told[fact] != value:
                return wrong(f"the {fact} should be {value!r}, got {told[fact]!r}")
        if told["seller"] == told["buyer"]:
            return wrong(f"{told['seller']!r} both sells and buys")
        if int(told["price"]) not in _PRICES:
            return wrong(f"the price should be from {_PRICES[0]} to {_PRICES[-1]}")
        wanted = {
            "giver": told["buyer"],
            "taker": told["seller"],
            "paid": told["price"],
            "pronoun": pronoun_of(told["buyer"]),
            "owned": problem.thing,
        }
        for part, value in wanted.items():
            if told[part] != value:
                return wrong(f"the {part} should be {value!r}, got {told[part]!r}")
        return RIGHT


def pronoun_of(person: str) -> str:
    """Returns the pronoun of one of the people."""
    return "she" if person in WOMEN else "he"
