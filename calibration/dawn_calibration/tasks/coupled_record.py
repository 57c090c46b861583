"""Coupled choices in a record: free values that must repeat, in fields of any order.

    Write the JSON record of any baker aged 34: name, age, job, id and as key the name and the id.
    {"id": 47, "name": "Ann", "key": "Ann47", "job": "baker", "age": 34}

Name and id are free, and the key repeats both. The order of the fields is free too, so that every
field must be given once and no value knows beforehand where it stands.
"""

import json
import random
from dataclasses import asdict, dataclass

from dawn_calibration.tasks.base import Task, Verdict, wrong
from dawn_calibration.tasks.json_record import judge_fields, read_object
from dawn_calibration.tasks.template import NUMBER, one_of, read_any, templates
from dawn_calibration.tasks.words import JOBS, PEOPLE

_IDS = range(10, 100)
_AGES = range(18, 81)
_ORDERS = {"the name and the id": "{name}{id}", "the id and the name": "{id}{name}"}
_TEMPLATES = templates(
    {"job": one_of(JOBS), "age": NUMBER, "order": one_of(_ORDERS)},
    "Write the JSON record of any {job} aged {age}: name, age, job, id and as key {order}.",
    "Fill a JSON record with name, age, job, id and key for any {job} aged {age}. "
    "The key is {order}.",
)


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of the person, and how the key is put together."""

    job: str
    age: int
    order: str

    @property
    def key(self) -> str:
        """The three facts, whatever the wording."""
        return f"{self.job} {self.age} {self.order}"

    def record(self, name: str, number: int) -> dict[str, object]:
        """Returns the fields for a name and an id."""
        key = _ORDERS[self.order].format(name=name, id=number)
        return {"name": name, "age": self.age, "job": self.job, "id": number, "key": key}


class CoupledRecord(Task[Request]):
    """Inventing a record: any name and id are right, repeated in the key."""

    name = "coupled-record"

    def draw(self, rng: random.Random) -> Request:
        """Draws the given facts and the order of the key."""
        return Request(rng.choice(JOBS), rng.choice(_AGES), rng.choice(tuple(_ORDERS)))

    def ask(self, problem: Request, rng: random.Random) -> str:
        """Tells the facts and asks for the record."""
        return rng.choice(_TEMPLATES).fill(asdict(problem))

    def solve(self, problem: Request, rng: random.Random) -> str:
        """Invents name and id and writes the fields in any order."""
        fields = list(problem.record(rng.choice(PEOPLE), rng.choice(_IDS)).items())
        return json.dumps(dict(rng.sample(fields, len(fields))))

    def read(self, prompt: str) -> Request | None:
        """Reads the facts."""
        values = read_any(_TEMPLATES, prompt)
        if values is None:
            return None
        return Request(values["job"], int(values["age"]), values["order"])

    def judge(self, problem: Request, text: str) -> Verdict:
        """Parses the record, then compares the given facts and the key."""
        record = read_object(text)
        if isinstance(record, str):
            return wrong(record)
        name, number = record.get("name"), record.get("id")
        if name not in PEOPLE:
            return wrong(f"expected one of the known names in 'name', got {name!r}")
        if type(number) is not int or number not in _IDS:
            return wrong(f"expected a number from {_IDS[0]} to {_IDS[-1]} in 'id', got {number!r}")
        return judge_fields(problem.record(str(name), number), record)
