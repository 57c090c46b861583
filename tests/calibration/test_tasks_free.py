"""Tasks of free answers: whatever is chosen is right if it agrees, and wrong if it does not."""

import json
import random
import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_calibration.tasks import GROUPS, TASKS, Item, Verdict, items
from dawn_calibration.tasks.coupled_calls import ARGUMENTS, FUNCTIONS, Call
from dawn_calibration.tasks.coupled_record import Request
from dawn_calibration.tasks.coupled_story import Sale, pronoun_of
from dawn_calibration.tasks.coupled_sudoku import Sudoku
from dawn_calibration.tasks.grid import written
from dawn_calibration.tasks.words import PEOPLE, WOMEN

RECORD = "Write the JSON record of any baker aged 34: name, age, job, id and as key "
RECORD += "the name and the id."
CALL = "Write a Python function of any name that subtracts two values, "
CALL += "and call it by name with 3 and 15."
SUM = CALL.replace("subtracts", "adds")
TABLES = "Write a table of any three people with an id each, "
TABLES += "and a table of who buys the box, cup and map."
STORY = "Write how any person sells the box in May and gets coins in Rome."
SUDOKU = "Fill this sudoku:\n1...\n..3.\n....\n...."

RIGHT_RECORD = '{"id": 47, "name": "Ann", "key": "Ann47", "job": "baker", "age": 34}'
RIGHT_CALL = "def area(my_item, new_count): return my_item - new_count\n"
RIGHT_CALL += "area(my_item=3, new_count=15)"
RIGHT_TABLES = "id, name\n4, Ann\n7, Tom\n2, Ida\nid, item\n7, box\n2, cup\n4, map"
RIGHT_STORY = "In May Ann sells the box to Tom for 47 coins. In Rome Tom gives Ann the 47 coins. "
RIGHT_STORY += "Now he has the box."
RIGHT_SUDOKU = "1324\n2431\n3142\n4213"

people = st.sampled_from(PEOPLE)
two_people = st.lists(people, min_size=2, max_size=2, unique=True)
numbers = st.integers(10, 99)


def check(task: str, prompt: str, text: str) -> Verdict:
    return TASKS[task].check(Item(task, "", prompt, ""), text)


@pytest.mark.parametrize("name", GROUPS["free"])
def test_the_same_problem_has_many_answers(name: str) -> None:
    task, rng = TASKS[name], random.Random(0)
    problem = task.draw(rng)
    answers = {task.solve(problem, rng) for _ in range(200)}
    assert len(answers) >= 10
    assert all(task.judge(problem, answer).correct for answer in answers)


