"""The strict reader of JSON: what Python's own lets pass, and where that one breaks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime._fields import Fields
from dawn_runtime._json import MAX_DEPTH, MAX_DIGITS, is_unicode, parse_json
from dawn_runtime.cli.common import key_values
from dawn_runtime.errors import ArtifactError, OptionError

_SCALARS = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_SMALL = st.integers(-(10**MAX_DIGITS) + 1, 10**MAX_DIGITS - 1)


@given(st.recursive(_SCALARS | _SMALL, lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_sound_documents_are_read_as_they_are(value: Any) -> None:
    text = json.dumps(value)
    assert parse_json(text) == value
    assert parse_json("\N{ZERO WIDTH NO-BREAK SPACE}" + text) == value  # the byte order mark
    assert is_unicode(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000 + "]" * 200_000, "nested more than 100 levels deep"),
        ("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2), "nested more than 100 levels deep"),
        ('{"a":' * 150 + "1" + "}" * 150, "nested more than 100 levels deep"),
        ('{"prompt": 1, "prompt": 2}', "field 'prompt' appears twice"),
        ('[{"a": {"b": 1, "c": 2, "b": 1}}]', "field 'b' appears twice"),
        ("NaN", "got NaN, expected a finite number"),
        ("[-Infinity]", "got -Infinity, expected a finite number"),
        ("1e999", "got 1e999, expected a finite number"),
        ("1" * 5000, "an integer of 5000 digits; expected at most 40"),
        ("-" + "1" * 41, "an integer of 41 digits"),
        ("{", "Expecting property name"),
        ("", "Expecting value"),
    ],
)
def test_what_hides_a_mistake_or_exhausts_a_machine_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_the_deepest_nesting_and_the_longest_integer_are_read() -> None:
    text = "[" * MAX_DEPTH + "9" * MAX_DIGITS + "]" * MAX_DEPTH
    assert json.dumps(parse_json(text)) == text


@pytest.mark.parametrize("value", ["a\ud800", ["\udcff"], {"a": [{"\ud800": 1}]}, {"b": "\udfff"}])
def test_half_a_character_is_found_wherever_it_is(value: Any) -> None:
    assert not is_unicode(value)


def test_fields_have_an_upper_bound() -> None:
    fields = Fields.parse('{"n": 9223372036854775808, "m": 7}', "it")
    with pytest.raises(ArtifactError, match="'n' is 9223372036854775808; expected an integer <= 9"):
        fields.integer("n")
    with pytest.raises(ArtifactError, match="it: field 'm' is 7; expected an integer <= 6"):
        fields.integer("m", 0, 6)


def test_a_number_that_is_not_finite_is_named_by_its_field() -> None:
    with pytest.raises(ArtifactError, match="field 'x' is inf; expected a finite number"):
        Fields.parse('{"x": 1e999}', "it").number("x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["a=1", "b=2", "a=1"], "--set a is given twice; give one value for it"),
        (["a=" + "[" * 100_000], "--set a: its value has 100000 characters; expected at most 1000"),
        (["=1"], "'=1' is not KEY=VALUE"),
    ],
)
def test_options_are_read_as_strictly(given: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        key_values(given)


def test_a_value_that_is_no_json_is_a_text() -> None:
    assert key_values(["a=1", "b=x", "c=NaN", "d=" + "[" * 500]) == {
        "a": 1,
        "b": "x",
        "c": "NaN",
        "d": "[" * 500,
    }
