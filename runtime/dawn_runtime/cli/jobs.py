"""`dawn-generate --input`: a file of prompts, answered line by line."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

from dawn_runtime.cli.common import print_json
from dawn_runtime.cli.engine_flags import open_decoder
from dawn_runtime.cli.generate_flags import BATCH
from dawn_runtime.cli.standard import is_terminal, say
from dawn_runtime.engine.options import AUTO, OnnxRuntimeCpu, split_engine
from dawn_runtime.errors import DawnError, EngineError
from dawn_runtime.files import Destination
from dawn_runtime.jobs import AnswerFile, AnswerStream, Job, JobTotals, Output, Progress, digests
from dawn_runtime.jobs.job import Listener
from dawn_runtime.jobs.on_ray import ActorOptions, run_on_ray
from dawn_runtime.jobs.record import Document, line_of
from dawn_runtime.manifest import Manifest
from dawn_runtime.prompt_files import Entry, read_entries
from dawn_runtime.settings import Plan, Settings
from dawn_runtime.wording import counted


def answer_file(
    args: argparse.Namespace,
    settings: Settings,
    target: Destination | None,
    manifest: Manifest,
    plan: Plan,
) -> None:
    """Answers all lines of a file that are not answered yet.

    Args:
        args: Parsed arguments.
        settings: Of every line.
        target: Where answers go; None is standard output.
        manifest: Of the artifact.
        plan: What the settings come to.

    Raises:
        DawnError: Lines have an error in place of an answer, or decoding failed.
        OSError: The answers cannot be written.
    """
    entries = read_entries(args.input)
    known = digests(entries, manifest, plan)
    documents: list[Document] = []
    with _output(args, target, known, documents) as output:
        totals = JobTotals.before(entries, output)
        if totals.done < totals.lines:
            progress = Progress(sys.stderr, terminal=is_terminal(sys.stderr), quiet=args.quiet)
            run = _run if args.ray is None else _run_on_ray
            with closing(progress), _standing(progress, output):
                totals = run(output, known, entries, settings, args, progress)
        output.finish()
    _tell(totals, documents, args)


@contextmanager
def _output(
    args: argparse.Namespace,
    target: Destination | None,
    known: Mapping[int, str],
    documents: list[Document],
) -> Iterator[Output]:
    """Opens where answers go; for one document in the end they are gathered."""
    if target is None:
        yield AnswerStream(list(known), documents.append if args.json else print_json)
    elif target.streams:
        with target.pouring() as pour:
            yield AnswerStream(list(known), lambda document: pour(line_of(document)))
    else:
        with closing(AnswerFile(target, known, overwrite=args.overwrite)) as output:
            yield output


def _run(
    output: Output,
    known: dict[int, str],
    entries: Sequence[Entry],
    settings: Settings,
    args: argparse.Namespace,
    listener: Listener,
) -> JobTotals:
    """Answers what is left."""
    with open_decoder(args) as decoder:
        job = Job(
            decoder,
            output,
            known,
            settings,
            size=args.batch or BATCH,
            listener=listener,
            name=str(args.input),
        )
        return job.run(entries)


def _run_on_ray(
    output: Output,
    known: dict[int, str],
    entries: Sequence[Entry],
    settings: Settings,
    args: argparse.Namespace,
    listener: Listener,
) -> JobTotals:
    """The same on a cluster."""
    gpus = int(split_engine(args.engine)[0] not in (AUTO, OnnxRuntimeCpu.name))
    options = ActorOptions(
        artifact=str(args.artifact.resolve()),
        engine=args.engine,
        threads=args.threads or (None if gpus else 1),
        settings=settings,
        size=args.batch or BATCH,
        name=str(args.input),
        gpus=gpus,
    )
    return run_on_ray(args.ray, options, entries, known, output, listener)


@contextmanager
def _standing(progress: Progress, output: Output) -> Iterator[None]:
    """Lets what ends a job that has begun say how far it came, and how it goes on."""
    try:
        yield
    except (KeyboardInterrupt, EngineError) as error:
        if progress.totals is None:
            raise
        said = _how_far(progress.totals, output)
        if isinstance(error, EngineError):
            raise EngineError(f"{error}; {said}") from error
        error.args = error.args or (said,)
        raise


def _how_far(totals: JobTotals, output: Output) -> str:
    kept = isinstance(output, AnswerFile)
    way = "run the same command again to go on" if kept else "none is kept; give --output a file"
    return f"at {totals.done} of {counted(totals.lines, 'line')}: {way}"


def _tell(totals: JobTotals, documents: list[Document], args: argparse.Namespace) -> None:
    """Says what came of the job.

    Raises:
        DawnError: Lines have an error in place of an answer.
    """
    if args.json:
        place = {"results": documents} if args.output is None else {"output": str(args.output)}
        print_json(
            {
                "answers": totals.done - totals.errors,
                "errors": totals.errors,
                "earlier": totals.earlier,
                "forwards": totals.forwards,
                "seconds": totals.seconds,
                **place,
            }
        )
    if not args.quiet:
        say(f"dawn-generate: {_summary(totals)}")
    if totals.errors:
        where = "" if args.output is None else f"; see {args.output}"
        has = "has" if totals.errors == 1 else "have"
        raise DawnError(
            f"{counted(totals.errors, 'line')} of {totals.lines} {has} an error in place of an "
            f"answer, the first is {totals.first_error}{where}"
        )


def _summary(totals: JobTotals) -> str:
    earlier = f", {totals.earlier} of them by an earlier run" if totals.earlier else ""
    if totals.earlier == totals.lines:
        return f"{totals.done} of {totals.lines}: all were answered by an earlier run"
    each = totals.tokens / max(totals.forwards, 1)
    return (
        f"{totals.done} of {totals.lines}{earlier}: {counted(totals.tokens, 'token')} decided in "
        f"{counted(totals.forwards, 'forward')} ({each:.2f} each), {totals.seconds:.2f} s"
    )
