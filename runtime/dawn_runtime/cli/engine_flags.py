"""Flags of the commands that run an artifact: which engine, and how."""

import argparse
from pathlib import Path

from dawn_runtime.cli.common import megabytes, threads
from dawn_runtime.cli.standard import say
from dawn_runtime.decoder import Decoder
from dawn_runtime.engine.options import AUTO, engine_names, engine_options, split_engine
from dawn_runtime.engine.tensorrt.plans import without_plan
from dawn_runtime.errors import OptionError

_MEGABYTE = 2**20


def add_engine_flags(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup,
    *,
    prefix_megabytes: int,
    sweeps: bool = False,
) -> None:
    """Adds what `open_decoder` reads: which engine, and how it runs.

    Args:
        parser: Gets them.
        prefix_megabytes: What is held of finished texts unless said otherwise.
        sweeps: Whether `--threads` may be repeated; one number of them is then for `open_decoder`.
    """
    parser.add_argument(
        "--engine",
        type=_engine,
        default=AUTO,
        metavar="NAME[:KEY=VALUE,...]",
        help=f"one of {', '.join(engine_names())}, perhaps with options such as "
        "onnxruntime-cpu:threads=2; default: %(default)s, what artifact and installed packages "
        "are for",
    )
    parser.add_argument(
        "--threads",
        type=threads,
        metavar="N",
        action="append" if sweeps else "store",
        help=f"CPU threads{'; may be repeated' if sweeps else ''}; default: as many as help",
    )
    parser.add_argument(
        "--low-memory",
        action="store_true",
        help="leave the weights in the mapped file: slower, for models that fit no other way; CPU",
    )
    parser.add_argument(
        "--cuda-graphs",
        action="store_true",
        help="replay runs whose shapes come again as CUDA graphs; onnxruntime-cuda",
    )
    parser.add_argument(
        "--prefix-cache",
        type=megabytes,
        default=prefix_megabytes,
        metavar="MB",
        help="keys of finished texts held for prompts that begin alike, in models that never look "
        "ahead; 0 holds none; default: %(default)s",
    )


def _engine(text: str) -> str:
    """Refuses a text that names no engine, or whose options are malformed; for `type=`."""
    try:
        name, given = split_engine(text)
        if name != AUTO:
            engine_options(name, given)
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def open_decoder(
    args: argparse.Namespace, artifact: Path | None = None, *, literal_text: bool = False
) -> Decoder:
    """Opens an artifact with the engine that the command line asks for.

    Args:
        args: Parsed arguments, those of `add_engine_flags` among them.
        artifact: Its folder; None is the one of the command line.
        literal_text: As for `Decoder.open`.
    """
    folder = artifact or args.artifact
    if split_engine(args.engine)[0] == AUTO and without_plan(folder) and not args.quiet:
        say(
            f"{folder}: made for TensorRT, but no plan is built; running on ONNX Runtime (build "
            f"one with dawn-export --artifact {folder} --target tensorrt)"
        )
    decoder = Decoder.open(
        folder,
        engine=args.engine,
        threads=args.threads,
        low_memory=args.low_memory,
        cuda_graphs=args.cuda_graphs,
        prefix_bytes=args.prefix_cache * _MEGABYTE,
        literal_text=literal_text,
    )
    if decoder.threads is not None and decoder.threads.limited and not args.quiet:
        say(f"{folder}: {decoder.threads.line()}")
    return decoder
