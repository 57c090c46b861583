"""Checkers of the tasks with one right result: arithmetic, sort, reverse, json, brackets."""

import random
from itertools import islice, permutations

import pytest

from dawn_calibration.tasks import TASKS, Item, Verdict, items
from dawn_calibration.tasks.arithmetic import Arithmetic

STORY = "Ann has 12 apples. Ben brings 3 bags of 4 apples. Ann sells 5 apples. "
STORY += "How many apples does Ann have now?"
PEOPLE = "Write the record as JSON: In Rome lives a baker named Maria, aged 34."


def check(task: str, prompt: str, text: str) -> Verdict:
    return TASKS[task].check(Item(task, "", prompt, ""), text)


@pytest.mark.parametrize(
    "text",
    [
        "3 * 4 = 12. 12 + 12 = 24. 24 - 5 = 19. Answer: 19",
        "4 * 3 = 12. 12 + 12 = 24. 24 - 5 = 19. Answer: 19",
    ],
)
def test_arithmetic_accepts_the_steps_of_the_story(text: str) -> None:
    assert check("arithmetic", STORY, text).correct


def test_arithmetic_accepts_turned_sums_and_early_products() -> None:
    prompt = "Ann has 9 eggs. Ann sells 2 eggs. Ann buys 2 rows of 5 eggs. "
    prompt += "How many eggs are there now?"
    assert check("arithmetic", prompt, "9 - 2 = 7. 2 * 5 = 10. 10 + 7 = 17. Answer: 17").correct
    assert check("arithmetic", prompt, "5 * 2 = 10. 9 - 2 = 7. 7 + 10 = 17. Answer: 17").correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Answer: 19", "the step '3 * 4 = 12.' is missing"),
        ("3 * 4 = 12. 12 + 12 = 24. Answer: 24", "the step '24 - 5 = 19.' is missing"),
        ("3 * 4 = 13. 12 + 13 = 25. 25 - 5 = 20. Answer: 20", "'3 * 4 = 13.' is wrong"),
        ("12 + 12 = 24. 3 * 4 = 12. 24 - 5 = 19. Answer: 19", "'12 + 12 = 24.' is wrong"),
        ("3 * 4 = 12. 12 - 5 = 7. 7 + 12 = 19. Answer: 19", "not the next one of the story"),
        ("3 * 4 = 12. 12 + 12 = 24. 5 - 24 = 19. Answer: 19", "'5 - 24 = 19.' is wrong"),
        ("3 * 4 = 12. 12 + 12 = 24. 24 - 5 = 19. 19 + 0 = 19. Answer: 19", "'19 + 0 = 19.'"),
        ("3 * 4 = 12. 12 + 12 = 24. 24 - 5 = 19. Answer: 24", "the last step gives 19"),
        ("3 * 4 = 12. 12 + 12 = 24. 24 - 5 = 19.", "expected steps and then 'Answer: N'"),
        ("3 * 4 = 12.  12 + 12 = 24. 24 - 5 = 19. Answer: 19", "after 1 steps"),
        ("3 * 4 = 12. 12 + 12 = 24. 24 - 5 = 19. Answer: 019", "after 3 steps"),
        ("3 * 4 = 1²", "after 0 steps"),
    ],
)
def test_arithmetic_names_the_first_fault(text: str, reason: str) -> None:
    verdict = check("arithmetic", STORY, text)
    assert not verdict.correct
    assert reason in verdict.reason


def test_arithmetic_draws_two_or_three_steps_between_0_and_20() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        steps = Arithmetic().draw(rng).steps()
        assert len(steps) in (2, 3)
        for step in steps:
            assert {step.left, step.right, step.result} <= set(range(21))


def test_arithmetic_does_not_read_a_story_without_events() -> None:
    prompt = "Ann has 12 apples. How many apples are there now?"
    assert TASKS["arithmetic"].read(prompt) is None


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_sort_accepts_one_of_all_orders(order: str) -> None:
    numbers = ["42", "7", "0", "88"]
    right = "0 7 42 88" if order == "ascending" else "88 42 7 0"
    for permuted in permutations(numbers):
        text = " ".join(permuted)
        verdict = check("sort", f"Sort {order}: {' '.join(numbers)}", text)
        assert verdict.correct == (text == right)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("7 42", "not those of the prompt"),
        ("7 7 19 42", "not those of the prompt"),
        ("07 19 42", "single spaces"),
        ("7, 19, 42", "single spaces"),
        ("7 19 4²", "single spaces"),
        ("42 19 7", "not in the order asked for"),
    ],
)
def test_sort_names_the_fault(text: str, reason: str) -> None:
    assert reason in check("sort", "Sort ascending: 42 7 19", text).reason


