"""Coupled choices: every choice is right, no mixture is, and the likeliest parts are a mixture."""

import ast
import random
from collections.abc import Sequence
from itertools import islice, product

import pytest

from dawn_calibration.tasks import TASKS, Item, Verdict, items
from dawn_calibration.tasks.coupled_code import VARIABLES, CoupledCode
from dawn_calibration.tasks.coupled_names import CITIES, CoupledNames
from dawn_calibration.tasks.coupled_phrases import NOTES, CoupledPhrases
from dawn_calibration.tasks.coupling import Choice, pick
from dawn_calibration.tasks.polynomial import read_polynomial

GROUPS = [*CITIES.values(), *NOTES.values(), VARIABLES]
CODE = "Write a Python function named area that multiplies its argument by 3."
SUM = "Write a Python function named area that adds 3 to all values and sums them."


def modes(choices: Sequence[Choice]) -> tuple[str, ...]:
    """The likeliest variant of every part, each for itself."""
    likeliest = []
    for i in range(len(choices[0].parts)):
        weights: dict[str, int] = {}
        for choice in choices:
            weights[choice.parts[i]] = weights.get(choice.parts[i], 0) + choice.weight
        best = max(weights.values())
        (mode,) = (part for part, weight in weights.items() if weight == best)
        likeliest.append(mode)
    return tuple(likeliest)


def mixtures(choices: Sequence[Choice]) -> list[Choice]:
    """All combinations of parts that no single choice has."""
    known = {choice.parts for choice in choices}
    parts = zip(*(choice.parts for choice in choices), strict=True)
    combinations = product(*(sorted(set(variants)) for variants in parts))
    return [Choice(mixed, 1) for mixed in combinations if mixed not in known]


def check(task: str, prompt: str, text: str) -> Verdict:
    return TASKS[task].check(Item(task, "", prompt, ""), text)


@pytest.mark.parametrize("choices", GROUPS, ids=lambda choices: choices[0].parts[0])
def test_combining_the_likeliest_parts_gives_no_choice(choices: Sequence[Choice]) -> None:
    assert modes(choices) not in {choice.parts for choice in choices}


@pytest.mark.parametrize("choices", GROUPS, ids=lambda choices: choices[0].parts[0])
def test_parts_stand_in_the_same_places_in_all_choices(choices: Sequence[Choice]) -> None:
    shapes = {tuple(len(part.split()) for part in choice.parts) for choice in choices}
    assert len(shapes) == 1
    assert sum(choice.weight for choice in choices) == 100


def test_phrases_couple_three_parts() -> None:
    assert all(len(choice.parts) == 3 for notes in NOTES.values() for choice in notes)


def test_every_city_of_the_kind_is_right_and_every_mixture_wrong() -> None:
    task, rng = CoupledNames(), random.Random(0)
    for _ in range(40):
        trip = task.draw(rng)
        prompt = task.ask(trip, rng)
        for choice in CITIES[trip.kind]:
            assert check(task.name, prompt, trip.answer(choice)).correct
        for choice in mixtures(CITIES[trip.kind]):
            verdict = check(task.name, prompt, trip.answer(choice))
            assert not verdict.correct
            assert f"no {trip.kind} city" in verdict.reason


def test_names_must_agree_with_the_prompt_and_with_each_other() -> None:
    prompt = "Name a big city and its country for Ann, who goes there by train in May."
    right = "Ann goes to New York in May by train. New York is in America."
    assert check("coupled-names", prompt, right).correct
    for old, new, reason in (
        ("Ann", "Ben", "who should be 'Ann'"),
        ("May", "June", "month should be 'May'"),
        ("train", "bus", "vehicle should be 'train'"),
        ("New York is", "New Delhi is", "names two cities"),
        ("America", "India", "no big city"),
    ):
        verdict = check("coupled-names", prompt, right.replace(old, new))
        assert not verdict.correct
        assert reason in verdict.reason


def test_a_city_of_another_kind_is_wrong() -> None:
    prompt = "Name a far city and its country for Ann, who goes there by train in May."
    text = "Ann goes to New York in May by train. New York is in America."
    assert "no far city" in check("coupled-names", prompt, text).reason


def test_every_note_of_the_tone_is_right_and_every_mixture_wrong() -> None:
    task, rng = CoupledPhrases(), random.Random(0)
    for _ in range(40):
        note = task.draw(rng)
        prompt = task.ask(note, rng)
        for choice in NOTES[note.tone]:
            assert check(task.name, prompt, note.answer(choice)).correct
        for choice in mixtures(NOTES[note.tone]):
            verdict = check(task.name, prompt, note.answer(choice))
            assert verdict == Verdict(False, f"the phrases are not those of one {note.tone} note")


def test_notes_must_agree_with_the_prompt() -> None:
    prompt = "The box is here. Write a polite note about it from Ann."
    right = "Dear Sir, I am glad that the box is here. Yours truly, Ann"
    assert check("coupled-phrases", prompt, right).correct
    for old, new in (("Ann", "Ben"), ("box", "key"), ("here", "lost")):
        assert "should be" in check("coupled-phrases", prompt, right.replace(old, new)).reason