@pytest.mark.parametrize("name", GROUPS["free"])
def test_two_answers_cut_together_are_hardly_ever_right(name: str) -> None:
    task, rng = TASKS[name], random.Random(0)
    right = 0
    for _ in range(300):
        problem = task.draw(rng)
        first, second = task.solve(problem, rng), task.solve(problem, rng)
        mixed = first[: len(first) // 2] + second[len(second) // 2 :]
        right += mixed not in (first, second) and task.judge(problem, mixed).correct
    assert right <= 30


@pytest.mark.parametrize("name", GROUPS["free"])
def test_writing_one_word_of_an_answer_over_another_makes_it_wrong(name: str) -> None:
    rng = random.Random(0)
    for item in islice(items(TASKS[name], "train", 0), 100):
        words = list(re.finditer(r"\w+", item.answer))
        for old in words:
            new = rng.choice([word.group() for word in words if word.group() != old.group()])
            broken = item.answer[: old.start()] + new + item.answer[old.end() :]
            assert not TASKS[name].check(item, broken).correct, broken


@pytest.mark.parametrize("name", GROUPS["free"])
def test_answers_fit_what_the_small_models_write(name: str) -> None:
    for item in islice(items(TASKS[name], "train", 0), 500):
        assert len(item.answer) <= 120


# Records


@given(name=people, number=numbers, order=st.permutations(range(5)))
@settings(max_examples=50)
def test_any_name_id_and_order_of_fields_is_right(name: str, number: int, order: list[int]) -> None:
    fields = list(Request("baker", 34, "the name and the id").record(name, number).items())
    text = json.dumps(dict(fields[i] for i in order))
    assert check("coupled-record", RECORD, text).correct
    broken = text.replace(f"{name}{number}", f"{name}{109 - number}")
    assert "the field 'key' should be" in check("coupled-record", RECORD, broken).reason


@given(names=two_people, number=numbers)
@settings(max_examples=30)
def test_the_key_of_another_name_is_wrong(names: list[str], number: int) -> None:
    record = Request("baker", 34, "the name and the id").record(names[0], number)
    text = json.dumps({**record, "key": f"{names[1]}{number}"})
    assert "the field 'key' should be" in check("coupled-record", RECORD, text).reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Ann47", "47Ann", "'key' should be 'Ann47'"),
        ("Ann", "Bob", "one of the known names in 'name', got 'Bob'"),
        ('"Ann"', '["Ann"]', "one of the known names in 'name', got ['Ann']"),
        ("47", "7", "a number from 10 to 99 in 'id', got 7"),
        ("47,", '"47",', "a number from 10 to 99 in 'id', got '47'"),
        ("47,", "47.0,", "a number from 10 to 99 in 'id', got 47.0"),
        ("34", "35", "'age' should be 34"),
        ("baker", "nurse", "'job' should be 'baker'"),
        (', "age": 34', "", "expected the fields"),
        ('"age": 34', '"id": 47', "given twice"),
        ("}", "", "not JSON"),
        (RIGHT_RECORD, f"[{RIGHT_RECORD}]", "not a JSON object"),
    ],
)
def test_records_name_the_fault(old: str, new: str, reason: str) -> None:
    assert check("coupled-record", RECORD, RIGHT_RECORD).correct
    assert reason in check("coupled-record", RECORD, RIGHT_RECORD.replace(old, new)).reason


def test_the_order_of_the_key_is_that_of_the_prompt() -> None:
    turned = RECORD.replace("the name and the id", "the id and the name")
    assert not check("coupled-record", turned, RIGHT_RECORD).correct
    assert check("coupled-record", turned, RIGHT_RECORD.replace("Ann47", "47Ann")).correct


# Calls


@given(
    function=st.sampled_from(FUNCTIONS),
    arguments=st.lists(st.sampled_from(ARGUMENTS), min_size=3, max_size=3, unique=True),
)
@settings(max_examples=50)
def test_any_names_of_a_function_are_right_if_the_call_uses_them(
    function: str, arguments: list[str]
) -> None:
    first, second, stranger = arguments
    text = Call("subtracts", 3, 15).answer(function, first, second)
    assert check("coupled-calls", CALL, text).correct
    definition, call = text.split("\n")
    for broken in (
        f"{definition}\n{call.replace(first, stranger)}",
        f"{definition.replace(second, stranger)}\n{call}",
        f"{definition}\nx{call}",
        text.replace(f"return {first}", f"return {stranger}"),
    ):
        assert not check("coupled-calls", CALL, broken).correct


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\narea", "\nrate", "the function is 'area', the call is of 'rate'"),
        ("new_count=", "new_item=", "the call names ['my_item', 'new_item']"),
        (", new_count=15", "", "the call names ['my_item']"),
        ("new_count=15", "**new_count", "the call names ['my_item', None]"),
        ("my_item=3", "3", "not a call by name"),
        ("15)", "16)", "expected a call with {'my_item': 3, 'new_count': 15}"),
        ("15)", "True)", "expected a call with"),
        ("3,", "3.0,", "expected a call with"),
        ("- new_count", "+ new_count", "computes something else"),
        ("my_item - new_count", "new_count - my_item", "computes something else"),
        ("my_item - new_count", "my_item - my_item", "computes something else"),
        ("my_item - new_count", "my_item", "computes something else"),
        ("my_item, new_count)", "my_item)", "expected two arguments, got 1"),
        ("new_count", "count", "'count' is not a name for an argument"),
        ("area", "f", "'f' is not a name for a function"),
        ("\narea", "\n\n\nx = 1\narea", "a Python function and one more statement"),
        ("):", ")", "a Python function and one more statement"),
        ("new_count", "my_item", "a Python function and one more statement"),
        ("my_item, new_count)", "my_item, my_item)", "a Python function and one more statement"),
        ("new_count=", "my_item=", "a Python function and one more statement"),
    ],
)
def test_calls_name_the_fault(old: str, new: str, reason: str) -> None:
    assert check("coupled-calls", CALL, RIGHT_CALL).correct
    assert reason in check("coupled-calls", CALL, RIGHT_CALL.replace(old, new)).reason


