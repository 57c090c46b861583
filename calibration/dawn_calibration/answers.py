"""Prompts decoded freely, and how alike two sets of answers are."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dawn_calibration.judges import Judge, Program
from dawn_calibration.prompts import Question
from dawn_runtime import Decoder, Result
from dawn_runtime.arrays import IntArray
from dawn_runtime.checks import check_integer, shown
from dawn_runtime.errors import OptionError
from dawn_runtime.settings import Settings


def check_decoding(
    owner: str,
    *,
    batch: object = 1,
    max_new_tokens: object = None,
    block_length: object = None,
    judge: object = None,
) -> None:
    """Refuses what options of any work here say about decoding, before there is any.

    Args:
        owner: Whose options they are, for the message.
        batch: Prompts decoded together.
        max_new_tokens: Positions to decode; None is a default.
        block_length: Of the window; None is a default.
        judge: Who says which answers are right, if anybody.

    Raises:
        OptionError: One of them is out of range or of another type.
    """
    check_integer(owner, "batch", batch, minimum=1)
    for name, value in (("max_new_tokens", max_new_tokens), ("block_length", block_length)):
        if value is not None:
            check_integer(owner, name, value, minimum=1)
    if judge is not None and (isinstance(judge, type) or not callable(judge)):
        raise OptionError(f"{owner}: judge is {shown(judge)}; expected a function or a Program")


@dataclass(frozen=True, slots=True)
class Likeness:
    """How alike answers are to those of a reference; shares from 0 to 1, means over prompts.

    Attributes:
        agreement: Tokens that are the same at the same place, of the longer of the two answers.
        equal: Answers that are the same to the last token.
        forwards: Runs of the engine an answer took.
        right: Answers that a checker accepts; None if there is none.
    """

    agreement: float
    equal: float
    forwards: float
    right: float | None


def decode_all(
    decoder: Decoder,
    prompts: Sequence[IntArray],
    batch: int,
    settings: Settings,
    decoded: Callable[[int], object],
) -> list[Result]:
    """Decodes prompts, some together.

    Args:
        decoder: The artifact.
        prompts: Ids of each.
        batch: How many together.
        settings: How.
        decoded: Told how many more are done, as they are.

    Raises:
        OptionError: A setting is unknown or has a bad value.
        EngineError: The engine failed.
    """
    results: list[Result] = []
    for start in range(0, len(prompts), batch):
        results += decoder.generate_batch(prompts[start : start + batch], **settings)
        decoded(len(results) - start)
    return results


def try_judge(
    judge: Judge | None,
    decoder: Decoder,
    question: Question,
    prompt: IntArray,
    settings: Settings,
) -> None:
    """Lets a program judge a single answer, so that one that fails does so before the others.

    Args:
        judge: Who judges; nothing happens unless it is a program.
        decoder: The artifact.
        question: What is asked.
        prompt: Its ids.
        settings: How it is decoded.

    Raises:
        CheckerError: The program fails, or the answer has no text.
    """
    if isinstance(judge, Program):
        judge([question], decoder.generate_batch([prompt], **settings))


def judged(
    judge: Judge | None, questions: Sequence[Question], results: Sequence[Result]
) -> list[bool] | None:
    """Returns which answers are right, None if nobody judges.

    Args:
        judge: Who says so.
        questions: What was asked.
        results: The answers, one for each question.

    Raises:
        OptionError: The judge knows nothing of a question.
        CheckerError: The judge is a program that fails.
    """
    return None if judge is None else judge(questions, results)


def compare_answers(
    results: Sequence[Result], reference: Sequence[Result], right: Sequence[bool] | None = None
) -> Likeness:
    """Compares answers with those of a reference.

    Args:
        results: The answers, at least one.
        reference: What they should be.
        right: Which of the answers are right; None if nobody judges.
    """
    shares = [
        agreement(ours.tokens, theirs.tokens)
        for ours, theirs in zip(results, reference, strict=True)
    ]
    return Likeness(
        agreement=statistics.mean(shares),
        equal=statistics.mean(share == 1.0 for share in shares),
        forwards=statistics.mean(result.forwards for result in results),
        right=None if right is None else statistics.mean(right),
    )


def agreement(tokens: IntArray, reference: IntArray) -> float:
    """Share of places with the same token, of the longer answer; 1 if both are empty."""
    longer, shorter = max(len(tokens), len(reference)), min(len(tokens), len(reference))
    if not longer:
        return 1.0
    return int((tokens[:shorter] == reference[:shorter]).sum()) / longer
