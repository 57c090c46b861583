"""Who decodes for `bench_peers`, and by which command."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dawn_runtime.machine.energy import EnergyMeter
from dawn_runtime.manifest import Manifest
from peers.watch import OWN, Answer, Marks, watch

OURS = "dawn-edge"
TORCH, LLAMA = "torch", "llama.cpp"
EVIDENCE_FROM = {"dream": 24, "llada": 28}
"""Family -> the first layer whose attention DAWN's published code reads, whatever the model."""

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Contestant:
    """Who decodes.

    Attributes:
        name: of it.
        answer: decodes all prompts and returns what each took.
    """

    name: str
    answer: Callable[[], list[Answer]]


def contestants_of(
    arguments: argparse.Namespace,
    manifest: Manifest,
    prompts: Sequence[str],
    ids: Sequence[Sequence[int]],
    meter: EnergyMeter | None,
) -> list[Contestant]:
    """Ours, and the peers that were given.

    Args:
        arguments: of `bench_peers`.
        manifest: of the artifact.
        prompts: what users say.
        ids: the same, as the chat template of the artifact has it.
        meter: of energy, if that is wanted.
    """
    job = {
        "prompts": ids,
        "threads": arguments.threads,
        "new_tokens": arguments.new_tokens,
        "block_length": arguments.block_length,
        "mask": manifest.tokens.mask,
        "family": manifest.family,
        "policy": arguments.policy,
    }
    found = []
    for cache in arguments.cache:
        own = {"artifact": str(arguments.artifact), "settings": _settings(arguments, cache)}
        found.append(
            _script(f"{OURS} {cache}", sys.executable, "ours.py", job | own, arguments, meter)
        )
    if arguments.torch_code is not None:
        paths = {"code": str(arguments.torch_code), "checkpoint": str(arguments.checkpoint)}
        python = arguments.torch_python or sys.executable
        found.append(_script(TORCH, python, "published_dawn.py", job | paths, arguments, meter))
    if arguments.llama_tool is not None:
        lengths = [len(own) + arguments.new_tokens for own in ids]
        commands = [
            llama_command(arguments, prompt, length)
            for prompt, length in zip(prompts, lengths, strict=True)
        ]
        marks = llama_marks(arguments.new_tokens)

        def answer() -> list[Answer]:
            return [watch(command, marks, 1, meter=meter)[0] for command in commands]

        found.append(Contestant(LLAMA, answer))
    return found


def _settings(arguments: argparse.Namespace, cache: str) -> dict[str, Any]:
    return {
        "policy": arguments.policy,
        "cache": cache,
        "max_new_tokens": arguments.new_tokens,
        "block_length": arguments.block_length,
        "stop_at_eos": False,
    }


def _script(
    name: str,
    python: str,
    script: str,
    job: Mapping[str, Any],
    arguments: argparse.Namespace,
    meter: EnergyMeter | None,
) -> Contestant:
    """One of our scripts that decodes all prompts in one process."""
    command = [python, str(_HERE / script)]
    environment = {"OMP_NUM_THREADS": str(arguments.threads)}

    def answer() -> list[Answer]:
        return watch(
            command,
            OWN,
            len(job["prompts"]),
            given=json.dumps(job),
            environment=environment,
            meter=meter,
        )

    return Contestant(name, answer)


def llama_command(arguments: argparse.Namespace, prompt: str, length: int) -> list[str]:
    """What decodes one prompt to `length` tokens, itself included, greedily, one token a step.

    The whole answer is one of the tool's blocks, of which it decides one token in each step. Where
    steps follow the noise instead (``--diffusion-eps``), as in its manual for Dream, as many steps
    as tokens round the tokens of each step down to none, and the last step decides all. Without a
    temperature the tool draws all the same, so it is left one token to draw.
    """
    flags = {
        "-m": arguments.gguf,
        "-p": prompt,
        "-c": length,
        "-b": length,
        "-ub": length,
        "-t": arguments.threads,
        "-tb": arguments.threads,
        "-ngl": 0,
        "--temp": 0,
        "--top-k": 1,
        "--diffusion-steps": arguments.new_tokens,
        "--diffusion-block-length": length,
    }
    return [arguments.llama_tool, *(str(part) for flag in flags.items() for part in flag)]


def llama_marks(new_tokens: int) -> Marks:
    """How to see that llama.cpp's tool begins and ends to decode so many tokens."""
    total = re.compile(r"total time: ([\d.]+)ms")
    steps = re.compile(r"diffusion step: \d+/(\d+)")

    def end(text: str) -> tuple[Answer, int] | None:
        found, step = total.search(text), steps.search(text)
        if found is None or step is None:
            return None
        return Answer(float(found[1]) / 1e3, new_tokens, int(step[1])), found.end()

    return Marks(re.compile(r"diffusion step: 0/"), end)
