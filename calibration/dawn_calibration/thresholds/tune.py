"""Tuning without labels: what one token per step decodes is what a faster rule should decode.

The rule's thresholds are searched on some prompts and judged on others that the search never saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn

import numpy as np

from dawn_calibration.answers import (
    Likeness,
    check_decoding,
    compare_answers,
    decode_all,
    judged,
    try_judge,
)
from dawn_calibration.errors import CalibrationError
from dawn_calibration.judges import Judge
from dawn_calibration.prompts import Question, encode_all, listed_questions
from dawn_calibration.thresholds.grids import Grid, Options, grid_of
from dawn_calibration.thresholds.length import Lengths, anchored, searchable, settled
from dawn_calibration.thresholds.search import Point, Search, most_settings
from dawn_export.progress import stage
from dawn_runtime import Decoder, OnePerStep, Result
from dawn_runtime._fields import MAX_INTEGER
from dawn_runtime.arrays import IntArray
from dawn_runtime.checks import check_integer, check_kind, check_number, shown
from dawn_runtime.decoding import Scheme
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import Policy
from dawn_runtime.rules import make_rule
from dawn_runtime.settings import Settings
from dawn_runtime.wording import counted


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

    Raises:
        OptionError: A value is out of range or of another type.
    """

    policy: str
    wanted: float | None = None
    judge: Judge | None = None
    batch: int = 16
    max_new_tokens: int | None = None
    block_length: int | None = None

    def __post_init__(self) -> None:
        check_kind("thresholds", "policy", self.policy, str, "the name of a rule")
        check_decoding(
            "thresholds",
            batch=self.batch,
            max_new_tokens=self.max_new_tokens,
            block_length=self.block_length,
            judge=self.judge,
        )
        if self.wanted is not None:
            check_number("thresholds", "agreement", self.wanted)

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
        chosen: What it found; the start itself if nothing was better.
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

    @property
    def gained(self) -> bool:
        """Whether anything better than the start was found."""
        return self.chosen.options != self.start.options


class Benchmark:
    """Prompts with the answers of one token per step, which rules are held against.

    All prompts are read at once, so that a bad one is found before any is decoded.

    Args:
        decoder: The artifact.
        questions: The prompts.
        options: How it is decoded.

    Attributes:
        decoded: Told how many more answers are decoded, as they are.

    Raises:
        PromptError: A prompt cannot be decoded, or there are none.
        CalibrationError: An answer is so short that a plain rule stands in for the one to tune.
    """

    def __init__(
        self, decoder: Decoder, questions: Iterable[Question], options: TuneOptions
    ) -> None:
        self.decoded: Callable[[int], object] = lambda more: None
        self._decoder = decoder
        self._questions = questions = listed_questions(questions)
        self._options = options
        self._prompts: list[IntArray] = encode_all(
            lambda prompt: decoder.encode(prompt, max_new_tokens=options.max_new_tokens), questions
        )
        self._check_answers()

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self._prompts)

    @property
    def lengths(self) -> Lengths:
        """Lengths of prompt and answer together, as fed to the engine."""
        return Lengths.of([len(prompt) + self._new_tokens(prompt) for prompt in self._prompts])

    @cached_property
    def careful(self) -> Likeness:
        """One token per step, against itself."""
        return self._compare(self._reference)

    @cached_property
    def _reference(self) -> list[Result]:
        return self._decode(OnePerStep.name, {})

    def try_judge(self) -> None:
        """Lets the judge look at a first answer; raises `CheckerError` if it fails."""
        settings: Settings = {**self._options.settings(), "policy": OnePerStep.name}
        first = self._questions[0], self._prompts[0]
        try_judge(self._options.judge, self._decoder, *first, settings)

    def try_rule(self, options: Options) -> Likeness:
        """Decodes by the policy with some options and compares."""
        return self._compare(self._decode(self._options.policy, options))

    def _check_answers(self) -> None:
        """Refuses a rule that cannot decode the model, or that would not be the one to decode."""
        shortest = min(map(self._new_tokens, self._prompts))
        least, policy = self._decoder.manifest.decoding.fallback_length, self._options.policy
        rule = make_rule(policy)
        if isinstance(rule, Scheme):
            rule.suits(self._decoder.manifest.prediction_shift)
        if shortest < least and isinstance(rule, Policy) and rule.short_form() is not None:
            raise CalibrationError(
                f"an answer of {counted(shortest, 'token')} is below the artifact's fallback "
                f"length of {least}, where {policy} hands over to its plain rule: there is nothing "
                "to tune; raise --max-new-tokens, or shorten prompts that leave no room"
            )

    def _new_tokens(self, prompt: IntArray) -> int:
        manifest = self._decoder.manifest
        wanted = self._options.max_new_tokens or manifest.decoding.max_new_tokens
        return min(wanted, manifest.dims.max_length - len(prompt))

    def _decode(self, policy: str, options: Options) -> list[Result]:
        settings: Settings = {
            **self._options.settings(),
            "policy": policy,
            "options": options,
        }
        batch = self._options.batch
        return decode_all(self._decoder, self._prompts, batch, settings, self.decoded)

    def _compare(self, results: Sequence[Result]) -> Likeness:
        right = judged(self._options.judge, self._questions, results)
        return compare_answers(results, self._reference, right)


