"""The server's description of itself, asked in every way that it says: schemathesis.

What does not fit the description is refused, what fits it is answered or refused in a line, and no
answer is one that the description does not name. In a fixed order, so that a fault comes again.
"""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import positive_data_acceptance

from dawn_serve.api.openapi import describe
from dawn_serve.api.routes import ROUTES
from dawn_serve.edges import Bounds
from support.requests_that_fit import VALID
from support.serving import Running, serving
from support.talking import THINKING, talking
from support.text import write_tokenizer

POSTS = [route.path for route in ROUTES if route.method == "POST"]
ANSWERED: Counter[str] = Counter()


def described() -> Any:
    """The description without the query, which asks for events: they have tests of their own."""
    document = describe(ROUTES)
    for path in POSTS:
        operation = document["paths"][path]["post"]
        operation["parameters"] = [p for p in operation["parameters"] if p["in"] != "query"]
    # At random alone: one field after the other, in each of many ways, takes minutes.
    config = schemathesis.Config.from_dict({"phases": {"coverage": {"enabled": False}}})
    return schemathesis.openapi.from_dict(document, config=config)


SCHEMA = described()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    tokenizer = write_tokenizer(tmp_path_factory.mktemp("described") / "tokenizer.json")
    with talking(tokenizer, THINKING) as (decoder, _):
        defaults: Any = {"max_new_tokens": 4, "timeout": 1.0}
        with serving(decoder, Bounds(max_batch_size=4), defaults=defaults) as found:
            yield found


def meant(path: str, body: Any, number: int) -> Any:
    """A request that is answered, with one field of a request that fits the description.

    Many fields go with others alone, which a description of fields does not say.
    """
    if not isinstance(body, dict) or not body:
        return body
    name = sorted(body)[number % len(body)]
    found = {**VALID[path], name: body[name]}
    return found | ({"model": "model"} if "model" in found else {})


@SCHEMA.parametrize()
@settings(max_examples=15, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
def test_the_server_does_what_its_description_says(case: Any, running: Running) -> None:
    fits = case.meta.generation.mode.value == "positive"
    path = case.operation.path
    if fits and path in VALID:
        case.body = meant(path, case.body, ANSWERED.total())
    reply = case.call(base_url=running.url)
    ANSWERED[f"{path} {reply.status_code}"] += 1
    # Whether fields go together is not described.
    case.validate_response(reply, excluded_checks=[positive_data_acceptance])
    if reply.status_code >= 400:
        error = json.loads(reply.text)["error"]
        message = error if isinstance(error, str) else error["message"]
        assert message
        assert "\n" not in message
        assert "Traceback" not in message
        assert "unexpected" not in message


def test_some_of_them_were_answered_and_the_server_still_serves(running: Running) -> None:
    assert sum(ANSWERED[f"{path} 200"] for path in POSTS) > len(POSTS), str(ANSWERED)
    assert running.service.scheduler.running == running.service.scheduler.waiting == 0
    assert running.ask("/ready").status == 200
