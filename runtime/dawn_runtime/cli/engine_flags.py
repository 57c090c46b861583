"""Flags of the commands that run an artifact: which engine, and how."""

import argparse

from dawn_runtime.cli.common import count
from dawn_runtime.decoder import Decoder
from dawn_runtime.engine import ENGINES


def add_engine_flags(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds what `open_decoder` reads: which engine, and how it runs."""
    parser.add_argument(
        "--engine",
        choices=ENGINES,
        default="auto",
        help="default: %(default)s, what artifact and installed packages are for",
    )
    parser.add_argument(
        "--threads", type=count, metavar="N", help="CPU threads; default: all cores"
    )
    parser.add_argument(
        "--low-memory",
        action="store_true",
        help="leave the weights in the mapped file: slower, for models that fit no other way; CPU",
    )


def open_decoder(args: argparse.Namespace) -> Decoder:
    """Opens the artifact of the command line with the engine it asks for."""
    return Decoder.open(
        args.artifact, engine=args.engine, threads=args.threads, low_memory=args.low_memory
    )
