"""A job is killed at random moments and resumed to its end: nothing lost, nothing done twice."""

import json
import multiprocessing
import os
import random
import signal
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.cli.generate import main

ARTIFACT = Path(__file__).parents[3] / "models" / "tiny-dream-int8"
LINES = 24
KILLS = 20


@pytest.fixture(scope="module")
def forks() -> ForkServerContext:
    """Starts processes that have imported everything, so that twenty of them take no time."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["dawn_runtime.cli.generate", "onnxruntime", "tokenizers"])
    return context


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("job") / "in.jsonl"
    lines = [{"prompt": "dog hat " * (n % 5 + 1), "id": f"line-{n}"} for n in range(LINES)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def expected(forks: ForkServerContext, source: Path) -> Path:
    """The answers of a run that nobody disturbs."""
    target = source.with_name("expected.jsonl")
    start(forks, source, target).join()
    return target


def start(forks: ForkServerContext, source: Path, target: Path) -> BaseProcess:
    command = [str(ARTIFACT), "--input", str(source), "--output", str(target), "--quiet"]
    limits = ["--max-new-tokens", "6", "--policy", "one-per-step", "--batch", "2", "--threads", "1"]
    process = forks.Process(target=main, args=([*command, *limits, "--no-stop-at-eos"],))
    process.start()
    return process


def whole_lines(target: Path) -> list[bytes]:
    content = target.read_bytes() if target.exists() else b""
    return content.split(b"\n")[:-1]


def answers(target: Path) -> list[dict[str, Any]]:
    documents = [json.loads(line) for line in whole_lines(target)]
    return [
        {key: value for key, value in one.items() if not key.endswith("seconds")}
        for one in documents
    ]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_is_killed_again_and_again_ends_as_one_that_was_not(
    number: signal.Signals,
    forks: ForkServerContext,
    source: Path,
    expected: Path,
    tmp_path: Path,
) -> None:
    rng = random.Random(number)
    target, killed = tmp_path / "out.jsonl", 0
    while len(whole_lines(target)) < LINES:
        before = len(whole_lines(target))
        process = start(forks, source, target)
        if killed < KILLS // 2:
            wanted = before + rng.randint(0, 2)
            while process.is_alive() and len(whole_lines(target)) < wanted:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.01))
            os.kill(process.pid or 0, number)
            killed += 1
        process.join()
        if rng.random() < 0.5:  # what a crash of the machine leaves of a line
            target.write_bytes(target.read_bytes() + b'{"line": 7, "dige' if before else b"")
    start(forks, source, target).join()  # killed before the lines were put into order
    assert killed == KILLS // 2
    assert [one["id"] for one in answers(target)] == [f"line-{n}" for n in range(LINES)]
    assert answers(target) == answers(expected)