def test_reverse_accepts_one_of_all_orders() -> None:
    words = ("cat", "lamp", "cat", "door")
    for permuted in set(permutations(words)):
        verdict = check("reverse", "Reverse this list: cat lamp cat door", " ".join(permuted))
        assert verdict.correct == (permuted == words[::-1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cat lamp door", "not in reverse order"),
        ("door lamp", "not those of the prompt"),
        ("door  lamp cat", "not those of the prompt"),
        ("Door lamp cat", "not those of the prompt"),
    ],
)
def test_reverse_names_the_fault(text: str, reason: str) -> None:
    assert reason in check("reverse", "Reverse this list: cat lamp door", text).reason


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Maria", "age": 34, "city": "Rome", "job": "baker"}',
        '{"job":"baker","city":"Rome","age":34,"name":"Maria"}',
        '{\n "name": "\\u004daria", "age": 34,\n "city": "Rome", "job": "baker"}',
    ],
)
def test_json_accepts_any_order_and_spacing(text: str) -> None:
    assert check("json", PEOPLE, text).correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"name": "Maria", "age": "34", "city": "Rome", "job": "baker"}', "'age' should be 34"),
        ('{"name": "Maria", "age": 34.0, "city": "Rome", "job": "baker"}', "'age' should be 34"),
        ('{"name": "Maria", "age": true, "city": "Rome", "job": "baker"}', "'age' should be 34"),
        ('{"name": "Maria", "age": 34, "city": "Rome", "job": ["baker"]}', "'job' should be"),
        ('{"name": "Maria", "age": 34, "city": "Rome"}', "expected the fields"),
        ('{"name": "Maria", "age": 34, "city": "Rome", "job": "baker", "x": 1}', "expected the"),
        ('{"age": 3, "name": "Maria", "age": 34, "city": "Rome", "job": "baker"}', "given twice"),
        ('["Maria", 34, "Rome", "baker"]', "not a JSON object"),
        ('{"name": "Maria", "age": 34, "city": "Rome", "job": "baker"', "not JSON"),
        ("{'name': 'Maria', 'age': 34, 'city': 'Rome', 'job': 'baker'}", "not JSON"),
    ],
)
def test_json_names_the_fault(text: str, reason: str) -> None:
    assert reason in check("json", PEOPLE, text).reason


@pytest.mark.parametrize("text", ["} ] )", "}])", "} ]\n)"])
def test_brackets_accept_any_whitespace(text: str) -> None:
    assert check("brackets", "Close the brackets: ( [ ( ) {", text).correct


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("} ]", "1 brackets are left open"),
        (") ] }", "')' does not close the innermost open bracket"),
        ("} ] ) )", "')' does not close"),
        ("{ } } ] )", "'{' does not close"),
        ("}])²", "'²' does not close"),
    ],
)
def test_brackets_name_the_fault(text: str, reason: str) -> None:
    assert reason in check("brackets", "Close the brackets: ( [ ( ) {", text).reason


def test_brackets_read_no_prompt_that_cannot_be_balanced() -> None:
    task = TASKS["brackets"]
    assert task.read("Close the brackets: ( ]") is None
    assert task.read("Close the brackets: ( )") is None


def test_brackets_have_the_lengths_and_depths_promised() -> None:
    drawn = list(islice(items(TASKS["brackets"], "train", 0), 2000))
    lengths = {len(item.key) for item in drawn}
    depths = {len(item.answer.split()) for item in drawn}
    assert lengths == set(range(3, 11))
    assert depths == set(range(1, 7))


@pytest.mark.parametrize("task", ["sort", "reverse", "brackets"])
def test_swapping_two_parts_of_an_answer_makes_it_wrong(task: str) -> None:
    for item in islice(items(TASKS[task], "train", 9), 300):
        parts = item.answer.split()
        for i in range(len(parts) - 1):
            swapped = [*parts[:i], parts[i + 1], parts[i], *parts[i + 2 :]]
            verdict = TASKS[task].check(item, " ".join(swapped))
            assert verdict.correct == (parts == swapped)