def test_a_sum_may_be_turned_and_arguments_be_given_in_any_order() -> None:
    text = "def area(my_item, new_count): return new_count + my_item\n"
    text += "area(new_count=15, my_item=3)"
    assert check("coupled-calls", SUM, text).correct
    swapped = text.replace("new_count=15, my_item=3", "new_count=3, my_item=15")
    assert not check("coupled-calls", SUM, swapped).correct


# Tables


@given(
    names=st.lists(people, min_size=3, max_size=3, unique=True),
    ids=st.lists(st.sampled_from("123456789"), min_size=4, max_size=4, unique=True),
    buyers=st.permutations(range(3)),
    order=st.permutations(["box", "cup", "map"]),
)
@settings(max_examples=50)
def test_any_ids_are_right_if_both_tables_have_them(
    names: list[str], ids: list[str], buyers: list[int], order: list[str]
) -> None:
    known, stranger = ids[:3], ids[3]
    head = "\n".join(f"{number}, {name}" for number, name in zip(known, names, strict=True))
    rows = [f"{known[i]}, {thing}" for i, thing in zip(buyers, order, strict=True)]
    text = "\n".join(["id, name", head, "id, item", *rows])
    assert check("coupled-tables", TABLES, text).correct
    for wrong_id in (stranger, known[buyers[1]]):
        broken = "\n".join(["id, name", head, "id, item", f"{wrong_id}, {order[0]}", *rows[1:]])
        assert "in one table" in check("coupled-tables", TABLES, broken).reason


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("\n2, Ida", "\n4, Ida", "3 digits that differ"),
        ("\n2, Ida", "\n12, Ida", "3 digits that differ"),
        ("Ida", "Tom", "3 known ones that differ"),
        ("Ida", "Bob", "3 known ones that differ"),
        ("box", "cup", "the items should be ('box', 'cup', 'map')"),
        ("box", "hat", "the items should be ('box', 'cup', 'map')"),
        ("id, item", "id, name", "the heads should be"),
        ("\n7, Tom", "", "expected two tables of 3 rows"),
        ("7, Tom", "7, Tom, 1", "expected two tables of 3 rows"),
        ("7, Tom", "7", "expected two tables of 3 rows"),
        ("7, Tom", '7, "Tom', "expected two tables of 3 rows"),
    ],
)
def test_tables_name_the_fault(old: str, new: str, reason: str) -> None:
    assert check("coupled-tables", TABLES, RIGHT_TABLES).correct
    assert reason in check("coupled-tables", TABLES, RIGHT_TABLES.replace(old, new)).reason


def test_tables_are_read_as_csv() -> None:
    assert check("coupled-tables", TABLES, RIGHT_TABLES.replace(", ", ",")).correct
    assert check("coupled-tables", TABLES, RIGHT_TABLES.replace("Tom", '"Tom"')).correct


def test_tables_read_no_prompt_that_names_an_item_twice() -> None:
    assert TASKS["coupled-tables"].read(TABLES.replace("cup", "box")) is None


# Stories


