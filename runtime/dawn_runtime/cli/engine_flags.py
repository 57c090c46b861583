"""Flags of the commands that run an artifact: which engine, and how."""

import argparse
from pathlib import Path

from dawn_runtime.cli.common import threads
from dawn_runtime.cli.standard import say
from dawn_runtime.decoder import Decoder
from dawn_runtime.engine.options import AUTO, engine_names, engine_options, split_engine
from dawn_runtime.engine.tensorrt.plans import without_plan
from dawn_runtime.errors import OptionError


def add_engine_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds what `open_decoder` reads: which engine, and how it runs."""
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
        "--threads", type=threads, metavar="N", help="CPU threads; default: as many as help"
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


def _engine(text: str) -> str:
    """Refuses a text that names no engine, or whose options are malformed; for `type=`."""
    try:
        name, given = split_engine(text)
        if name != AUTO:
            engine_options(name, given)
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def open_decoder(args: argparse.Namespace, artifact: Path | None = None) -> Decoder:
    """Opens an artifact with the engine that the command line asks for.

    Args:
        args: Parsed arguments, those of `add_engine_flags` among them.
        artifact: Its folder; None is the one of the command line.
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
    )
    if decoder.threads is not None and decoder.threads.limited and not args.quiet:
        say(f"{folder}: {decoder.threads.line()}")
    return decoder
