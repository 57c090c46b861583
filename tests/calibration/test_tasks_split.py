"""The split cannot leak, and streams are the same in every process."""

import hashlib
import os
import random
import subprocess
import sys
from itertools import islice

import pytest

from dawn_calibration.tasks import TASKS, Item, SplitError, items, split_of
from dawn_calibration.tasks.arithmetic import Story, Term
from dawn_calibration.tasks.reverse import WordList
from dawn_calibration.tasks.sorting import Sorting
from dawn_runtime.errors import DawnError

every_task = pytest.mark.parametrize("name", TASKS)

DIGEST_OF_STREAMS = """
import hashlib
from itertools import islice
from dawn_calibration.tasks import TASKS, items
digest = hashlib.sha256()
for task in TASKS.values():
    for split in ("train", "heldout"):
        for item in islice(items(task, split, seed=11), 20):
            digest.update(repr(item).encode())
print(digest.hexdigest())
"""


def take(name: str, split: str, seed: int, count: int) -> list[Item]:
    return list(islice(items(TASKS[name], split, seed), count))  # type: ignore[arg-type]


def digest_in_new_process(hash_seed: str) -> str:
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", DIGEST_OF_STREAMS]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return result.stdout


def test_split_is_the_documented_function_of_task_and_key() -> None:
    digest = hashlib.sha256(b"sort\n7 19 42").digest()
    expected = "heldout" if int.from_bytes(digest[:8], "big") % 10 == 0 else "train"
    assert split_of(Item("sort", "7 19 42", "any prompt", "any answer")) == expected


def test_split_ignores_prompt_and_answer() -> None:
    rng = random.Random(0)
    for _ in range(200):
        key = str(rng.random())
        assert split_of(Item("t", key, "a", "b")) == split_of(Item("t", key, "c", "d"))


@every_task
def test_streams_yield_only_their_own_split(name: str) -> None:
    assert {split_of(item) for item in take(name, "train", 1, 500)} == {"train"}
    assert {split_of(item) for item in take(name, "heldout", 1, 100)} == {"heldout"}


@every_task
def test_no_held_out_problem_is_met_in_training_whatever_the_seed(name: str) -> None:
    train = {item.key for seed in range(3) for item in take(name, "train", seed, 2000)}
    held_out = {item.key for seed in range(3) for item in take(name, "heldout", seed, 200)}
    assert not train & held_out


@every_task
def test_held_out_problems_are_many(name: str) -> None:
    assert len({item.key for item in take(name, "heldout", 0, 500)}) >= 150


@every_task
def test_about_a_tenth_is_held_out(name: str) -> None:
    rng = random.Random(2)
    drawn = [split_of(TASKS[name].generate(rng)) for _ in range(4000)]
    assert 0.08 <= drawn.count("heldout") / len(drawn) <= 0.12


@every_task
def test_same_arguments_give_the_same_stream(name: str) -> None:
    assert take(name, "heldout", 4, 50) == take(name, "heldout", 4, 50)


@every_task
def test_other_seeds_give_other_streams(name: str) -> None:
    assert take(name, "train", 4, 50) != take(name, "train", 5, 50)


def test_streams_are_the_same_in_every_process() -> None:
    assert digest_in_new_process("1") == digest_in_new_process("2")


def test_unknown_split_is_refused_at_the_call() -> None:
    with pytest.raises(SplitError, match=r"got split 'test', expected one of") as caught:
        items(TASKS["sort"], "test", 0)  # type: ignore[arg-type]
    assert isinstance(caught.value, DawnError)


def test_permuting_numbers_or_turning_the_order_keeps_the_sort_key() -> None:
    keys = {Sorting((7, 19, 42), True).key, Sorting((42, 7, 19), False).key}
    assert keys == {"7 19 42"}


def test_reversing_the_list_keeps_the_reverse_key() -> None:
    assert WordList(("cat", "dog", "ant")).key == WordList(("ant", "dog", "cat")).key


def test_retelling_a_story_in_another_order_keeps_the_arithmetic_key() -> None:
    plus, minus, product = Term(1, (5,)), Term(-1, (3,)), Term(1, (4, 6))
    turned = Term(1, (6, 4))
    assert Story((plus, minus, product)).key == Story((turned, plus, minus)).key
    assert Story((plus, minus)).key != Story((plus, Term(1, (3,)))).key
