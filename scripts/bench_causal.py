"""Tokens a second of block-causal decoding and of linear speculation beside one token a run.

    python scripts/bench_causal.py build/random-0.6b-int8 --decide 2 4 8 16 --threads 2
    python scripts/bench_causal.py build/tiny-nemotron --threads 2

All decode with the same weights on the same engine, in turn within one process, so that a busy
machine slows all alike; each turn begins with another of them. Speed depends on how many tokens a
run decides. Random weights agree with nothing, which is the worst case and no other, so with
`--decide` that number is told: a denoising run of `block-causal`, and a draft with its check of
`linear-speculation`, decide so many tokens of each row. All else is real (see told_engine.py): runs
feed and keep what they would, and the answers are held against the text that was told. Any artifact
will do: its graph takes masks as they come, so that it is read as a model whose text is causal, and
only `block-causal` follows the artifact's own blocks if it has such.

Without `--decide` the weights decide, on held-out items of the tasks: with the artifact's own rule,
and with linear speculation if it is for that.

Autoregressive decoding takes the same time whatever it finds, so it is always told its text, and
decides one token of each row in a run. `x AR` is tokens a second over its of the same turn and
batch: the median of all turns, and its interval of 95 % (of fewer than six turns, all of them).
`even at` is what a run costs in runs of autoregressive decoding, which is how many tokens of each
row a run has to decide to keep up. The first step of an answer, its prefill, is timed apart.
Standard output gets a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench_turns import Case, Measured, Turn, summary, table
from dawn_calibration.tasks import TASKS, items
from dawn_runtime import Artifact, Decoder, Engine, Result, open_engine
from dawn_runtime.bench.statistics import rotated
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.companions import open_companions
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.manifest import Attention, Manifest
from dawn_runtime.settings import Settings
from dawn_runtime.tokenizer import Tokenizer
from told_engine import TimedEngine

BLOCK, SPECULATION, PLAIN = "block-causal", "linear-speculation", "autoregressive"
BLOCK_LENGTH = 32
"""Where neither the model nor the user says it."""


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_causal", "Block-causal decoding and speculation beside one token a run.")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    parser.add_argument("--decide", type=count, nargs="+", default=[], metavar="N")
    parser.add_argument("--batch", type=count, nargs="+", default=[1, 4], metavar="N")
    parser.add_argument("--prompt-tokens", type=count, default=128, help="with --decide")
    parser.add_argument("--new-tokens", type=count, default=128)
    parser.add_argument("--block-length", type=count, help="with --decide; default: the model's")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--items", type=count, default=4, help="held-out items of each task")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=count, default=None)
    parser.add_argument("--repeat", type=count, default=7, help="turns")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    artifact = Artifact.open(arguments.artifact)
    check(artifact.manifest, arguments)
    texts = (None, None) if arguments.decide else open_companions(artifact)
    with closing(open_engine(artifact, threads=arguments.threads)) as engine:
        found = Bench(artifact.manifest, engine, arguments, *texts).measured()
    output = sys.stderr if arguments.json else sys.stdout
    print(table(found), file=output)
    if arguments.json:
        names = ("prompt_tokens", "new_tokens", "threads", "repeat")
        said = {name: getattr(arguments, name) for name in names}
        cases_found = [asdict(one) for one in found]
        print_json({"artifact": str(arguments.artifact), **said, "measured": cases_found})


class Bench:
    """Decodes the same prompts with every case in turn.

    Args:
        manifest: of the artifact.
        engine: runs it.
        arguments: of the command, checked.
        tokenizer: of the artifact, where texts are asked.
        chat: likewise.
    """

    def __init__(
        self,
        manifest: Manifest,
        engine: Engine,
        arguments: argparse.Namespace,
        tokenizer: Tokenizer | None = None,
        chat: ChatTemplate | None = None,
    ) -> None:
        self._arguments = arguments
        self._block = block_length(manifest, arguments)
        self._prompts = prompts(manifest, arguments)
        self._engine = TimedEngine(engine, manifest)
        self._told, self._own = (
            Decoder(one, self._engine, tokenizer=tokenizer, chat=chat)
            for one in (as_causal(manifest, self._block), manifest)
        )
        self.cases = cases(manifest, arguments.decide, arguments.batch)

    def measured(self) -> list[Measured]:
        """Times all cases in turn, after a turn that is not counted."""
        turns: list[list[Turn]] = [[] for _ in self.cases]
        for number in range(self._arguments.repeat + 1):
            for place in rotated(len(self.cases), number):
                turn = self._turn(self.cases[place])
                if number:
                    turns[place].append(turn)
        pairs = list(zip(self.cases, turns, strict=True))
        plain = {case.batch: own for case, own in pairs if case.scheme == PLAIN}
        return [summary(case, own, plain[case.batch]) for case, own in pairs]

    def _turn(self, case: Case) -> Turn:
        """Decodes the prompts once, so many together as the case has rows."""
        self._engine.found = found_by(case)
        ends = range(case.batch, len(self._prompts) + 1, case.batch)
        most = 1 if self._arguments.decide else None
        groups = [self._prompts[end - case.batch : end] for end in islice(ends, most)]
        return Turn.of([self._together(case, group) for group in groups])

    def _together(self, case: Case, group: Sequence[Any]) -> Turn:
        """Decodes some prompts in one batch."""
        decoder = self._decoder(case)
        longest = max(len(decoder.encode(prompt)) for prompt in group)
        room = longest + self._arguments.new_tokens + self._block
        with decoder.batch(max_rows=len(group), max_tokens=room * len(group)) as batch:
            keys = [batch.admit(prompt, **self._settings(case)) for prompt in group]
            started = time.perf_counter()
            first = sum(len(event.commits) for event in batch.step())
            begun, before = time.perf_counter(), len(self._engine.runs)
            while not all(batch.finished(key) for key in keys):
                batch.step()
            ended = time.perf_counter()
            results = [batch.leave(key) for key in keys]
        self._check_text(results)
        decided = sum(len(result.tokens) for result in results) - first
        return Turn(ended - begun, decided, tuple(self._engine.runs[before:]), begun - started)

    def _decoder(self, case: Case) -> Decoder:
        """That of the artifact where it decodes so by itself, else that of causal text."""
        own = case.scheme == BLOCK and self._own.manifest.attention.kind == BLOCK
        return self._own if own or self._engine.found is None else self._told

    def _settings(self, case: Case) -> Settings:
        """How a case decodes; the artifact's own rule unless it says another."""
        settings: Settings = {
            "max_new_tokens": self._arguments.new_tokens,
            "stop_at_eos": self._engine.found is None,
            "fallback_length": 0,
        }
        if case.scheme == PLAIN:
            settings["policy"] = PLAIN
        elif case.scheme == SPECULATION:
            settings["policy"], settings["options"] = SPECULATION, {"draft": self._block}
        elif case.decides is not None:
            settings["policy"], settings["options"] = "threshold", {"threshold": 0.9}
            settings["block_length"] = self._block
        return settings

    def _check_text(self, results: Sequence[Result]) -> None:
        """Fails if an answer is not what was told: then so is not its number of runs."""
        if self._engine.found is None:
            return
        for result in results:
            where = result.prompt_tokens + np.arange(self._arguments.new_tokens)
            if not np.array_equal(result.tokens, self._engine.text(where)):
                raise DawnError(f"{result.policy} did not decode the text that it was told")


