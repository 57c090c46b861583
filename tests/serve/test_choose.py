"""`/v1/choose`: choices scored by what the model holds probable, frames filled with them."""

import json
import math
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder
from dawn_runtime.decoding.sampling import probability
from support.serving import Running

ASK = [{"role": "user", "content": "Sort ascending: 47 61 56 21"}]
CHOICES = ["61 56 47 21", "21 47 56 61", "21 47 61 56", "12 74 65 16"]


def logprobs_in_one_pass(decoder: Decoder, before: Any, tokens: Any, after: Any) -> list[float]:
    """By the engine itself, without batch or scheme."""
    from dawn_runtime.decoding import Packer
    from dawn_runtime.decoding.ask import Ask

    manifest = decoder.manifest
    ids = np.concatenate([before, np.full(len(tokens), manifest.tokens.mask), after])
    rows = np.arange(len(before), len(before) + len(tokens)) - manifest.prediction_shift
    ask = Ask(ids.astype(np.int64), np.arange(len(ids)), predict=rows, logits=True)
    packer = Packer.for_engine(manifest.tokens.filler, decoder._engine.describe())
    outputs = decoder._engine.run(packer.pack([ask], ()))
    logits = packer.answer(ask, outputs, 0, 0).logits
    assert logits is not None
    return [math.log(one) for one in probability(logits, np.asarray(tokens))]


def test_the_answer_that_is_right_is_chosen_and_scored_by_the_model(
    served: Running, exact: Decoder
) -> None:
    reply = served.ask("/v1/choose", {"messages": ASK, "choices": CHOICES}).json
    assert (reply["index"], reply["text"]) == (1, CHOICES[1])
    assert sum(one["probability"] for one in reply["choices"]) == pytest.approx(1)
    assert reply["choices"][1]["probability"] == max(o["probability"] for o in reply["choices"])
    assert exact.tokenizer is not None
    before = exact.encode(ASK)
    for choice, told in zip(CHOICES, reply["choices"], strict=True):
        tokens = exact.tokenizer.encode(choice, add_special_tokens=False)
        alone = logprobs_in_one_pass(exact, before, tokens, [exact.manifest.tokens.eos[0]])
        assert told["logprob"] == pytest.approx(sum(alone), rel=1e-4, abs=1e-5)
        assert told["mean_logprob"] == pytest.approx(sum(alone) / len(alone), rel=1e-4, abs=1e-5)
        assert (told["tokens"], told["forwards"]) == (len(tokens), 1)


def test_more_passes_reveal_the_surest_first(served: Running, exact: Decoder) -> None:
    body = {"messages": ASK, "choices": CHOICES[:2], "passes": 64}
    wrong, right = served.ask("/v1/choose", body).json["choices"]
    assert right["forwards"] == right["tokens"], "one token in each"
    assert right["logprob"] > wrong["logprob"]
    assert exact.tokenizer is not None
    tokens = exact.tokenizer.encode(CHOICES[0], add_special_tokens=False).tolist()
    ids = [*exact.encode(ASK).tolist(), *tokens, exact.manifest.tokens.eos[0]]
    first, total = len(exact.encode(ASK)), 0.0
    open_ = list(range(len(tokens)))
    while open_:
        row = np.array(ids)
        row[[first + n for n in open_]] = exact.manifest.tokens.mask
        sure = [
            logprobs_in_one_pass(exact, row[: first + n], [tokens[n]], row[first + n + 1 :])[0]
            for n in open_
        ]
        best = int(np.argmax(sure))
        total += sure[best]
        del open_[best]
    assert wrong["logprob"] == pytest.approx(total, rel=1e-3, abs=1e-4)


def test_text_around_a_choice_is_looked_at(served: Running) -> None:
    body = {"messages": ASK, "prefix": "21 47 ", "choices": ["56", "61"], "suffix": " 61"}
    assert served.ask("/v1/choose", body).json["text"] == "56"
    by_sum = served.ask("/v1/choose", {**body, "by": "sum"}).json
    logs = [one["logprob"] for one in by_sum["choices"]]
    shares = np.exp(logs) / np.exp(logs).sum()
    assert [one["probability"] for one in by_sum["choices"]] == pytest.approx(shares.tolist())


def test_a_frame_is_an_object_of_the_values_that_were_given(served: Running) -> None:
    frame = {"word": ["dog", 'a"b', "<|mask|>"], "many": [1, 22], "sure": [True, None]}
    reply = served.ask("/v1/choose", {"messages": ASK, "frame": frame}).json
    assert json.loads(reply["text"]) == reply["value"]
    assert list(reply["value"]) == list(frame)
    for name, values in frame.items():
        scored = reply["fields"][name]
        best = max(range(len(values)), key=lambda n: scored[n]["probability"])
        assert reply["value"][name] == values[best]
    assert reply["usage"]["completion_tokens"] == sum(
        one["tokens"] for field in reply["fields"].values() for one in field
    )


def test_special_texts_are_text_in_choices_too(served: Running) -> None:
    body = {"prompt": "a", "choices": ["<|mask|>", "b"]}
    reply = served.ask("/v1/choose", body).json
    assert reply["choices"][0]["tokens"] > 1


def test_what_cannot_be_chosen_from_is_refused(served: Running) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({}, "exactly one of choices and frame"),
        ({"prompt": "a", "choices": ["a"]}, "2 to 256"),
        ({"prompt": "a", "choices": ["a", ""]}, "choices[1] is ''"),
        ({"prompt": "a", "choices": ["a", "a"]}, "twice"),
        ({"choices": ["a", "b"]}, "give what precedes"),
        ({"prompt": "", "choices": ["a", "b"]}, "empty"),
        ({"prompt": "a", "choices": ["a", "b"], "frame": {"a": [1]}}, "exactly one"),
        ({"prompt": "a", "frame": {}}, "frame has 0 fields"),
        ({"prompt": "a", "frame": {"a": [[1]]}}, "frame.a[0] is [1]"),
        ({"prompt": "a", "frame": {"a": [1]}, "suffix": "b"}, "suffix goes with choices"),
        ({"prompt": "a", "choices": ["a", "b"], "by": "max"}, "one of mean, sum"),
        ({"prompt": "a", "choices": ["a", "b"], "passes": 0}, "passes is 0"),
        ({"prompt": "a", "choices": ["a", "b" * 4000]}, "exceed the context"),
    )
    for body, message in cases:
        reply = served.ask("/v1/choose", body)
        assert reply.status == 400, body
        assert message in reply.json["error"]["message"], reply.json
    many = {"prompt": "a", "choices": [str(n) for n in range(100)]}
    assert served.ask("/v1/choose", many).json["error"]["param"] == "choices"
