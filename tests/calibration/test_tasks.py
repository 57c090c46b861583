"""What holds for every task alike."""

import random
import re
from collections.abc import Sequence
from functools import cache
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_calibration import tasks
from dawn_calibration.tasks import GROUPS, TASKS, Item, ItemError, items
from dawn_runtime.errors import DawnError

every_task = pytest.mark.parametrize("name", TASKS)

HOSTILE = (
    "",
    " ",
    "\x00",
    "\ud800",
    "²",
    "Answer: ²",
    "\u0663 \u0664",
    "9" * 180,
    "9" * 10_000,
    f"1 + 2 = {'9' * 150}. Answer: {'9' * 20}",
    "[" * 199,
    "[" * 100_000,
    "(" * 199,
    "-" * 199,
    '{"name": NaN, "age": Infinity, "city": 1e999, "job": null}',
    '{"name": ' * 20,
    "def area(my_item): return " + "1+" * 80 + "1",
    "def area(my_item): return " + "-" * 150 + "1",
    "def area(my_item): return 1if my_item else '\\d'",
    "def area(ｍy_item): return my_item * 3",  # noqa: RUF001
    "def area(): return",
    "def area(*values, x=1): return sum()",
    "if x:",
)


@cache
def sample(name: str) -> Sequence[Item]:
    return tuple(islice(items(TASKS[name], "train", seed=7), 2000))


def words_of(text: str) -> list[str]:
    return re.findall(r"[A-Za-z]+", text)


def test_public_names_are_pinned() -> None:
    assert sorted(tasks.__all__) == [
        "GROUPS",
        "Item",
        "ItemError",
        "Split",
        "SplitError",
        "TASKS",
        "Task",
        "Verdict",
        "items",
        "split_of",
    ]
    assert all(hasattr(tasks, name) for name in tasks.__all__)


def test_registry_names_are_the_tasks_own() -> None:
    assert list(TASKS) == [
        "arithmetic",
        "sort",
        "reverse",
        "json",
        "brackets",
        "coupled-names",
        "coupled-phrases",
        "coupled-code",
        "coupled-record",
        "coupled-calls",
        "coupled-tables",
        "coupled-story",
        "coupled-sudoku",
    ]
    assert all(TASKS[name].name == name for name in TASKS)


def test_every_task_is_in_one_group() -> None:
    assert [name for group in GROUPS.values() for name in group] == list(TASKS)
    assert list(GROUPS) == ["plain", "coupled", "free"]


@every_task
def test_generated_answers_are_right(name: str) -> None:
    for item in sample(name):
        verdict = TASKS[name].check(item, item.answer)
        assert verdict.correct, (item, verdict)
        assert verdict.reason == ""


@every_task
def test_outer_whitespace_is_ignored(name: str) -> None:
    item = sample(name)[0]
    assert TASKS[name].check(item, f"  {item.answer}\n").correct


@every_task
def test_judging_consults_the_prompt_and_not_the_sampled_answer(name: str) -> None:
    item = sample(name)[0]
    bare = Item(task=name, key="", prompt=item.prompt, answer="")
    assert TASKS[name].check(bare, item.answer).correct


@every_task
def test_key_follows_from_the_prompt_alone(name: str) -> None:
    task = TASKS[name]
    for item in sample(name)[:500]:
        problem = task.read(item.prompt)
        assert problem is not None
        assert problem.key == item.key


@every_task
def test_key_is_independent_of_the_wording(name: str) -> None:
    task = TASKS[name]
    rng = random.Random(3)
    for _ in range(100):
        problem = task.draw(rng)
        rewordings = [task.read(task.ask(problem, rng)) for _ in range(8)]
        assert {reworded.key for reworded in rewordings if reworded} == {problem.key}
        assert None not in rewordings


@every_task
def test_changing_one_character_makes_an_answer_wrong(name: str) -> None:
    rng = random.Random(5)
    for item in sample(name)[:200]:
        for i, character in enumerate(item.answer):
            if character == " ":
                continue
            new = rng.choice([c for c in "0123456789aeinsAL()[]{}<>+-*=.,:_ " if c != character])
            mutant = item.answer[:i] + new + item.answer[i + 1 :]
            assert not TASKS[name].check(item, mutant).correct, (item, mutant)


@every_task
def test_dropping_one_character_makes_an_answer_wrong(name: str) -> None:
    for item in sample(name)[:200]:
        for i, character in enumerate(item.answer):
            mutant = item.answer[:i] + item.answer[i + 1 :]
            assert character == " " or not TASKS[name].check(item, mutant).correct, (item, mutant)


@every_task
def test_continuing_after_a_right_answer_is_wrong(name: str) -> None:
    for item in sample(name)[:50]:
        for more in (" and", " 5", item.answer, "\n" + item.answer, "\nx = 1", " #", ")"):
            assert not TASKS[name].check(item, item.answer + more).correct


@every_task
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:20]))
def test_hostile_text_is_wrong_and_the_reason_is_one_line(name: str, text: str) -> None:
    verdict = TASKS[name].check(sample(name)[0], text)
    assert not verdict.correct
    assert verdict.reason
    assert "\n" not in verdict.reason


@every_task
@settings(max_examples=60)
@given(data=st.data())
def test_no_text_makes_a_checker_raise(name: str, data: st.DataObject) -> None:
    item = data.draw(st.sampled_from(sample(name)[:20]))
    cut = data.draw(st.integers(0, len(item.answer)))
    alphabet = st.sampled_from(sorted(set(item.answer) | set('²٣ \n\x00\u2028({[<"\\')))
    noise = data.draw(st.text() | st.text(alphabet))
    for text in (noise, item.answer[:cut] + noise, noise + item.answer[cut:]):
        verdict = TASKS[name].check(item, text)
        assert verdict.correct == (verdict.reason == "")


@every_task
def test_an_item_of_another_task_is_refused(name: str) -> None:
    stranger = next(other for other in TASKS if other != name)
    with pytest.raises(ItemError, match=f"task '{name}' cannot read .*task '{stranger}'") as caught:
        TASKS[name].check(sample(stranger)[0], "")
    assert isinstance(caught.value, DawnError)


@every_task
@given(prompt=st.text())
@settings(max_examples=30)
def test_reading_a_foreign_prompt_finds_no_problem(name: str, prompt: str) -> None:
    assert TASKS[name].read(prompt) is None


def test_texts_are_short_and_their_vocabulary_is_small() -> None:
    vocabulary: set[str] = set()
    for name in TASKS:
        for item in sample(name):
            assert len(item.prompt.split()) <= 45
            assert len(re.findall(r"[A-Za-z]+|[^A-Za-z\s]", item.answer)) <= 45
            vocabulary.update(words_of(item.prompt), words_of(item.answer))
    assert len(vocabulary) <= 350