def test_every_variable_is_right_if_it_is_used_throughout() -> None:
    task, rng = CoupledCode(), random.Random(0)
    names = ["_".join(choice.parts) for choice in VARIABLES]
    strangers = ["_".join(choice.parts) for choice in mixtures(VARIABLES)]
    for item in islice(items(task, "train", 0), 100):
        (used,) = (name for name in names if name in item.answer)
        other = rng.choice([name for name in names if name != used])
        assert task.check(item, item.answer.replace(used, other)).correct
        assert not task.check(item, item.answer.replace(used, other, 1)).correct
        assert not task.check(item, item.answer.replace(used, rng.choice(strangers))).correct


@pytest.mark.parametrize(
    "text",
    [
        "def area(my_item): return my_item * 3",
        "def area(my_item): return 3 * my_item",
        "def area(my_item):\n    return (my_item + my_item) + my_item",
    ],
)
def test_code_may_be_written_in_any_way_that_computes_the_same(text: str) -> None:
    assert check("coupled-code", CODE, text).correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def size(my_item): return my_item * 3", "should be named 'area', got 'size'"),
        ("def area(my_item): return my_item * 4", "computes something else"),
        ("def area(my_item): return my_item + 3", "computes something else"),
        ("def area(my_item): return my_value * 3", "expected the variable 'my_item' alone"),
        ("def area(my_item): return 3", "expected the variable 'my_item' alone"),
        ("def area(my_number): return my_number * 3", "not a variable of the house style"),
        ("def area(my_item): return my_item * 3.0", "products of integers"),
        ("def area(my_item): return my_item * True", "products of integers"),
        ("def area(my_item): return my_item / 3", "products of integers"),
        ("def area(my_item): return -my_item * 3", "products of integers"),
        ("def area(my_item=3): return my_item * 3", "not one Python function"),
        ("def area(my_item: int): return my_item * 3", "not one Python function"),
        ("def area(my_item) -> int: return my_item * 3", "not one Python function"),
        ("def area(my_item, *rest): return my_item * 3", "not one Python function"),
        ("def area(my_item, /): return my_item * 3", "not one Python function"),
        ("@area\ndef area(my_item): return my_item * 3", "not one Python function"),
        ("async def area(my_item): return my_item * 3", "not one Python function"),
        ("def area(my_item): my_item * 3", "not one Python function"),
        ("def area(my_item): return", "not one Python function"),
        ("def area(my_item): return my_item * 3 # no", "not one Python function"),
        ("def area(my_item): return my_item * 3)", "not one Python function"),
        ("def area(ｍy_item): return my_item * 3", "not one Python function"),  # noqa: RUF001
    ],
)
def test_code_names_the_fault(text: str, reason: str) -> None:
    assert reason in check("coupled-code", CODE, text).reason


def test_sums_are_read_from_generators_and_lists() -> None:
    for text in (
        "def area(values): return sum(my_item + 3 for my_item in values)",
        "def area(values): return sum([3 + my_item for my_item in values])",
    ):
        assert check("coupled-code", SUM, text).correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def area(values): return sum(my_item + 3 for my_value in values)", "'my_value' alone"),
        ("def area(values): return sum(values + 3 for my_item in values)", "'my_item' alone"),
        ("def area(values): return sum(my_item + 3 for my_item in other)", "does not sum over"),
        ("def area(my_item): return sum(my_item + 3 for my_item in my_item)", "does not sum"),
        ("def area(values): return max(my_item + 3 for my_item in values)", "does not sum over"),
        ("def area(values): return sum(my_item + 3 for my_item in values if 1)", "does not sum"),
        ("def area(values): return sum({my_item + 3 for my_item in values})", "does not sum over"),
        ("def area(values): return sum([my_item + 3 for my_item in values], 1)", "does not sum"),
        ("def area(values): return values + 3", "does not sum over"),
    ],
)
def test_sums_name_the_fault(text: str, reason: str) -> None:
    assert reason in check("coupled-code", SUM, text).reason


@pytest.mark.parametrize(
    ("code", "coefficients"),
    [
        ("7", {0: 7}),
        ("v", {1: 1}),
        ("v + v + 3", {1: 2, 0: 3}),
        ("v - v", {}),
        ("(v + 2) * (v - 2)", {2: 1, 0: -4}),
    ],
)
def test_polynomials_are_read_by_power(code: str, coefficients: dict[int, int]) -> None:
    node = ast.parse(code, mode="eval").body
    given = read_polynomial(node)
    assert given is not None
    assert {power: number for power, number in given.items() if number} == coefficients


@pytest.mark.parametrize("code", ["v / 2", "v ** 2", "f(v)", "'v'", "2.0", "v if v else v"])
def test_other_expressions_are_no_polynomials(code: str) -> None:
    assert read_polynomial(ast.parse(code, mode="eval").body) is None


def test_choices_are_drawn_by_their_weight() -> None:
    rng = random.Random(0)
    drawn = [pick(rng, VARIABLES) for _ in range(5000)]
    for choice in VARIABLES:
        assert drawn.count(choice) / 5000 == pytest.approx(choice.weight / 100, abs=0.02)
