"""Real threads on one engine: what they must get, whichever engine it is."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dawn_runtime import Decoder, Engine, EngineError, Manifest, StepInputs

PROMPTS = [[5] * 20, [9, 8, 7]]
RULES: list[dict[str, Any]] = [
    {"policy": "one-per-step", "block_length": 8},
    {"policy": "dawn", "fallback_length": 0},
    {"policy": "one-per-step", "cache": "dual", "block_length": 8},
]


@contextmanager
def switching_often() -> Iterator[None]:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*works: Callable[[], object]) -> list[object]:
    """Runs each in a thread; what it returned, or its error."""
    found: list[object] = [None] * len(works)

    def run(index: int) -> None:
        try:
            found[index] = works[index]()
        except Exception as error:
            found[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def answer(decoder: Decoder, prompt: list[int], rules: dict[str, Any]) -> list[int]:
    result = decoder.generate(input_ids=prompt, max_new_tokens=16, stop_at_eos=False, **rules)
    return [int(token) for token in result.tokens]


def check_answers(shared: Engine, alone: Engine, manifest: Manifest, rules: dict[str, Any]) -> None:
    """Answers of two threads are those of one."""
    decoder = Decoder(manifest, shared)
    expected = [answer(Decoder(manifest, alone), prompt, rules) for prompt in PROMPTS]

    def work(index: int) -> list[list[int]]:
        return [answer(decoder, PROMPTS[index], rules) for _ in range(4)]

    assert together(lambda: work(0), lambda: work(1)) == [[one] * 4 for one in expected]


def check_runs(shared: Engine, alone: Engine) -> None:
    """Runs of two threads without a decoder are those of one."""

    def inputs(length: int) -> StepInputs:
        ids = np.random.default_rng(length).integers(0, 30, (1, length))
        rows, mask = np.arange(length)[None], np.ones((1, 1, length, length), dtype=bool)
        return StepInputs(ids, rows, mask, rows, rows)

    def work(length: int) -> list[list[int]]:
        return [shared.run(inputs(length)).tokens.tolist() for _ in range(20)]

    expected = [[alone.run(inputs(length)).tokens.tolist()] * 20 for length in (20, 7)]
    assert together(lambda: work(20), lambda: work(7)) == expected


def check_closing(shared: Engine, manifest: Manifest) -> None:
    """Closing waits for the step, and ends the answer in one line."""
    decoder, started = Decoder(manifest, shared), threading.Event()

    def work() -> None:
        while True:
            started.set()
            answer(decoder, PROMPTS[0], RULES[0])

    def close() -> None:
        started.wait()
        shared.close()

    error, nothing = together(work, close)
    assert nothing is None
    assert isinstance(error, EngineError)
    assert "closed; open the artifact again" in str(error)
