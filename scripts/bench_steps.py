r"""What a step feeds, what bytes it moves and how long it takes: caches, artifacts, own operators.

    python scripts/bench_steps.py build/int8 build/int8-kv --threads 2 --own-operators \
        --caches dual dual:feed=undecided dual:feed=undecided,head=candidates

An answer of `--new-tokens` to random tokens is decoded with every cache by every artifact, all in
turn, each turn a whole answer. `--own-operators` opens every artifact a second time, with what
`python -m dawn_runtime.cli.build_operators` built. All but times is counted, in the runs of the
engine. Standard output gets a table, or JSON with --json:

    forwards   runs of the model
    fed        positions fed in a run, mean
    heads      of how many of them the head was computed, mean
    weights    MB of weights that a run reads: each matrix once, of the embedding a row a position
    read       MB of kept keys and values that a run is given, mean
    written    MB of keys and values that it returns, mean
    ms         of a run, what lies around it included; median of the turns
    outside    of these outside the engine
    ratio      how many times the tokens a second of the first line, median of the ratios in a turn

What a run leaves in the caches of the processor between its operators is in none of these bytes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx

from dawn_runtime import Artifact, Decoder, Engine, StepInputs, StepOutputs, open_engine
from dawn_runtime.arrays import KvArray
from dawn_runtime.cli.common import Parser, count, print_json, run_command, threads
from dawn_runtime.decoding import CACHES
from dawn_runtime.engine.ort.operators import built_library
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import POLICIES


@dataclass(frozen=True)
class Answer:
    """Sums over the runs of an answer; bytes and seconds.

    Attributes:
        forwards: runs of the model.
        fed: positions fed.
        heads: of how many the head was computed.
        read: kept keys and values given.
        written: keys and values returned.
        seconds: of the whole answer.
        engine_seconds: of these inside the engine.
        tokens: decided.
    """

    forwards: int
    fed: int
    heads: int
    read: int
    written: int
    seconds: float
    engine_seconds: float
    tokens: int


@dataclass(frozen=True)
class Cost:
    """What a run costs in one of the cases; see the module.

    Attributes:
        artifact: its folder.
        own_operators: whether it ran with operators of our own.
        policy: the rule.
        cache: with its options.
        forwards: runs of the model, for an answer.
        fed: positions fed, mean.
        heads: rows of the head, mean.
        weights: megabytes.
        read: megabytes, mean.
        written: megabytes, mean.
        milliseconds: median.
        outside: of these outside the engine, median.
        tokens_per_second: median.
        ratio: of the tokens a second to the first case, median.
    """

    artifact: str
    own_operators: bool
    policy: str
    cache: str
    forwards: int
    fed: float
    heads: float
    weights: float
    read: float
    written: float
    milliseconds: float
    outside: float
    tokens_per_second: float
    ratio: float

    def line(self) -> str:
        """For people; columns as in `HEAD`."""
        name = f"{Path(self.artifact).name}{' own' if self.own_operators else ''}"
        return (
            f"{name:<20}{self.policy:<14}{self.cache:<48}{self.forwards:>9}{self.fed:>7.1f}"
            f"{self.heads:>7.1f}{self.weights:>9.1f}{self.read:>7.2f}{self.written:>9.2f}"
            f"{self.milliseconds:>8.1f}{self.outside:>9.2f}{self.tokens_per_second:>10.2f}"
            f"{self.ratio:>7.2f}"
        )


HEAD = (
    f"{'artifact':<20}{'policy':<14}{'cache':<48}{'forwards':>9}{'fed':>7}{'heads':>7}"
    f"{'weights':>9}{'read':>7}{'written':>9}{'ms':>8}{'outside':>9}{'tokens/s':>10}{'ratio':>7}"
)


class Counting:
    """An engine that counts what its runs are given and return, and its time.

    Args:
        engine: Runs the model.
    """

    concurrent = True

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.reset()

    def reset(self) -> None:
        """Counts from nothing."""
        self.forwards = self.fed = self.heads = self.read = self.written = 0
        self.seconds = 0.0

    def describe(self) -> EngineInfo:
        """Returns what the engine says of itself."""
        return self._engine.describe()

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs a step."""
        started = time.perf_counter()
        outputs = self._engine.run(inputs)
        self.seconds += time.perf_counter() - started
        self.forwards += 1
        self.fed += inputs.input_ids.size
        self.heads += inputs.logit_rows.size
        self.read += _nbytes(inputs.past)
        self.written += _nbytes(outputs.present)
        return outputs

    def close(self) -> None:
        """Closes the engine."""
        self._engine.close()


@dataclass(frozen=True)
class Opened:
    """An artifact that is open.

    Attributes:
        folder: of it.
        own_operators: whether it runs with operators of our own.
        weights: bytes of weights that any run reads.
        row: bytes of the embedding for a position.
        engine: runs it, and counts.
        decoder: on that engine.
    """

    folder: Path
    own_operators: bool
    weights: int
    row: int
    engine: Counting
    decoder: Decoder


@dataclass(frozen=True)
class Case:
    """One way to decode.

    Attributes:
        opened: the artifact.
        policy: the rule.
        cache: with its options.
    """

    opened: Opened
    policy: str
    cache: str


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_steps", "What a step feeds, moves and takes.")
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT")
    parser.add_argument("--policies", nargs="+", default=["one-per-step"])
    parser.add_argument("--caches", nargs="+", default=["dual"])
    parser.add_argument("--prompt-tokens", type=count, default=128)
    parser.add_argument("--new-tokens", type=count, default=128)
    parser.add_argument("--block-length", type=count, default=32)
    parser.add_argument("--threads", type=threads, default=2)
    parser.add_argument("--repeat", type=count, default=3, help="turns")
    parser.add_argument(
        "--own-operators", action="store_true", help="every artifact with our operators, too"
    )
    return parser


