"""Time steps of artifacts side by side, and say which operators the time goes to.

    python scripts/bench_operators.py build/fp32 build/int8 --threads 1

Two steps are run, artifacts in turn: a full pass of `--rows` rows, and `--fed` rows over a cache of
the others; head and evidence are wanted for `--fed` rows. `--own-operators` runs every artifact a
second time, with what `python -m dawn_runtime.cli.build_operators` built. Tokens are random. Times
are medians, ratios those of the first artifact over each, in the median of all turns. Operators are
those of the fastest turn by ONNX Runtime's profiler, in a session of their own, because it costs
time itself.
Standard output gets text, or one JSON document with --json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from dawn_runtime import Artifact
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.contract import DRAFT_MASK, ENTROPY_ROWS, kv_width
from dawn_runtime.engine.ort.operators import built_library, with_rows_products
from dawn_runtime.engine.ort.session import FOLDER_OF_WEIGHTS
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import Manifest

OUTPUTS = ("tokens", "confidence", "attention")
Feeds = dict[str, np.ndarray[Any, Any]]


def main() -> int:
    """Run and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_operators", "Time steps, and say which operators the time goes to.")
    parser.add_argument("artifacts", type=Path, nargs="+", metavar="ARTIFACT")
    parser.add_argument("--rows", type=count, default=256, help="tokens of the sequence")
    parser.add_argument("--fed", type=count, default=32, help="rows of the cached step")
    parser.add_argument("--cached-only", action="store_true", help="no full pass")
    parser.add_argument("--threads", type=count, default=1)
    parser.add_argument("--repeat", type=count, default=12, help="turns")
    parser.add_argument(
        "--own-operators", action="store_true", help="every artifact with our operators, too"
    )
    parser.add_argument("--most", type=count, default=12, help="operators shown")
    return parser


@dataclass(frozen=True)
class Run:
    """What is measured: an artifact, and the library of operators that it is opened with."""

    folder: Path
    library: Path | None = None

    def __str__(self) -> str:
        return f"{self.folder}{' with our operators' if self.library else ''}"


@dataclass(frozen=True)
class Measured:
    """One step of one artifact.

    Attributes:
        step: Which step.
        artifact: Its folder, and whether it ran with operators of our own.
        milliseconds: Median of all turns.
        ratio: How many times as fast as the first artifact.
        nodes: Operators of the graph that ran.
        operators: Kind of operator -> milliseconds in the fastest turn, slowest first.
    """

    step: str
    artifact: str
    milliseconds: float
    ratio: float
    nodes: int
    operators: dict[str, float]

    def text(self, most: int) -> str:
        """Lines for people, with the slowest operators."""
        times = list(self.operators.items())[:most]
        first = f"{self.step:<24}{self.milliseconds:9.1f} ms  x {self.ratio:.2f}  {self.artifact}"
        total = f"{sum(self.operators.values()):12.1f} ms  all {self.nodes} nodes, fastest turn"
        return "\n".join([first, total, *(f"{ms:12.1f} ms  {kind}" for kind, ms in times)])


def _work(arguments: argparse.Namespace) -> None:
    rows, fed = arguments.rows, min(arguments.fed, arguments.rows)
    steps = {f"{rows} rows": rows, f"{fed} rows, {rows - fed} cached": fed}
    if arguments.cached_only:
        del steps[f"{rows} rows"]
    runs = _runs(arguments)
    measured = [one for step in steps.items() for one in _measure(*step, runs, arguments)]
    if arguments.json:
        print_json({"threads": arguments.threads, "measured": [asdict(one) for one in measured]})
    else:
        print("\n\n".join(one.text(arguments.most) for one in measured))


def _runs(arguments: argparse.Namespace) -> list[Run]:
    """Every artifact, and if that is asked for every one with the library."""
    if not arguments.own_operators:
        return [Run(folder) for folder in arguments.artifacts]
    library = built_library()
    if library is None:
        raise OptionError(
            "--own-operators: there is no library; "
            "run python -m dawn_runtime.cli.build_operators first"
        )
    return [run for folder in arguments.artifacts for run in (Run(folder), Run(folder, library))]