@given(pair=two_people, price=numbers)
@settings(max_examples=50)
def test_any_two_people_and_price_are_right_if_they_stay_the_same(
    pair: list[str], price: int
) -> None:
    seller, buyer = pair
    text = Sale("box", "May", "Rome").answer(seller, buyer, price)
    assert check("coupled-story", STORY, text).correct
    for old, new in (
        (f"{buyer} gives", f"{seller} gives"),
        (f"gives {seller}", f"gives {buyer}"),
        (f"the {price} coins", f"the {109 - price} coins"),
        (f"Now {pronoun_of(buyer)}", f"Now {'he' if pronoun_of(buyer) == 'she' else 'she'}"),
    ):
        assert not check("coupled-story", STORY, text.replace(old, new)).correct


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Tom gives", "Ben gives", "the giver should be 'Tom', got 'Ben'"),
        ("gives Ann", "gives Ida", "the taker should be 'Ann', got 'Ida'"),
        ("Tom", "Ann", "'Ann' both sells and buys"),
        ("the 47", "the 48", "the paid should be '47', got '48'"),
        ("47", "7", "the price should be from 10 to 99"),
        ("he has", "she has", "the pronoun should be 'he', got 'she'"),
        ("has the box", "has the cup", "the owned should be 'box', got 'cup'"),
        ("the box to", "the cup to", "the thing should be 'box', got 'cup'"),
        ("May", "June", "the month should be 'May', got 'June'"),
        ("Rome", "Oslo", "the city should be 'Rome', got 'Oslo'"),
        ("Now", "Then", "not a story of the form"),
    ],
)
def test_stories_name_the_fault(old: str, new: str, reason: str) -> None:
    assert check("coupled-story", STORY, RIGHT_STORY).correct
    assert reason in check("coupled-story", STORY, RIGHT_STORY.replace(old, new)).reason


def test_those_who_are_she_are_people() -> None:
    assert set(WOMEN) < set(PEOPLE)
    assert len(set(WOMEN)) == len(WOMEN)


# Sudokus


def test_an_empty_sudoku_has_288_solutions() -> None:
    solutions = Sudoku("." * 16).solutions()
    assert len(solutions) == len(set(solutions)) == 288
    prompt = f"Fill this sudoku:\n{written('.' * 16)}"
    for cells in solutions:
        assert check("coupled-sudoku", prompt, written(cells)).correct


@given(data=st.data())
@settings(max_examples=50)
def test_every_solution_that_keeps_the_givens_is_right_and_no_other(data: st.DataObject) -> None:
    full = data.draw(st.sampled_from(Sudoku("." * 16).solutions()))
    shown = data.draw(st.sets(st.integers(0, 15), max_size=6))
    problem = Sudoku("".join(cell if i in shown else "." for i, cell in enumerate(full)))
    prompt = f"Fill this sudoku:\n{written(problem.givens)}"
    other = data.draw(st.sampled_from(Sudoku("." * 16).solutions()))
    kept = all(other[i] == full[i] for i in shown)
    assert check("coupled-sudoku", prompt, written(full)).correct
    assert check("coupled-sudoku", prompt, written(other)).correct == kept
    assert (other in problem.solutions()) == kept


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("1324", "4321", "the given 1 of row 1, column 1 is changed"),
        ("1324", "1322", "row 1 holds a digit twice"),
        ("4213", "4231", "column 3 holds a digit twice"),
        (RIGHT_SUDOKU, "1234\n2341\n3412\n4123", "the given 3 of row 2, column 3 is changed"),
        (RIGHT_SUDOKU, "1243\n2134\n3412\n4321", "box"),
        ("1324\n", "1324", "four lines of four digits"),
        ("1324", "1325", "four lines of four digits"),
        ("1324", "132\u0664", "four lines of four digits"),
    ],
)
def test_sudokus_name_the_fault(old: str, new: str, reason: str) -> None:
    assert check("coupled-sudoku", SUDOKU, RIGHT_SUDOKU).correct
    assert reason in check("coupled-sudoku", SUDOKU, RIGHT_SUDOKU.replace(old, new)).reason


def test_a_latin_square_with_a_digit_twice_in_a_box_is_wrong() -> None:
    prompt = "Fill this sudoku:\n1...\n....\n....\n...."
    assert check("coupled-sudoku", prompt, "1234\n2143\n3412\n4321").reason == (
        "box 1 holds a digit twice"
    )


@pytest.mark.parametrize("grid", ["11..\n....\n....\n....", "12..\n..3.\n..4.\n....", RIGHT_SUDOKU])
def test_sudokus_without_a_solution_or_a_gap_are_not_read(grid: str) -> None:
    assert TASKS["coupled-sudoku"].read(f"Fill this sudoku:\n{grid}") is None