def _work(arguments: argparse.Namespace) -> None:
    for policy in arguments.policies:
        POLICIES.parse(policy)
    for cache in arguments.caches:
        CACHES.parse(cache)
    output = sys.stderr if arguments.json else sys.stdout
    with ExitStack() as stack:
        opened = list(_opened(arguments, stack))
        cases = [
            Case(one, policy, cache)
            for policy in arguments.policies
            for one in opened
            for cache in arguments.caches
        ]
        costs = list(_costs(cases, _turns(cases, arguments)))
    print(HEAD, *(cost.line() for cost in costs), sep="\n", file=output)
    if arguments.json:
        names = ("prompt_tokens", "new_tokens", "block_length", "threads", "repeat")
        setting = {name: getattr(arguments, name) for name in names}
        print_json({**setting, "costs": [asdict(cost) for cost in costs]})


def _opened(arguments: argparse.Namespace, stack: ExitStack) -> Iterator[Opened]:
    """Every artifact as ONNX Runtime runs it, and if that is asked for with our operators."""
    if arguments.own_operators and built_library() is None:
        raise OptionError(
            "--own-operators: there is no library; "
            "run python -m dawn_runtime.cli.build_operators first"
        )
    for folder in arguments.artifacts:
        artifact = Artifact.open(folder)
        weights, row = weight_bytes(artifact.graph())
        for own in (False, True) if arguments.own_operators else (False,):
            with _library(own):
                engine = Counting(open_engine(artifact, threads=arguments.threads))
            stack.callback(engine.close)
            yield Opened(folder, own, weights, row, engine, Decoder(artifact.manifest, engine))


@contextmanager
def _library(wanted: bool) -> Iterator[None]:
    """Opens engines with the library of the user's cache, or as if that were empty."""
    if wanted:
        yield
        return
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as empty:
        os.environ["XDG_CACHE_HOME"] = empty
        try:
            yield
        finally:
            del os.environ["XDG_CACHE_HOME"]
            if before is not None:
                os.environ["XDG_CACHE_HOME"] = before


def weight_bytes(graph: Path) -> tuple[int, int]:
    """Returns the bytes of weights that any run reads, and those of the embedding for a position.

    Args:
        graph: Path of `model.onnx`. What only `Gather` reads is the embedding, or a scale of it.
    """
    model = onnx.load(str(graph), load_external_data=False)
    readers: dict[str, set[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    whole = row = 0
    for tensor in model.graph.initializer:
        nbytes = _tensor_bytes(tensor)
        if readers.get(tensor.name) == {"Gather"} and len(tensor.dims) == 2:
            row += nbytes // tensor.dims[0]
        else:
            whole += nbytes
    return whole, row


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    numbers = int(np.prod(tensor.dims, dtype=np.int64))
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return (numbers + 1) // 2
    return numbers * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _nbytes(arrays: Sequence[KvArray]) -> int:
    return sum(array.nbytes for array in arrays)


def _turns(cases: Sequence[Case], arguments: argparse.Namespace) -> list[list[Answer]]:
    """The answers of each case; who begins changes from turn to turn, a short run is before all."""
    for case in cases:
        _answer(case, arguments, most=2)
    turns: list[list[Answer]] = [[] for _ in cases]
    for turn in range(arguments.repeat):
        for place in range(len(cases)):
            place = (place + turn) % len(cases)
            turns[place].append(_answer(cases[place], arguments))
    return turns


def _answer(case: Case, arguments: argparse.Namespace, most: int | None = None) -> Answer:
    """Decodes one answer; `most` runs of it at most."""
    manifest, engine = case.opened.decoder.manifest, case.opened.engine
    usual = min(manifest.tokens.mask, manifest.dims.vocab_size)
    prompt = np.random.default_rng(0).integers(0, usual, arguments.prompt_tokens)
    engine.reset()
    started = time.perf_counter()
    result = case.opened.decoder.generate(
        input_ids=prompt,
        policy=case.policy,
        cache=case.cache,
        max_new_tokens=arguments.new_tokens,
        block_length=arguments.block_length,
        stop_at_eos=False,
        max_forwards=most,
    )
    return Answer(
        forwards=engine.forwards,
        fed=engine.fed,
        heads=engine.heads,
        read=engine.read,
        written=engine.written,
        seconds=time.perf_counter() - started,
        engine_seconds=engine.seconds,
        tokens=len(result.tokens),
    )


def _costs(cases: Sequence[Case], turns: Sequence[Sequence[Answer]]) -> Iterator[Cost]:
    """What the turns come to; what is counted is the same in all of them."""
    for case, own in zip(cases, turns, strict=True):
        once, runs = own[0], own[0].forwards
        fed = once.fed / runs
        outside = [1e3 * (one.seconds - one.engine_seconds) / runs for one in own]
        yield Cost(
            artifact=str(case.opened.folder),
            own_operators=case.opened.own_operators,
            policy=case.policy,
            cache=case.cache,
            forwards=runs,
            fed=fed,
            heads=once.heads / runs,
            weights=(case.opened.weights + fed * case.opened.row) / 1e6,
            read=once.read / runs / 1e6,
            written=once.written / runs / 1e6,
            milliseconds=statistics.median(1e3 * one.seconds / runs for one in own),
            outside=statistics.median(outside),
            tokens_per_second=statistics.median(one.tokens / one.seconds for one in own),
            ratio=statistics.median(
                (one.tokens / one.seconds) / (first.tokens / first.seconds)
                for one, first in zip(own, turns[0], strict=True)
            ),
        )


if __name__ == "__main__":
    sys.exit(main())
