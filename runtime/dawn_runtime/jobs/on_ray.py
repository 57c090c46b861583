"""A job on a Ray cluster: Ray Data deals the lines out, each actor has an engine of its own.

The output stays where it is for every job, in the process that was started: lines are added to it
as the actors send them, so that a job goes on after a crash whether Ray ran it or not. An actor
that dies is started again by Ray, and what it had is done anew; a line that comes twice is taken
once. Every machine of the cluster must have this package and the artifact, under the same path.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from dawn_runtime.decoder import Decoder
from dawn_runtime.errors import EngineError, OptionError
from dawn_runtime.jobs.job import Job, JobTotals, Listener, Tally
from dawn_runtime.jobs.output import Output
from dawn_runtime.jobs.record import Document
from dawn_runtime.native import importing, native_errors, reason_of
from dawn_runtime.prompt_files import Entry, read_entry
from dawn_runtime.settings import Settings

LOCAL: Final = "local"
"""In place of an address: a cluster of this machine alone, for as long as the job takes."""

_SHARE: Final = 4
"""Batches of lines that an actor is given at a time."""


@dataclass(frozen=True)
class ActorOptions:
    """How every actor opens and runs the model.

    Attributes:
        artifact: Its folder, on every machine.
        engine: Name of the engine, perhaps with options.
        threads: CPU threads of each, None leaves it to the engine.
        settings: Of every line; names and numbers alone.
        size: Lines decoded together at most.
        name: What the lines are called in messages.
        gpus: GPUs that an actor takes.
    """

    artifact: str
    engine: str
    threads: int | None
    settings: Settings
    size: int
    name: str
    gpus: int = 0

    @property
    def cpus(self) -> int:
        """CPUs of the cluster that an actor takes."""
        return self.threads or 1


class _Gathered(Output):
    """Keeps lines until an actor sends them."""

    def __init__(self) -> None:
        self.documents: list[Document] = []

    def add(self, documents: Sequence[Document]) -> None:
        """See `Output`."""
        self.documents.extend(documents)

    def finish(self) -> None:
        """See `Output`; an actor sends them in any order."""


class Answering:
    """What an actor does; called by Ray with columns of lines, returns columns of answers."""

    def __init__(self, options: ActorOptions) -> None:
        self._options = options
        self._decoder = Decoder.open(
            options.artifact, engine=options.engine, threads=options.threads
        )

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, list[str]]:
        """Answers some lines.

        Args:
            columns: `number`, `content` and `digest` of each.
        """
        one = self._options
        numbers = [int(number) for number in columns["number"]]
        digests = dict(zip(numbers, map(str, columns["digest"]), strict=True))
        entries = [
            read_entry(number, bytes(content), Path(one.name))
            for number, content in zip(numbers, columns["content"], strict=True)
        ]
        output = _Gathered()
        job = Job(self._decoder, output, digests, one.settings, size=one.size, name=one.name)
        job.run(entries)
        # As text: a table would want every answer to have the same fields.
        return {"line": [json.dumps(document) for document in output.documents]}


def run_on_ray(
    address: str,
    options: ActorOptions,
    entries: Sequence[Entry],
    digests: Mapping[int, str],
    output: Output,
    listener: Listener,
) -> JobTotals:
    """Answers on a cluster what is not answered yet.

    Args:
        address: Of the cluster, `auto` for the one that this machine is part of, or `local`.
        options: Of every actor.
        entries: All lines of the input.
        digests: Of all lines, by number.
        output: Takes the answers; lines that it has already are left out.
        listener: As for `Job`.

    Raises:
        DependencyError: Ray is not installed.
        OptionError: There is no cluster at the address, or it has not what an actor takes.
    """
    with importing("--ray needs", "ray", "pip install 'dawn-edge[ray]'"):
        ray, data = import_module("ray"), import_module("ray.data")
    tally = Tally(entries, output, listener)
    left = [entry for entry in entries if entry.number not in output.answered]
    translated = native_errors(lambda reason: EngineError(f"on the cluster: {reason}"))
    with translated, _connected(ray, address):
        for documents in _answers(ray, data, options, left, digests):
            tally.add(documents)
    return tally.totals


def _answers(
    ray: Any,
    data: Any,
    options: ActorOptions,
    entries: Sequence[Entry],
    digests: Mapping[int, str],
) -> Iterator[list[Document]]:
    """Gives lines as actors send them."""
    items = [
        {"number": one.number, "content": one.content, "digest": digests[one.number]}
        for one in entries
    ]
    share = _SHARE * options.size
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    dataset = data.from_items(items, override_num_blocks=-(-len(items) // share)).map_batches(
        Answering,
        fn_constructor_args=(options,),
        batch_size=share,
        concurrency=_actors(ray, options),
        num_cpus=options.cpus,
        num_gpus=options.gpus,
    )
    for batch in dataset.iter_batches(batch_size=None, prefetch_batches=0):
        yield [json.loads(line) for line in batch["line"]]


def _actors(ray: Any, options: ActorOptions) -> int:
    """As many as the cluster has room for."""
    have = ray.cluster_resources()
    room = int(have.get("CPU", 0)) // options.cpus
    if options.gpus:
        room = min(room, int(have.get("GPU", 0)) // options.gpus)
    if room < 1:
        raise OptionError(
            f"--ray: the cluster has {int(have.get('CPU', 0))} CPUs and "
            f"{int(have.get('GPU', 0))} GPUs, and an actor takes {options.cpus} and "
            f"{options.gpus}; give fewer --threads, or another cluster"
        )
    return room


@contextmanager
def _connected(ray: Any, address: str) -> Iterator[None]:
    """Joins a cluster, or begins one; leaves it in the end."""
    try:
        ray.init(
            address=None if address == LOCAL else address,
            include_dashboard=False if address == LOCAL else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise OptionError(
            f"--ray {address}: no cluster is there ({reason_of(error)}); start one with ray start, "
            f"or give {LOCAL!r}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
