"""`dawn-generate`: decode answers with an artifact."""

import argparse
import re
import sys
from collections.abc import Sequence

from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli import generate_flags as flags
from dawn_runtime.cli.common import print_json, run_command
from dawn_runtime.cli.engine_flags import open_decoder
from dawn_runtime.cli.jobs import answer_file
from dawn_runtime.cli.places import check_apart, destination, given
from dawn_runtime.cli.standard import is_terminal, read_input, read_line, say
from dawn_runtime.decoder import Decoder
from dawn_runtime.errors import PromptError
from dawn_runtime.prompts import Filling, Prompt
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings, make_plan
from dawn_runtime.wording import counted

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
    manifest = read_manifest(args.artifact)
    plan = make_plan(settings, manifest.decoding, manifest.attention)  # before there is an engine
    if args.input is not None:
        answer_file(args, settings, target, manifest, plan)
        return
    with open_decoder(args) as decoder:
        if args.fill is not None:
            _answer(decoder, Filling(_template(args.fill), _before(args)), settings, args)
        elif args.chat and args.prompt is None and is_terminal(sys.stdin):
            _talk(decoder, settings, args)
        else:
            _answer(decoder, _prompt(args), settings, args)


def _prompt(args: argparse.Namespace) -> Prompt:
    """Returns the prompt of the command line or of standard input, as messages with --chat."""
    text: str | None = args.prompt
    if text is None or text == "-":
        text = read_input()
    if not args.chat:
        return text
    if not text.strip():
        raise PromptError("the message of --chat is empty; give a text, such as 'What is 3 + 4?'")
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


def _answer(
    decoder: Decoder, prompt: Prompt | Filling, settings: Settings, args: argparse.Namespace
) -> Result:
    """Decodes one prompt and prints the answer and its statistics."""
    if not args.stream:
        result = decoder.generate(prompt, **settings)
        if args.json:
            print_json(result.to_dict())
        else:
            print(result.text if result.text is not None else _ids(result))
        _note(_statistics(result, decoder), args)
        return result
    stream = decoder.stream(prompt, **settings)
    for piece in stream:
        print(piece, end="", flush=True)
    print()
    _note(_statistics(stream.result, decoder), args)
    return stream.result


def _talk(decoder: Decoder, settings: Settings, args: argparse.Namespace) -> None:
    """Holds a conversation on the terminal until the end of input."""
    _note("a conversation: one message a line, end with Ctrl-D", args)
    messages = _opening(args)
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = read_line()
        if not line:
            return
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line.removesuffix("\n")})
        result = _answer(decoder, messages, settings, args)
        messages.append({"role": "assistant", "content": result.text or ""})


def _ids(result: Result) -> str:
    return " ".join(map(str, result.tokens.tolist()))


def _statistics(result: Result, decoder: Decoder) -> str:
    note = "".join(f", guard {guard}" for guard in result.guards)
    note += " (fallback: the answer is short)" if result.fallback else ""
    if result.doubt is not None:
        note += f" ({result.doubt})"
    if result.finish_reason not in ("end", "length"):
        note += f", incomplete: {result.finish_reason}"
    return (
        f"{counted(result.tokens_decided, 'token')} decided in "
        f"{counted(result.forwards, 'forward')} ({result.tokens_per_forward:.2f} each), "
        f"{result.seconds:.2f} s, engine {decoder.engine_name}, policy {result.policy}{note}"
    )


def _note(message: str, args: argparse.Namespace) -> None:
    """Prints a line on standard error unless --quiet."""
    if not args.quiet:
        say(f"dawn-generate: {message}")
