"""Templates are filled and read back by the same text."""

import re

from hypothesis import given
from hypothesis import strategies as st

from dawn_calibration.tasks.template import NUMBER, Template, one_of, read_any, templates

HOLES = {"who": one_of(("Ann", "Anna", "Ben")), "count": NUMBER}


@given(who=st.sampled_from(["Ann", "Anna", "Ben"]), count=st.integers(0, 9999))
def test_reading_inverts_filling(who: str, count: int) -> None:
    template = Template("Has {who} (yes!) {count} cups?", HOLES)
    text = template.fill({"who": who, "count": count, "unused": 1})
    assert template.read(text) == {"who": who, "count": str(count)}


def test_other_text_does_not_fit() -> None:
    template = Template("{who} has {count}.", HOLES)
    for text in ("Carl has 3.", "Ann has 03.", "Ann has 3", "Ann has 3.\n", "Ann has ²."):
        assert template.read(text) is None


def test_a_hole_met_twice_must_be_filled_alike() -> None:
    template = Template("{who} and {who}", HOLES)
    assert template.read("Ben and Ben") == {"who": "Ben"}
    assert template.read("Ben and Ann") is None


def test_the_longer_of_two_words_is_tried_first() -> None:
    match = re.match(one_of(("a", "ab")), "ab")
    assert match is not None
    assert match[0] == "ab"


def test_the_first_fitting_template_reads() -> None:
    choices = templates(HOLES, "{who}!", "{count}!")
    assert read_any(choices, "7!") == {"count": "7"}
    assert read_any(choices, "Ann!") == {"who": "Ann"}
    assert read_any(choices, "?") is None
