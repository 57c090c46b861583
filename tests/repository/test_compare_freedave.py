"""FreeDave beside one token per step on real models, by the script that compares them."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from compare_freedave import FAST, SLOW, compared
from dawn_calibration.tasks import TASKS
from dawn_runtime import Decoder


@pytest.mark.parametrize("name", ["tiny-dream", "tiny-llada"])
def test_freedave_decodes_what_one_per_step_decodes_for_items_of_the_tasks(
    name: str, shipped: Callable[..., Path]
) -> None:
    arguments = SimpleNamespace(
        tasks=list(TASKS),
        items=8,
        batch=1,
        seed=7,
        cache="none",
        max_new_tokens=24,
        block_length=12,
    )
    with Decoder.open(shipped(name), threads=1) as decoder:
        found = compared(decoder, arguments)  # type: ignore[arg-type]
    assert (found["items"], found["differ"]) == (8 * len(TASKS), 0)
    assert found[FAST] < 0.7 * found[SLOW]