def _measure(
    step: str, fresh: int, runs: list[Run], arguments: argparse.Namespace
) -> list[Measured]:
    """All artifacts on one step."""
    rows, fed = arguments.rows, min(arguments.fed, arguments.rows)
    manifests = [Artifact.open(run.folder).manifest for run in runs]
    feeds = [_feeds(manifest, fresh, rows - fresh, fed) for manifest in manifests]
    sessions = [_session(run, arguments.threads) for run in runs]
    times = _turns(sessions, feeds, arguments.repeat)
    del sessions
    measured = []
    for run, inputs, own in zip(runs, feeds, times, strict=True):
        ratio = statistics.median(a / b for a, b in zip(times[0], own, strict=True))
        spent = _operators(run, inputs, arguments)
        measured.append(Measured(step, str(run), 1e3 * statistics.median(own), ratio, *spent))
    return measured


def _feeds(manifest: Manifest, fresh: int, cached: int, wanted: int) -> Feeds:
    """Inputs of a step of `fresh` tokens over `cached` ones."""
    dims, random = manifest.dims, np.random.default_rng(0)
    some = np.arange(wanted)[None]
    past = (1, dims.kv_heads, cached, kv_width(dims.head_dim, manifest.kv_dtype))
    return {
        "input_ids": random.integers(0, dims.vocab_size, (1, fresh)),
        "position_ids": np.arange(cached, cached + fresh)[None],
        "attention_mask": np.ones((1, 1, fresh, cached + fresh), dtype=np.bool_),
        "logit_rows": some,
        "attention_rows": some,
        **({ENTROPY_ROWS: some[:, :0]} if manifest.step.measures else {}),
        **({DRAFT_MASK: np.zeros((1, fresh), np.bool_)} if manifest.step.drafts else {}),
        **{
            spec.name: np.ones(past, manifest.kv_dtype)
            for spec in manifest.inputs
            if spec.name.startswith("past_")
        },
    }


def _session(run: Run, threads: int, profile: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if profile is not None:
        options.enable_profiling, options.profile_file_prefix = True, str(profile / "run")
    graph = run.folder / read_manifest(run.folder).step.file
    model: bytes | str = str(graph)
    if run.library:
        options.register_custom_ops_library(str(run.library))
        options.add_session_config_entry(FOLDER_OF_WEIGHTS, str(run.folder))
        model = with_rows_products(graph.read_bytes()) or model
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _turns(
    sessions: list[onnxruntime.InferenceSession], feeds: list[Feeds], repeat: int
) -> list[list[float]]:
    """Seconds of every turn, for each session."""
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(repeat):
        for session, inputs, own in zip(sessions, feeds, times, strict=True):
            begin = time.perf_counter()
            session.run(OUTPUTS, inputs)
            own.append(time.perf_counter() - begin)
    return times


def _operators(
    run: Run, inputs: Feeds, arguments: argparse.Namespace
) -> tuple[int, dict[str, float]]:
    """Nodes that ran, and milliseconds of each kind of operator in the fastest turn."""
    with tempfile.TemporaryDirectory() as scratch:
        session = _session(run, arguments.threads, Path(scratch))
        for _ in range(arguments.repeat):
            session.run(OUTPUTS, inputs)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("kernel_time")]
    length = len(kernels) // arguments.repeat
    turns = [kernels[i : i + length] for i in range(0, length * arguments.repeat, length)]
    fastest = min(turns, key=lambda turn: sum(event["dur"] for event in turn))
    spent: Counter[str] = Counter()
    for event in fastest:
        spent[_kind(event["args"])] += event["dur"]
    return length, {kind: microseconds / 1e3 for kind, microseconds in spent.most_common()}


def _kind(arguments: dict[str, Any]) -> str:
    """Name of an operator; of a product also the shape of what it multiplies with, if it shows."""
    name: str = arguments["op_name"]
    shapes = arguments.get("input_type_shape", [])
    if "MatMul" not in name or len(shapes) < 2:
        return name
    return f"{name} {next(iter(shapes[1].values()), '')}"


if __name__ == "__main__":
    raise SystemExit(main())
