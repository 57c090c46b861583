"""An answer of a batch is the one it is alone: both shipped models, every precision of the CPU.

What rows compute is equal to the last bit where sums over keys are taken in at most 16 lanes (ONNX
Runtime on x86). Elsewhere sums may be added in another order, and where activations are rounded a
last bit can become a step of the rounding; tokens are the same all the same for these prompts.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dawn_export.options import TARGET_PRECISIONS
from dawn_runtime import Decoder, Result

MODELS = ("tiny-dream", "tiny-llada")
QUESTIONS = (
    "What is 19 + 3?",
    "Sort ascending: 47 61 56 21",
    "What is 40 + 1? " + "Answer briefly. " * 3,
    "Reverse this list: boat bee hat dog",
    "Name a pair.",
    "What is 7 + 58?",
    "Sort ascending: 5 92",
    "Fill the brackets: ( [ {",
)
CERTAINTY = 1e-6
"""Most that a confidence may differ. With one range for all rows of a run it was up to 0.78."""


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=TARGET_PRECISIONS["cpu"])
def decoder(
    model: str, request: pytest.FixtureRequest, shipped: Callable[..., Path]
) -> Iterator[Decoder]:
    folder = shipped(model, request.param)
    with Decoder.open(folder, engine="onnxruntime-cpu", threads=1) as opened:
        yield opened


@pytest.mark.parametrize("cache", ["none", "dual"])
def test_answers_of_a_batch_are_those_of_generate(decoder: Decoder, cache: str) -> None:
    rules: dict[str, Any] = {"max_new_tokens": 24, "fallback_length": 0, "cache": cache}
    alone = [decoder.generate(question, **rules) for question in QUESTIONS]
    for size in range(1, len(QUESTIONS) + 1):
        for padding in ("right", "left"):
            answers = decoder.generate_batch(QUESTIONS[:size], padding=padding, **rules)
            assert_same(answers, alone[:size], f"{size} rows padded on the {padding}")


def assert_same(answers: Sequence[Result], alone: Sequence[Result], case: str) -> None:
    for found, expected in zip(answers, alone, strict=True):
        assert found.tokens.tolist() == expected.tokens.tolist(), case
        assert [one.position for one in found.trace] == [one.position for one in expected.trace]
        assert [one.confidence for one in found.trace] == pytest.approx(
            [one.confidence for one in expected.trace], abs=CERTAINTY
        ), case