def tune(
    decoder: Decoder,
    searched: Iterable[Question],
    held_out: Iterable[Question],
    options: TuneOptions,
) -> Tuned:
    """Searches thresholds on some prompts and measures them on others.

    What can be wrong with prompts of either kind shows before anything is decoded.

    Args:
        decoder: The artifact.
        searched: Prompts to search on.
        held_out: Prompts to measure on.
        options: How.

    Raises:
        OptionError: The policy has no thresholds.
        PromptError: A prompt cannot be decoded.
        CalibrationError: The answers are too short for the rule, or their judge fails.
        KeyboardInterrupt: It was interrupted; the message says what was best until then.
    """
    check_kind("thresholds", "options", options, TuneOptions, "TuneOptions")
    grid = grid_of(options.policy)
    prompts, others = (Benchmark(decoder, side, options) for side in (searched, held_out))
    grid = searchable(grid, prompts.lengths)
    _refer(prompts, others, most_settings(grid))
    start = starting_options(decoder, options.policy)
    begun, best, search = _searched(
        prompts, options, anchored(options.policy, start, prompts.lengths), grid
    )
    # The artifact's own options decide as those of the first point do.
    first = replace(begun, options=start)
    chosen = first if best is begun else replace(best, options=settled(best.options, start))
    return Tuned(
        policy=options.policy,
        start=first,
        chosen=chosen,
        wanted=search.wanted,
        points=tuple(search.points),
        careful=prompts.careful,
        held_out=_measured(others, first, chosen),
        prompts=(len(prompts), len(others)),
        lengths=prompts.lengths,
    )


def _refer(prompts: Benchmark, others: Benchmark, settings: int) -> None:
    """Decodes what rules are held against; first of all, since a judge that fails does so here."""
    most = len(prompts) * (1 + settings) + 3 * len(others)
    text = (
        f"at most {counted(most, 'answer')} to decode: at most {counted(settings, 'setting')} on "
        f"{counted(len(prompts), 'prompt')}, {counted(len(others), 'prompt')} held out; first one "
        "token per step"
    )
    with stage("reference", text, len(prompts), "answer") as prompts.decoded:
        prompts.try_judge()
        _ = prompts.careful


def _searched(
    prompts: Benchmark,
    options: TuneOptions,
    begin: Options,
    grid: Grid,
) -> tuple[Point, Point, Search]:
    """Returns the first point, the best one, and the search that found it."""
    settings = most_settings(grid)
    text = f"searching {options.policy}: at most {counted(settings, 'setting')}"
    total = settings * len(prompts)
    with stage("search", text, total, "answer") as prompts.decoded:
        search = Search(options.policy, prompts.try_rule, begin, options.wanted)
        begun = search.best
        try:
            best = search.run(grid, lambda: prompts.decoded(len(prompts)))
        except KeyboardInterrupt as interrupt:
            _say_best(search, settings, interrupt)
    return begun, best, search


def _say_best(search: Search, settings: int, interrupt: KeyboardInterrupt) -> NoReturn:
    """Lets an interruption tell what it would otherwise lose."""
    begun, best = search.points[0].options, search.best
    changes = [
        f"{name} {begun[name]} -> {value}"
        for name, value in best.options.items()
        if value != begun[name]
    ]
    interrupt.args = (
        f"after {len(search.points)} of at most {counted(settings, 'setting')}; best until then: "
        f"{', '.join(changes) or 'what it began with'} ({100 * best.quality:.1f} %, "
        f"{best.likeness.forwards:.2f} forwards an answer); nothing was written",
    )
    raise interrupt


def _measured(others: Benchmark, first: Point, chosen: Point) -> tuple[Measured, ...]:
    """Measures what was found on prompts that the search has not seen."""
    rules = 2 if chosen is first else 3
    text = f"measuring on {counted(len(others), 'held-out prompt')}"
    with stage("held-out", text, rules * len(others), "answer") as others.decoded:
        before = others.try_rule(first.options)
        after = before if chosen is first else others.try_rule(chosen.options)
        return (
            Measured("one token per step", others.careful),
            Measured("before", before),
            Measured("tuned", after),
        )


def starting_options(decoder: Decoder, policy: str) -> Options:
    """The artifact's options if the policy is its own, else the policy's defaults."""
    defaults = decoder.manifest.decoding
    return make_rule(policy, defaults.options if policy == defaults.policy else {}).options()


def divide(
    questions: Sequence[Question], share: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Draws the prompts that are held out; returns those to search on and those.

    Args:
        questions: All prompts.
        share: Part to hold out, between 0 and 1; at least one prompt.
        seed: Another seed draws others.

    Raises:
        OptionError: There are too few prompts, or a number is out of range.
    """
    seed = check_integer("thresholds", "seed", seed, minimum=0, ceiling=MAX_INTEGER)
    if not isinstance(share, (float, np.floating)) or not 0 < share < 1:
        got = f"{share:g}" if isinstance(share, float) else shown(share)
        raise OptionError(f"held_out is {got}; expected a share between 0 and 1")
    questions = listed_questions(questions)
    count = max(1, round(share * len(questions)))
    if count >= len(questions):
        raise OptionError(
            f"held_out is {share:g} of {counted(len(questions), 'prompt')}, which leaves none to "
            "search on; " + ("hold out less" if len(questions) > 1 else "give at least 2 prompts")
        )
    order = np.random.default_rng(seed).permutation(len(questions))
    held_out = set(order[:count].tolist())
    return (
        [question for i, question in enumerate(questions) if i not in held_out],
        [question for i, question in enumerate(questions) if i in held_out],
    )
