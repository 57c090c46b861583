"""A trace holds what happened, once; the page holds the trace and nothing from elsewhere."""

import html.parser
import json
import re
from pathlib import Path

import pytest

from dawn_runtime import Decoder, OptionError
from dawn_runtime.traces import as_json, as_page, trace_document
from support.traces import CASES, traced

DOCUMENT = Path(__file__).parents[3] / "docs" / "traces.md"


class Scripts(html.parser.HTMLParser):
    """Gathers what a page loads, and the content of its elements by id."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.inside: dict[str, str] = {}
        self._id: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._id = given.get("id")
        self.loads += [f"{tag} {name}" for name in ("src", "href", "srcset") if name in given]

    def handle_data(self, data: str) -> None:
        if self._id is not None:
            self.inside[self._id] = self.inside.get(self._id, "") + data


@pytest.mark.parametrize("name", CASES)
def test_the_json_inside_the_page_is_that_of_the_file(name: str) -> None:
    _, document = traced(**CASES[name])
    page = as_page(document)
    found = Scripts(page)
    assert json.loads(found.inside["trace"]) == json.loads(as_json(document)) == document
    assert found.loads == []
    assert not re.search(r"https?:|@import|url\(", page)


@pytest.mark.parametrize("name", CASES)
def test_a_reader_of_the_steps_ends_where_decoding_did(name: str) -> None:
    result, document = traced(**CASES[name])
    tokens, confidence = list(document["given"]), dict[int, int]()
    sinks: list[int] = []
    for number, step in enumerate(document["steps"]):
        record = (result.record or ())[number]
        for position in step.get("revoked", []):
            tokens[position] = None
        for position, token, *_ in step["commits"]:
            tokens[position] = token
        confidence.update(step["confidence"])
        sinks = step.get("sinks", sinks)
        assert sinks == list(record.sinks)
        for position, value in zip(record.positions, record.confidence, strict=True):
            assert confidence[int(position)] == pytest.approx(100 * value, abs=0.51)
    answer = document["answer"]
    assert tokens[answer["begin"] : answer["end"]] == result.tokens.tolist()
    assert sum(step["fed"] for step in document["steps"]) == answer["rows_fed"]
    assert len(document["steps"]) == answer["forwards"]


def test_no_text_of_a_model_leaves_its_element(decoder: Decoder) -> None:
    prompt = "</script><!--<script>alert(1)"
    result = decoder.generate(prompt, max_new_tokens=8, record=True)
    document = trace_document(decoder, decoder.encode(prompt), result)
    page = as_page(document)
    assert json.loads(Scripts(page).inside["trace"]) == document
    assert page.count("<script") == 2
    assert document["texts"][str(ord("<") - 33)] == "<"


def test_an_answer_without_a_record_has_no_trace(fake_decoder: Decoder) -> None:
    result = fake_decoder.generate(input_ids=[1], max_new_tokens=2)
    with pytest.raises(OptionError, match="no record of its steps; decode it with record=True"):
        trace_document(fake_decoder, fake_decoder.encode([1]), result)


def test_every_field_is_described_in_the_documentation() -> None:
    described = set(re.findall(r"^\| `([\w.]+)`", DOCUMENT.read_text(), re.MULTILINE))
    found = set()
    for settings in CASES.values():
        _, document = traced(**settings)
        found |= set(document)
        for group in ("model", "decoding", "answer"):
            found |= {f"{group}.{name}" for name in document[group]}
        found |= {f"steps.{name}" for step in document["steps"] for name in step}
    groups = {"model", "decoding", "answer", "steps"}
    assert found - groups == described - groups


def test_a_trace_of_many_tokens_is_small() -> None:
    """The fake model predicts anew in every step, which is the worst that confidences can do."""
    _, document = traced(128, policy="one-per-step", stop_at_eos=False)
    assert len(as_page(document)) < 25_000 + 300 * 128
