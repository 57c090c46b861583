"""Tuning without labels: what one token per step decodes is what a faster rule should decode.

The rule's thresholds are searched on some prompts and judged on others that the search never saw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dawn_calibration.answers import Likeness, compare_answers, decode_all
from dawn_calibration.errors import CalibrationError
from dawn_calibration.judges import Judge
from dawn_calibration.prompts import Question, encode_all
from dawn_calibration.thresholds.grids import Options, grid_of
from dawn_calibration.thresholds.length import Lengths, anchored, searchable
from dawn_calibration.thresholds.search import Point, Search
from dawn_runtime import Decoder, OnePerStep, Result
from dawn_runtime.arrays import IntArray
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import POLICIES
from dawn_runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How thresholds are tuned.

    Attributes:
        policy: The rule.
        wanted: Least quality, 0 to 1; None asks for that of the thresholds the artifact has.
        judge: Who says which answers are right, if that is quality; None takes agreement.
        batch: Prompts decoded together.
        max_new_tokens: Positions to decode; None takes the artifact's default.
        block_length: Of the window; None takes the artifact's default.
    """

    policy: str
    wanted: float | None = None
    judge: Judge | None = None
    batch: int = 16
    max_new_tokens: int | None = None
    block_length: int | None = None

    def settings(self) -> Settings:
        """What all decoding here has in common."""
        return {"max_new_tokens": self.max_new_tokens, "block_length": self.block_length}


@dataclass(frozen=True, slots=True)
class Measured:
    """One rule on prompts that were not searched on.

    Attributes:
        name: What it is called in reports.
        likeness: What came of it.
    """

    name: str
    likeness: Likeness


@dataclass(frozen=True, slots=True)
class Tuned:
    """Result of tuning.

    Attributes:
        policy: The rule.
        start: Where the search began: what the artifact has.
        chosen: What it found.
        wanted: Least quality that was asked for.
        points: All that was tried on the prompts searched on.
        careful: One token per step on the same prompts.
        held_out: One token per step, start and chosen on the other prompts.
        prompts: Number of prompts searched on and of the others.
        lengths: Of the sequences searched on.
    """

    policy: str
    start: Point
    chosen: Point
    wanted: float
    points: tuple[Point, ...]
    careful: Likeness
    held_out: tuple[Measured, ...]
    prompts: tuple[int, int]
    lengths: Lengths


class Benchmark:
    """Prompts with the answers of one token per step, which rules are held against.

    Args:
        decoder: The artifact.
        questions: The prompts.
        options: How it is decoded.

    Attributes:
        careful: One token per step, against itself.
    """

    def __init__(
        self, decoder: Decoder, questions: Sequence[Question], options: TuneOptions
    ) -> None:
        self._decoder = decoder
        self._questions = questions
        self._options = options
        self._prompts: list[IntArray] = encode_all(
            lambda prompt: decoder.encode(prompt, max_new_tokens=options.max_new_tokens), questions
        )
        self._reference = self._decode(OnePerStep.name, {})
        self.careful = self._compare(self._reference)

    @property
    def lengths(self) -> Lengths:
        """Lengths of prompt and answer together, as fed to the engine."""
        manifest = self._decoder.manifest
        wanted = self._options.max_new_tokens or manifest.decoding.max_new_tokens
        longest = manifest.dims.max_length
        return Lengths.of([min(len(prompt) + wanted, longest) for prompt in self._prompts])

    def try_rule(self, policy: str, options: Options) -> Likeness:
        """Decodes by a rule and compares.

        Raises:
            CalibrationError: The answers are so short that its plain rule stands in for it.
        """
        results = self._decode(policy, options)
        if any(result.fallback for result in results):
            raise CalibrationError(
                f"answers are below the artifact's fallback length, where {policy} hands over to "
                "its plain rule: there is nothing to tune; raise --max-new-tokens"
            )
        return self._compare(results)

    def _decode(self, policy: str, options: Options) -> list[Result]:
        settings: Settings = {
            **self._options.settings(),
            "policy": POLICIES.make(policy, options),
        }
        return decode_all(self._decoder, self._prompts, self._options.batch, settings)

    def _compare(self, results: Sequence[Result]) -> Likeness:
        return compare_answers(results, self._reference, self._questions, self._options.judge)


def tune(
    decoder: Decoder,
    searched: Sequence[Question],
    held_out: Sequence[Question],
    options: TuneOptions,
    tried: Callable[[], object],
) -> Tuned:
    """Searches thresholds on some prompts and measures them on others.

    Args:
        decoder: The artifact.
        searched: Prompts to search on.
        held_out: Prompts to measure on.
        options: How.
        tried: Called after each setting, for a progress bar.

    Raises:
        OptionError: The policy has no thresholds.
        PromptError: A prompt cannot be decoded.
        CalibrationError: The answers are too short for the rule, or their judge fails.
    """
    grid = grid_of(options.policy)
    prompts = Benchmark(decoder, searched, options)

    def evaluate(setting: Options) -> Likeness:
        likeness = prompts.try_rule(options.policy, setting)
        tried()
        return likeness

    start = starting_options(decoder, options.policy)
    begin = anchored(options.policy, start, prompts.lengths)
    search = Search(options.policy, evaluate, begin, options.wanted)
    # The artifact's own options decide as those of the first point do.
    first = replace(search.best, options=start)
    chosen = search.run(searchable(grid, prompts.lengths))
    others = Benchmark(decoder, held_out, options)
    return Tuned(
        policy=options.policy,
        start=first,
        chosen=chosen,
        wanted=search.wanted,
        points=tuple(search.points),
        careful=prompts.careful,
        held_out=(
            Measured("one token per step", others.careful),
            Measured("before", others.try_rule(options.policy, first.options)),
            Measured("tuned", others.try_rule(options.policy, chosen.options)),
        ),
        prompts=(len(searched), len(held_out)),
        lengths=prompts.lengths,
    )


def starting_options(decoder: Decoder, policy: str) -> Options:
    """The artifact's options if the policy is its own, else the policy's defaults."""
    defaults = decoder.manifest.decoding
    return POLICIES.make(policy, defaults.options if policy == defaults.policy else {}).options()


def divide(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Draws the prompts that are held out; returns those to search on and those.

    Args:
        questions: All prompts.
        share: Part to hold out, between 0 and 1; at least one prompt.
        seed: Another seed draws others.

    Raises:
        OptionError: There are too few prompts, or the share is out of range.
    """
    count = max(1, round(share * len(questions)))
    if not 0 < share < 1 or count >= len(questions):
        raise OptionError(
            f"got {len(questions)} prompts of which {share:g} shall be held out; expected a share "
            "between 0 and 1 that leaves at least one prompt on either side"
        )
    order = np.random.default_rng(seed).permutation(len(questions))
    held_out = set(order[:count].tolist())
    return (
        [question for i, question in enumerate(questions) if i not in held_out],
        [question for i, question in enumerate(questions) if i in held_out],
    )
