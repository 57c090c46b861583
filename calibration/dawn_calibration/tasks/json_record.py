"""Filling a JSON record from a sentence.

    Write the record as JSON: In Rome lives a baker named Maria, aged 34.
    {"name": "Maria", "age": 34, "city": "Rome", "job": "baker"}

The sentences tell the four facts in different orders.
"""

import json
import random
from dataclasses import asdict, dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.template import NUMBER, one_of, read_any, templates
from dawn_calibration.tasks.words import CITIES, JOBS, PEOPLE

_REQUESTS = ("Write the record as JSON: ", "Fill a JSON record with name, age, city and job: ")
_FACTS = (
    "{name} is {age} years old, lives in {city} and works as a {job}.",
    "The {job} {name} lives in {city} and is {age} years old.",
    "In {city} lives a {job} named {name}, aged {age}.",
    "At the age of {age}, {name} works as a {job} in {city}.",
)
_TEMPLATES = templates(
    {"name": one_of(PEOPLE), "age": NUMBER, "city": one_of(CITIES), "job": one_of(JOBS)},
    *(request + facts for request in _REQUESTS for facts in _FACTS),
)


@dataclass(frozen=True, slots=True)
class Person:
    """The facts of a sentence; the fields are those of the JSON record."""

    name: str
    age: int
    city: str
    job: str

    @property
    def key(self) -> str:
        """The facts, whatever the sentence around them."""
        return f"{self.name} {self.age} {self.city} {self.job}"


class _DuplicateKeyError(ValueError):
    """A JSON object names a field twice."""


class JsonRecord(Task[Person]):
    """Records of four fields; order and spacing are free, names and types are not."""

    name = "json"

    def draw(self, rng: random.Random) -> Person:
        """Draws four independent facts."""
        age = rng.randint(18, 80)
        return Person(rng.choice(PEOPLE), age, rng.choice(CITIES), rng.choice(JOBS))

    def ask(self, problem: Person, rng: random.Random) -> str:
        """Tells the facts in one of four orders."""
        return rng.choice(_TEMPLATES).fill(asdict(problem))

    def solve(self, problem: Person, rng: random.Random) -> str:
        """Writes the record with its fields in the order of the type."""
        return json.dumps(asdict(problem))

    def read(self, prompt: str) -> Person | None:
        """Reads the four facts."""
        values = read_any(_TEMPLATES, prompt)
        if values is None:
            return None
        return Person(values["name"], int(values["age"]), values["city"], values["job"])

    def judge(self, problem: Person, text: str) -> Verdict:
        """Compares names, types and values of the fields."""
        record = read_object(text)
        return wrong(record) if isinstance(record, str) else judge_fields(asdict(problem), record)


def read_object(text: str) -> dict[str, object] | str:
    """Returns the fields of a JSON object, or what is wrong with the text."""
    try:
        record = json.loads(text, object_pairs_hook=_object_without_duplicates)
    except _DuplicateKeyError as error:
        return str(error)
    except (ValueError, RecursionError):
        return "the answer is not JSON"
    return record if isinstance(record, dict) else "the answer is not a JSON object"


def judge_fields(expected: dict[str, object], record: dict[str, object]) -> Verdict:
    """Compares names, types and values of fields."""
    if record.keys() != expected.keys():
        return wrong(f"expected the fields {sorted(expected)}, got {sorted(record)}")
    for field, value in expected.items():
        # 34.0 and true compare equal to integers, hence the types.
        if type(record[field]) is not type(value) or record[field] != value:
            return wrong(f"the field {field!r} should be {value!r}")
    return RIGHT


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _DuplicateKeyError("a field is given twice")
    return record
