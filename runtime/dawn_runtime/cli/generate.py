"""`dawn-generate`: decode answers with an artifact."""

import argparse
import re
import sys
from collections.abc import Sequence

from dawn_runtime import rendering
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli import generate_flags as flags
from dawn_runtime.cli.answer import answer
from dawn_runtime.cli.common import run_command
from dawn_runtime.cli.engine_flags import open_decoder
from dawn_runtime.cli.jobs import answer_file
from dawn_runtime.cli.places import check_apart, destination, given
from dawn_runtime.cli.standard import is_terminal, read_input
from dawn_runtime.cli.talk import Talk
from dawn_runtime.errors import OptionError, PromptError
from dawn_runtime.hub_cache import located
from dawn_runtime.prompts import Filling, Prompt
from dawn_runtime.settings import make_plan

_MOST_DIGITS = 100
"""Of the length of a hole; Python refuses to read some thousand of them."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_command(flags.parser(), _work, argv)


def _work(args: argparse.Namespace) -> None:
    flags.check(args)
    settings = flags.settings(args)
    target = None if args.output is None else destination(args.output, "--output")
    check_apart(given([("--output", args.output)]), given([("--input", args.input)]))
    manifest = read_manifest(located(args.artifact))
    shift = manifest.prediction_shift
    plan = make_plan(settings, manifest.decoding, manifest.attention, shift=shift)  # no engine yet
    if args.input is not None:
        answer_file(args, settings, target, manifest, plan)
        return
    trace = None if args.trace is None else destination(args.trace, "--trace")
    talks = args.chat and args.prompt is None and args.fill is None and is_terminal(sys.stdin)
    if talks and trace is not None:
        raise OptionError("--trace is of one answer, and this is a conversation; give a PROMPT")
    if args.chat:
        rendering.begin()  # while the artifact is opened
    # What is said to a template is text; a raw prompt is its caller's, special tokens and all.
    with open_decoder(args, literal_text=args.chat) as decoder:
        if talks:
            Talk(decoder, settings, args, _opening(args)).run()
        elif args.fill is not None:
            filling = Filling(_template(args.fill), _before(args))
            answer(decoder, filling, settings, args, trace)
        else:
            answer(decoder, _prompt(args), settings, args, trace)


def _prompt(args: argparse.Namespace) -> Prompt:
    """Returns the prompt of the command line or of standard input, as messages with --chat."""
    text: str | None = args.prompt
    if text is None or text == "-":
        text = read_input()
    if not args.chat:
        return text
    if not text.strip():
        raise PromptError(
            "the message of --chat is empty; give a text, such as 'Sort ascending: 47 61'"
        )
    return [*_opening(args), {"role": "user", "content": text}]


def _before(args: argparse.Namespace) -> Prompt | None:
    """Returns what precedes a template, if anything; standard input only if asked for by '-'."""
    return None if args.prompt is None and not args.chat else _prompt(args)


def _template(text: str) -> list[str | int]:
    """Splits a text at its holes, written [[N]]."""
    pieces = re.split(r"\[\[([^][]*)\]\]", text)
    for hole in pieces[1::2]:
        if not hole.isdecimal():
            raise PromptError(
                f"--fill: {hole!r} in '[[{hole}]]' is not a number; write [[N]] for a hole of N "
                'tokens, or give a text that holds [[ as a list of "template" in --input'
            )
        if len(hole) > _MOST_DIGITS:
            raise PromptError(f"--fill: a length of {len(hole)} digits exceeds every context")
    if any("[[" in piece for piece in pieces[0::2]):
        raise PromptError(
            f"--fill: {text!r:.80} has a '[[' that no ']]' ends; write [[N]] for a hole of N "
            'tokens, or give a text that holds [[ as a list of "template" in --input'
        )
    numbered = enumerate(pieces)
    return [int(piece) if place % 2 else piece for place, piece in numbered if piece]


def _opening(args: argparse.Namespace) -> list[dict[str, str]]:
    return [] if args.system is None else [{"role": "system", "content": args.system}]
