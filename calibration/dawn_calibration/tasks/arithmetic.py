"""Step-by-step word problems: two or three operations over small numbers.

    Ann has 12 apples. Ann buys 3 bags of 4 apples. How many apples are there now?
    3 * 4 = 12. 12 + 12 = 24. Answer: 24

A story starts with an amount and adds or takes amounts; an amount is a number or a product such as
"3 bags of 4". The answer computes it in the order of the story, one operation a sentence.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.template import NUMBER, Template, one_of, read_any, templates
from dawn_calibration.tasks.words import PEOPLE

LIMIT = 20
LARGEST_AMOUNT, LARGEST_FACTOR = 9, 4
"""No total is above the limit; amounts and factors are small enough for a model of a few million
parameters to learn their sums."""

_GOODS = ("apples", "books", "cakes", "coins", "eggs", "pens", "roses", "stamps")
_PACKS = ("bags", "boxes", "rows")
_HOLES = {
    "who": one_of(PEOPLE),
    "friend": one_of(PEOPLE),
    "goods": one_of(_GOODS),
    "amount": f"{NUMBER}(?: {one_of(_PACKS)} of {NUMBER})?",
}

_OPENINGS = templates(
    _HOLES,
    "{who} has {amount} {goods}.",
    "{who} starts with {amount} {goods}.",
    "There are {amount} {goods} in the house of {who}.",
)
_GAINS = templates(
    _HOLES,
    "{who} buys {amount} {goods}.",
    "Then {who} finds {amount} {goods}.",
    "{friend} brings {amount} {goods}.",
    "Then {who} gets {amount} {goods} from {friend}.",
)
_LOSSES = templates(
    _HOLES,
    "{who} sells {amount} {goods}.",
    "Then {who} loses {amount} {goods}.",
    "{friend} takes {amount} {goods}.",
    "Then {who} gives {amount} {goods} to {friend}.",
)
_QUESTIONS = templates(
    _HOLES,
    "How many {goods} are there now?",
    "How many {goods} does {who} have now?",
)

# Amounts of a story, in order: n a number, p a product. Each stands for two or three operations.
_SHAPES = ("nnn", "nnnn", "pn", "np", "pnn", "npn", "nnp", "pp")

_STEP = re.compile(rf"({NUMBER}) ([-+*]) ({NUMBER}) = ({NUMBER})\. ")
_FINAL = re.compile(rf"Answer: ({NUMBER})")


@dataclass(frozen=True, slots=True)
class Term:
    """One amount of a story.

    Attributes:
        sign: 1 if the amount is added, -1 if it is taken.
        factors: One number, or the two factors of a product.
    """

    sign: int
    factors: tuple[int, ...]

    @property
    def value(self) -> int:
        """The amount without its sign."""
        return self.factors[0] * (self.factors[1] if len(self.factors) == 2 else 1)

    @property
    def key(self) -> str:
        """The amount with its sign; the order of factors does not matter."""
        return ("+" if self.sign > 0 else "-") + "*".join(map(str, sorted(self.factors)))


@dataclass(frozen=True, slots=True)
class Step:
    """One operation as it is written, ``left operator right = result``."""

    left: int
    operator: str
    right: int
    result: int

    def __str__(self) -> str:
        return f"{self.left} {self.operator} {self.right} = {self.result}."

    def means(self, other: "Step") -> bool:
        """Whether both are the same operation; sums and products may be turned round."""
        turned = Step(self.right, self.operator, self.left, self.result)
        return self == other or (self.operator in "+*" and turned == other)


@dataclass(frozen=True, slots=True)
class Story:
    """The amounts of a word problem in the order of the telling."""

    terms: tuple[Term, ...]

    @property
    def key(self) -> str:
        """The amounts in a canonical order: stories that differ in order alone share it."""
        return " ".join(sorted(term.key for term in self.terms))

    def totals(self) -> list[int]:
        """Returns what there is after every term."""
        totals: list[int] = []
        for term in self.terms:
            totals.append((totals[-1] if totals else 0) + term.sign * term.value)
        return totals

    def steps(self) -> list[Step]:
        """Returns the operations, each product right before the sum that uses it."""
        steps: list[Step] = []
        totals = self.totals()
        for i, term in enumerate(self.terms):
            if len(term.factors) == 2:
                steps.append(Step(term.factors[0], "*", term.factors[1], term.value))
            if i > 0:
                operator = "+" if term.sign > 0 else "-"
                steps.append(Step(totals[i - 1], operator, term.value, totals[i]))
        return steps


class Arithmetic(Task[Story]):
    """Word problems whose every step is checked."""

    name = "arithmetic"

    def draw(self, rng: random.Random) -> Story:
        """Draws amounts until all totals are between 0 and 20."""
        while True:
            shape = rng.choice(_SHAPES)
            story = Story(tuple(_draw_term(rng, kind, i == 0) for i, kind in enumerate(shape)))
            if all(0 <= total <= LIMIT for total in story.totals()):
                return story

    def ask(self, problem: Story, rng: random.Random) -> str:
        """Tells the story about two people and one kind of goods."""
        who, friend = rng.sample(PEOPLE, 2)
        scene: dict[str, object] = {"who": who, "friend": friend, "goods": rng.choice(_GOODS)}
        sentences = []
        for i, term in enumerate(problem.terms):
            choices = _OPENINGS if i == 0 else _GAINS if term.sign > 0 else _LOSSES
            amount = f" {rng.choice(_PACKS)} of ".join(map(str, term.factors))
            sentences.append(rng.choice(choices).fill({**scene, "amount": amount}))
        sentences.append(rng.choice(_QUESTIONS).fill(scene))
        return " ".join(sentences)

    def solve(self, problem: Story, rng: random.Random) -> str:
        """Writes the operations in the order of the story, then the result."""
        steps = " ".join(map(str, problem.steps()))
        return f"{steps} Answer: {problem.totals()[-1]}"

    def read(self, prompt: str) -> Story | None:
        """Reads the amounts sentence by sentence."""
        opening, *events = prompt.split(". ")
        question = events.pop() if events else ""
        if read_any(_QUESTIONS, question) is None:
            return None
        terms = [_read_term(f"{opening}.", 1, _OPENINGS)]
        for event in events:
            sentence = f"{event}."
            terms.append(_read_term(sentence, 1, _GAINS) or _read_term(sentence, -1, _LOSSES))
        known = tuple(term for term in terms if term is not None)
        return Story(known) if 1 < len(known) == len(terms) else None

    def judge(self, problem: Story, text: str) -> Verdict:
        """Checks form, arithmetic and order of every step, then the final answer."""
        steps, rest = _read_steps(text)
        final = _FINAL.fullmatch(rest)
        if final is None:
            return wrong(
                f"expected steps and then 'Answer: N', got {rest!r} after {len(steps)} steps"
            )
        verdict = _judge_steps(problem, steps)
        if not verdict.correct:
            return verdict
        result = steps[-1].result
        if int(final[1]) != result:
            return wrong(f"the answer is {final[1]}, but the last step gives {result}")
        return RIGHT


def _draw_term(rng: random.Random, kind: str, first: bool) -> Term:
    sign = 1 if first else rng.choice((1, -1))
    if kind == "p":
        return Term(sign, (rng.randint(2, LARGEST_FACTOR), rng.randint(2, LARGEST_FACTOR)))
    return Term(sign, (rng.randint(1, LARGEST_AMOUNT),))


def _read_term(sentence: str, sign: int, choices: Sequence[Template]) -> Term | None:
    values = read_any(choices, sentence)
    if values is None:
        return None
    return Term(sign, tuple(map(int, re.findall(NUMBER, values["amount"]))))


def _read_steps(text: str) -> tuple[list[Step], str]:
    """Returns the steps at the start of the text and what follows them."""
    steps = []
    end = 0
    while match := _STEP.match(text, end):
        steps.append(Step(int(match[1]), match[2], int(match[3]), int(match[4])))
        end = match.end()
    return steps, text[end:]


def _judge_steps(problem: Story, steps: Sequence[Step]) -> Verdict:
    """Sums and differences must follow the story; a product may be computed ahead of its turn."""
    missing = problem.steps()
    for step in steps:
        allowed = missing[:1] + [later for later in missing[1:] if later.operator == "*"]
        match = next((wanted for wanted in allowed if step.means(wanted)), None)
        if match is None:
            return wrong(f"the step '{step}' is wrong or not the next one of the story")
        missing.remove(match)
    return wrong(f"the step '{missing[0]}' is missing") if missing else RIGHT
