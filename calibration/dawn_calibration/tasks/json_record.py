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
from dawn_calibration.tasks.words import PEOPLE

_CITIES = (
    *("Rome", "Paris", "London", "Berlin", "Madrid", "Oslo", "Vienna", "Prague"),
    *("Cairo", "Lima", "Tokyo", "Seoul", "Boston", "Dublin", "Athens", "Lisbon"),
)
_JOBS = (
    *("baker", "teacher", "farmer", "doctor", "painter", "singer", "driver", "nurse"),
    *("writer", "cook", "pilot", "judge", "dancer", "lawyer", "tailor", "gardener"),
)
_REQUESTS = ("Write the record as JSON: ", "Fill a JSON record with name, age, city and job: ")
_FACTS = (
    "{name} is {age} years old, lives in {city} and works as a {job}.",
    "The {job} {name} lives in {city} and is {age} years old.",
    "In {city} lives a {job} named {name}, aged {age}.",
    "At the age of {age}, {name} works as a {job} in {city}.",
)
_TEMPLATES = templates(
    {"name": one_of(PEOPLE), "age": NUMBER, "city": one_of(_CITIES), "job": one_of(_JOBS)},
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
        return Person(rng.choice(PEOPLE), age, rng.choice(_CITIES), rng.choice(_JOBS))

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
        try:
            record = json.loads(text, object_pairs_hook=_object_without_duplicates)
        except _DuplicateKeyError as error:
            return wrong(str(error))
        except (ValueError, RecursionError):
            return wrong("the answer is not JSON")
        return _judge_record(asdict(problem), record)


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise _DuplicateKeyError("a field is given twice")
    return record


def _judge_record(expected: dict[str, object], record: object) -> Verdict:
    if not isinstance(record, dict):
        return wrong("the answer is not a JSON object")
    if record.keys() != expected.keys():
        return wrong(f"expected the fields {sorted(expected)}, got {sorted(record)}")
    for field, value in expected.items():
        # 34.0 and true compare equal to integers, hence the types.
        if type(record[field]) is not type(value) or record[field] != value:
            return wrong(f"the field {field!r} should be {value!r}")
    return RIGHT
