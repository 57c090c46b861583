"""Stop texts: an answer ends before the first, and nothing of one is given out before."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import Decoder
from dawn_serve.jobs import Order, Update
from dawn_serve.scheduler import Scheduler
from dawn_serve.stops import StopText
from support.gate import PATIENCE

SMALL = "ab"
STOPS = st.lists(st.text(SMALL, min_size=1, max_size=4), max_size=3).map(tuple)


@given(st.lists(st.text(SMALL, max_size=4), max_size=8), STOPS)
def test_pieces_are_the_text_up_to_the_first_stop_text(
    pieces: list[str], stops: tuple[str, ...]
) -> None:
    text, cutter, given_out = "".join(pieces), StopText(stops), ""
    for number, piece in enumerate(pieces):
        given_out += cutter.push(piece, final=number == len(pieces) - 1)
        so_far = "".join(pieces[: number + 1])
        assert so_far.startswith(given_out)
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    if pieces:
        # What ends first ends it: a later one may begin earlier and be whole only then.
        assert given_out == text[: len(given_out)]
        assert (cutter.found is None) == (not places)
        assert cutter.found is not None or given_out == text
        if cutter.found is not None:
            assert text[len(given_out) :].startswith(cutter.found)
            assert not any(stop in given_out for stop in stops)


@pytest.mark.parametrize("policy", ["one-per-step", "threshold"])
def test_an_answer_ends_at_a_stop_text_and_takes_no_further_step(
    decoder: Decoder, policy: str
) -> None:
    settings: Any = {"max_new_tokens": 60, "policy": policy, "block_length": 4}
    whole = decoder.generate("abc", **settings)
    stop = whole.text[len(whole.text) // 2 :][:3]
    seen: list[Update] = []
    with Scheduler(decoder) as scheduler:
        order = Order(decoder.prepare("abc", **settings), ("never", stop), seen.append)
        outcome = scheduler.submit([order])[0].done.result(PATIENCE)
    expected = whole.text[: whole.text.find(stop)]
    assert outcome.text == expected == "".join(update.text for update in seen)
    assert (outcome.finish, outcome.stop) == ("stop", stop)
    assert outcome.result.forwards < whole.forwards
    tokens = list(outcome.tokens)
    assert tokens == whole.tokens[: len(tokens)].tolist()
    assert decoder.tokenizer is not None
    assert decoder.tokenizer.decode(whole.tokens[: len(tokens)]).startswith(expected)
    assert len(outcome.confidences) == len(tokens)
    assert [token for update in seen for token in update.tokens] == tokens
    told = [one for update in seen for one in update.confidences]
    assert tuple(told) == outcome.confidences


def test_a_stop_text_that_does_not_come_changes_nothing(decoder: Decoder) -> None:
    settings: Any = {"max_new_tokens": 20, "policy": "threshold"}
    whole = decoder.generate("abc", **settings)
    with Scheduler(decoder) as scheduler:
        order = Order(decoder.prepare("abc", **settings), (whole.text + "?",))
        outcome = scheduler.submit([order])[0].done.result(PATIENCE)
    assert outcome.text == whole.text
    assert outcome.finish == "length"
    assert outcome.tokens == tuple(whole.tokens.tolist())
