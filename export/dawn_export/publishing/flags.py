"""The part of the command line that is about the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from dawn_export.publishing.place import check_name, find_place
from dawn_export.publishing.push import Pushed, measured, push
from dawn_runtime.artifact import Artifact
from dawn_runtime.cli.common import place
from dawn_runtime.errors import OptionError


def add_push_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `--push`."""
    group = parser.add_argument_group("with --push")
    group.add_argument(
        "--push",
        metavar="OWNER/NAME",
        help="put the artifact and its model card into a repository of the Hugging Face Hub, which "
        "is made if it is not there, private unless --public; the token is that of 'hf auth login' "
        "or HF_TOKEN, tried before any work",
    )
    group.add_argument(
        "--public", action="store_true", help="let everybody see a repository that is made anew"
    )
    group.add_argument(
        "--bench",
        type=place,
        metavar="FILE",
        help="with --artifact: results of dawn-bench --output about it, for its card",
    )


def check_push_flags(args: argparse.Namespace) -> None:
    """Compares the flags with each other.

    Raises:
        OptionError: They do not go together, or the name is none.
    """
    for name in ("public", "bench"):
        if args.push is None and getattr(args, name):
            raise OptionError(f"--{name}: goes with --push OWNER/NAME")
    if args.bench is not None and args.artifact is None:
        raise OptionError(
            "--bench: goes with --artifact: export first, then measure with dawn-bench, then push"
        )
    if args.push is not None:
        check_name(args.push, "--push")


def check_push(args: argparse.Namespace) -> None:
    """Finds out before any work whether what is asked for can go to the Hub.

    Raises:
        As `push`.
    """
    if args.push is None:
        return
    if args.bench is not None:
        measured(Artifact.open(args.artifact), args.bench)
    find_place(args.push, public=args.public)


def push_as_asked(folder: Path, args: argparse.Namespace) -> Pushed | None:
    """Puts an artifact on the Hub if that is asked for.

    Raises:
        As `push`.
    """
    if args.push is None:
        return None
    return push(folder, args.push, public=args.public, results=args.bench, progress=not args.quiet)