def block_length(manifest: Manifest, arguments: argparse.Namespace) -> int:
    """Tokens of a block: as asked for, as the model was trained, or `BLOCK_LENGTH`."""
    asked: int | None = arguments.block_length
    return asked or manifest.attention.block_length or BLOCK_LENGTH


def as_causal(manifest: Manifest, length: int) -> Manifest:
    """The same model, its text read causally, and a block of masks of this length whole."""
    return replace(manifest, attention=Attention("causal", length, "prompt", carry=True))


def cases(manifest: Manifest, decide: Sequence[int], batch: Sequence[int]) -> list[Case]:
    """All cases: those that are told how much they decide, or those that the artifact is for."""
    seen = manifest.attention
    kinds: list[tuple[str, int | None]] = [(PLAIN, None)]
    if decide:
        kinds += [(scheme, number) for scheme in (BLOCK, SPECULATION) for number in decide]
    else:
        own = BLOCK if seen.block_length is not None else manifest.decoding.policy
        speculates = seen.kind == "causal" and seen.block_length is not None
        kinds += [(own, None), *([(SPECULATION, None)] if speculates else [])]
    return [Case(*kind, rows) for rows in batch for kind in kinds]


def found_by(case: Case) -> int | None:
    """How many masks of a run are found for sure, see `TimedEngine`; None: the weights say.

    Speculation decides, with the drafts that are found, the token behind them.
    """
    if case.scheme == PLAIN:
        return 0
    if case.decides is None:
        return None
    return case.decides - int(case.scheme == SPECULATION)


def check(manifest: Manifest, arguments: argparse.Namespace) -> None:
    """Refuses what cannot be decoded.

    Args:
        manifest: of the artifact.
        arguments: of the command.

    Raises:
        OptionError: there is no room, a block is too short, or there are too few items.
    """
    block, longest = block_length(manifest, arguments), manifest.dims.max_length
    asked, there = arguments.prompt_tokens + arguments.new_tokens, len(prompts(manifest, arguments))
    if max(arguments.batch) > there:
        raise OptionError(
            f"--batch is {max(arguments.batch)}, of {there} items; ask for more items"
        )
    if arguments.decide and asked > longest:
        raise OptionError(
            f"--prompt-tokens and --new-tokens are {asked} together; the artifact takes {longest}"
        )
    if not 1 < block >= max(arguments.decide, default=1):
        raise OptionError(
            f"--decide is {max(arguments.decide, default=1)} and a block has {block} tokens, which "
            "have to be as many, and at least 2; see --block-length"
        )


def prompts(manifest: Manifest, arguments: argparse.Namespace) -> list[Any]:
    """Random tokens for a batch that is told what to decide, else items as turns of a chat."""
    if arguments.decide:
        ordinary = np.setdiff1d(np.arange(manifest.dims.vocab_size), manifest.tokens.all)
        shape = (max(arguments.batch), arguments.prompt_tokens)
        return list(np.random.default_rng(arguments.seed).choice(ordinary, size=shape))
    asked = [
        item
        for task in arguments.tasks
        for item in islice(items(TASKS[task], "heldout", arguments.seed), arguments.items)
    ]
    return [[{"role": "user", "content": item.prompt}] for item in asked]


if __name__ == "__main__":
    sys.exit(main())
