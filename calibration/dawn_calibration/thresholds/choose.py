"""The default of an artifact, chosen by what rules cost that answer as well as one token per step.

Every strength of the rules asked for (`dawn_calibration.thresholds.strengths`), beside every cache
asked for, answers the prompts searched on. Of those that lose no more than a given share of the
quality of one token per step, the cheapest is chosen. What came of it is measured on other prompts,
and this is what is recorded.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Final, Literal

from dawn_calibration.answers import (
    check_decoding,
    compare_answers,
    decode_all,
    judged,
    try_judge,
)
from dawn_calibration.judges import Judge
from dawn_calibration.prompts import Question, encode_all, listed_questions
from dawn_calibration.thresholds.defaults import spelled
from dawn_calibration.thresholds.strengths import LINES, OF_THE_CALL, Setting
from dawn_export.progress import stage
from dawn_runtime import Decoder, OnePerStep, Result
from dawn_runtime.arrays import IntArray
from dawn_runtime.checks import check_choice, check_kind, check_number
from dawn_runtime.decoding import CACHES, Blocks, NoCache
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.manifest import DefaultRule, Measured, Score
from dawn_runtime.policies import POLICIES
from dawn_runtime.registry import unknown
from dawn_runtime.rules import make_rule, takes_cache
from dawn_runtime.settings import Settings
from dawn_runtime.wording import counted

Cost = Literal["forwards", "rows", "milliseconds"]
COSTS: Final[tuple[Cost, ...]] = ("forwards", "rows", "milliseconds")
"""What a rule may be cheap in: fields of `Score`."""

RULES: Final = tuple(dict.fromkeys(line.policy for line in LINES))
"""Every rule that can be chosen."""

USUAL_RULES: Final = ("threshold", "local-leap", "eb", "dawn", "verify")
"""Those among which is chosen unless others are named."""

_CAREFUL: Final = DefaultRule(OnePerStep.name, {})
_ROUNDING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class ChooseOptions:
    """How a default is chosen.

    Attributes:
        source: What the prompts are, for the record.
        rules: Among which; names of `RULES`.
        caches: Beside which each of them is tried, if it takes a cache and its line names none;
            empty is the cache that goes with it.
        cost: In what the chosen one is cheapest.
        most_lost: Most quality that it may lose against one token per step, 0 to 1.
        judge: Who says which answers are right, if that is quality; None takes agreement.
        batch: Prompts decoded together.
        max_new_tokens: Positions to decode; None takes the artifact's default.

    Raises:
        OptionError: A value is out of range or of another type.
    """

    source: str
    rules: tuple[str, ...] = USUAL_RULES
    caches: tuple[str, ...] = ()
    cost: Cost = "forwards"
    most_lost: float = 0.01
    judge: Judge | None = None
    batch: int = 16
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        check_kind("default", "source", self.source, str, "a text")
        for rule in self.rules:
            if rule not in RULES:
                raise OptionError(unknown("policy", rule, RULES))
        for cache in self.caches:
            CACHES.parse(cache)
        check_choice("default", "cost", self.cost, COSTS)
        check_number("default", "most_lost", self.most_lost)
        check_decoding(
            "default", batch=self.batch, max_new_tokens=self.max_new_tokens, judge=self.judge
        )

    @property
    def quality(self) -> str:
        """What quality is."""
        return "agreement" if self.judge is None else "right answers"

    @property
    def criterion(self) -> str:
        """By what is chosen, in words."""
        return (
            f"fewest {self.cost}, losing at most {100 * self.most_lost:g} points of {self.quality}"
        )


@dataclass(frozen=True, slots=True)
class Tried:
    """A rule and what came of it."""

    rule: DefaultRule
    score: Score


@dataclass(frozen=True, slots=True)
class Choice:
    """A default that was chosen.

    Attributes:
        chosen: The rule, with what was measured of it.
        criterion: By what it was chosen.
        quality: What quality is.
        tried: All that was tried on the prompts searched on, one token per step first.
        refused: What could not be tried, in words, and why.
        held_out: One token per step, the present default and the chosen rule on the other prompts.
        prompts: Number of prompts searched on and of the others.
    """

    chosen: DefaultRule
    criterion: str
    quality: str
    tried: tuple[Tried, ...]
    refused: tuple[tuple[str, str], ...]
    held_out: tuple[Tried, ...]
    prompts: tuple[int, int]


class Trials:
    """Prompts, and what rules make of them; arguments as for `choose`.

    Raises:
        PromptError: A prompt cannot be decoded, or there are none.
    """

    def __init__(
        self, decoder: Decoder, questions: Iterable[Question], options: ChooseOptions
    ) -> None:
        self.decoded: Callable[[int], object] = lambda more: None
        self._decoder, self._options = decoder, options
        self._questions = listed_questions(questions)
        self._prompts: list[IntArray] = encode_all(
            lambda prompt: decoder.encode(prompt, max_new_tokens=options.max_new_tokens),
            self._questions,
        )
        self._reference: list[Result] = []

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self._prompts)

    def refer(self) -> Tried:
        """Decodes one token per step, which every rule is held against; the judge is tried first.

        Raises:
            CheckerError: The judge fails.
        """
        first = self._questions[0], self._prompts[0]
        try_judge(self._options.judge, self._decoder, *first, self._settings(_CAREFUL))
        self._reference = self._decode(_CAREFUL)
        return Tried(_CAREFUL, self._score(self._reference))

    def refusal(self, rule: DefaultRule) -> str:
        """Tells why a rule cannot decode here; empty if it can.

        A rule may need what the model has not, and some numbers do not go with every length.
        """
        first = self._prompts[:1]
        try:
            self._decoder.generate_batch(first, **self._settings(rule))
        except (OptionError, EngineError) as error:
            return str(error)
        return ""

    def run(self, rule: DefaultRule) -> Tried:
        """Decodes by a rule and compares."""
        return Tried(rule, self._score(self._decode(rule)))

    def _decode(self, rule: DefaultRule) -> list[Result]:
        batch, settings = self._options.batch, self._settings(rule)
        return decode_all(self._decoder, self._prompts, batch, settings, self.decoded)

    def _settings(self, rule: DefaultRule) -> Settings:
        """The rule and nothing of what the artifact has now."""
        return {
            "policy": rule.policy,
            "options": make_rule(rule.policy, rule.options).options(),
            "window": rule.window or _usual(rule.policy, "usual_window", Blocks.name),
            "cache": rule.cache or _usual(rule.policy, "usual_cache", NoCache.name),
            "guard": rule.guard,
            "max_new_tokens": self._options.max_new_tokens,
        }

    def _score(self, results: Sequence[Result]) -> Score:
        right = judged(self._options.judge, self._questions, results)
        likeness = compare_answers(results, self._reference, right)
        seconds = sum(result.seconds for result in results[:: self._options.batch])
        return Score(
            quality=likeness.agreement if likeness.right is None else likeness.right,
            forwards=likeness.forwards,
            rows=statistics.mean(result.rows_fed for result in results),
            milliseconds=1e3 * seconds / len(results),
        )


def choose(
    decoder: Decoder,
    searched: Iterable[Question],
    held_out: Iterable[Question],
    options: ChooseOptions,
) -> Choice:
    """Chooses a default on some prompts and measures it on others.

    Args:
        decoder: The artifact.
        searched: Prompts to choose on.
        held_out: Prompts to measure on.
        options: How.

    Raises:
        PromptError: A prompt cannot be decoded.
        CheckerError: The judge fails.
        EngineError: The engine failed.
    """
    prompts, others = (Trials(decoder, side, options) for side in (searched, held_out))
    now = replace(decoder.manifest.decoding.rule, measured=None)
    candidates = _candidates(now, options.rules, options.caches)
    careful, tried, refused = _try_all(prompts, candidates)
    left_out = [rule for rule, _ in refused]
    least = careful.score.quality - options.most_lost - _ROUNDING
    good = [one for one in (careful, *tried) if one.score.quality >= least]
    best = min(good, key=lambda one: (getattr(one.score, options.cost), -one.score.quality))
    held = _held_out(others, [_CAREFUL, *([] if now in left_out else [now]), best.rule])
    measured = Measured(
        prompts=options.source,
        items=len(others),
        quality=options.quality,
        criterion=options.criterion,
        engine=f"{decoder.engine_name}, {decoder.manifest.precision}",
        chosen=_rounded(held[-1].score),
        one_per_step=_rounded(held[0].score),
    )
    return Choice(
        chosen=replace(best.rule, measured=measured),
        criterion=options.criterion,
        quality=options.quality,
        tried=(careful, *tried),
        refused=tuple((described(rule), reason) for rule, reason in refused),
        held_out=held,
        prompts=(len(prompts), len(others)),
    )


def _candidates(now: DefaultRule, rules: Sequence[str], caches: Sequence[str]) -> list[DefaultRule]:
    """What is tried besides one token per step: the present default and every strength."""
    settings = (one for line in LINES if line.policy in rules for one in line.settings())
    found, seen = [], [_CAREFUL]
    for rule in (now, *(one for each in settings for one in _cached(rule_of(each), caches))):
        same = rule if rule is now else spelled(rule)  # `now` may be what cannot be made here
        if same not in seen:
            found.append(rule)
            seen.append(same)
    return found


def _cached(rule: DefaultRule, caches: Sequence[str]) -> list[DefaultRule]:
    """The rule beside each cache; the one that goes with it is not spelled."""
    if not caches or rule.cache is not None or not takes_cache(rule.policy):
        return [rule]
    usual = _usual(rule.policy, "usual_cache", NoCache.name)
    return [replace(rule, cache=None if cache == usual else cache) for cache in caches]


def _usual(policy: str, part: str, otherwise: str) -> str:
    """The window or cache that goes with a policy; schemes have none of their own."""
    found: str = otherwise
    if policy in POLICIES:
        found = getattr(POLICIES.class_of(policy), part)
    return found


def _try_all(
    prompts: Trials, rules: Sequence[DefaultRule]
) -> tuple[Tried, list[Tried], list[tuple[DefaultRule, str]]]:
    """One token per step, all other rules, and those that cannot be tried with the reasons."""
    text = f"one token per step and {counted(len(rules), 'setting')} on " + counted(
        len(prompts), "prompt"
    )
    with stage("choose", text, (1 + len(rules)) * len(prompts), "answer") as prompts.decoded:
        careful = prompts.refer()
        tried, refused = [], []
        for rule in rules:
            reason = prompts.refusal(rule)
            if reason:
                refused.append((rule, reason))
                prompts.decoded(len(prompts))
            else:
                tried.append(prompts.run(rule))
    return careful, tried, refused


def _held_out(others: Trials, rules: Sequence[DefaultRule]) -> tuple[Tried, ...]:
    """Measures rules, the first of which is one token per step."""
    text = f"measuring on {counted(len(others), 'held-out prompt')}"
    with stage("held-out", text, len(rules) * len(others), "answer") as others.decoded:
        return (others.refer(), *map(others.run, rules[1:]))


def rule_of(setting: Setting) -> DefaultRule:
    """Returns a strength as an artifact records it.

    Args:
        setting: What is set.
    """
    call = {name: str(value) for name, value in setting.axes if name in OF_THE_CALL}
    return DefaultRule(
        policy=setting.policy,
        options={name: value for name, value in setting.axes if name not in OF_THE_CALL},
        window=call.get("window"),
        cache=call.get("cache"),
        guard=(call["guard"],) if "guard" in call else (),
    )


def described(rule: DefaultRule) -> str:
    """Returns a rule with what is set of it, such as `eb (gamma=0.3)`."""
    parts = {"window": rule.window, "cache": rule.cache, "guard": ", ".join(rule.guard)}
    values = {**rule.options, **{name: value for name, value in parts.items() if value}}
    listed = ", ".join(f"{name}={value}" for name, value in values.items())
    return f"{rule.policy} ({listed})" if listed else rule.policy


def _rounded(score: Score) -> Score:
    """To what is worth reading."""
    return Score(*(round(float(value), 4) for value in astuple(score)))
