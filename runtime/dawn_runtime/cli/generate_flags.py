"""Flags of `dawn-generate`: what there are, which contradict each other, and what they set."""

import argparse
from pathlib import Path
from typing import Final

from dawn_runtime._json import is_unicode
from dawn_runtime.cli.common import Parser, count, key_values, place
from dawn_runtime.cli.engine_flags import add_engine_flags
from dawn_runtime.decoding import PADDINGS, Sampling
from dawn_runtime.errors import OptionError, PromptError
from dawn_runtime.options import (
    add_policy_flags,
    add_rule_flag,
    add_scalar_flags,
    rules_help,
)
from dawn_runtime.request import Limits
from dawn_runtime.settings import Settings

BATCH: Final = 8
"""Prompts of a file decoded together, unless said otherwise."""

_EXAMPLES: Final = """\
examples:
  dawn-generate ARTIFACT --chat "Sort ascending: 47 61 56 21"    an answer
  dawn-generate ARTIFACT --chat                              a conversation, /help for its commands
  dawn-generate ARTIFACT "Once upon" --stream --policy threshold --set threshold=0.8
  dawn-generate ARTIFACT --chat "Sort ascending: 47 61 56 21" --live --trace run.html
  dawn-generate ARTIFACT --fill '{"name": "[[6]]", "age": [[2]]}' "In Paris lives Maria, aged 19."
  dawn-generate ARTIFACT --input prompts.jsonl --output answers.jsonl    stop it, and go on
  dawn-generate ARTIFACT "Once upon" --stream --json | while read -r event; do ...; done
  eval "$(dawn-generate --completion bash)"                  complete flags and names with Tab
"""

_DASHES = "\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}"
"""What word processors make of the hyphens of a flag."""


def parser() -> Parser:
    """Returns the parser of the command."""
    made = Parser("dawn-generate", "Decode answers with an artifact written by dawn-export.")
    made.add_argument(
        "artifact", type=place, help="artifact folder, or ORG/NAME in the cache of the Hub"
    )
    made.add_argument("prompt", nargs="?", help="prompt; standard input if absent or '-'")
    source = made.add_argument_group("prompts")
    source.add_argument(
        "--chat",
        action="store_true",
        help="put the prompt into the chat template; without a prompt, talk on the terminal; texts "
        "of special tokens in messages are text",
    )
    source.add_argument("--system", metavar="TEXT", help="system message for --chat")
    source.add_argument(
        "--input",
        type=place,
        metavar="FILE.jsonl",
        help='one object with "prompt", "messages" or "input_ids" on each line, or with a '
        '"template" to fill, a list of texts and hole lengths, perhaps behind one of them',
    )
    source.add_argument(
        "--output",
        type=place,
        metavar="FILE.jsonl",
        help="where to write the answers to --input, each as soon as it is done; the same command "
        "again goes on where it was stopped",
    )
    source.add_argument(
        "--overwrite",
        action="store_true",
        help="begin --output anew, whatever is in it",
    )
    source.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="decode --input on a Ray cluster: its address, auto for the one this machine is part "
        "of, or local; each actor has an engine with --threads threads (1) of its own",
    )
    source.add_argument(
        "--batch",
        type=count,
        metavar="N",
        help="most prompts of --input decoded at a time; answers do not depend on it but for ties "
        f"in rounding; default: {BATCH}",
    )
    source.add_argument(
        "--padding",
        choices=PADDINGS,
        help="side on which shorter rows of a batch are filled up; answers do not depend on it; "
        "default: right",
    )
    source.add_argument(
        "--fill",
        metavar="TEMPLATE",
        help="answer with this text, where [[N]] stands for N tokens to decide: "
        """'{"name": "[[6]]", "age": [[2]]}'; PROMPT, if given, precedes it""",
    )
    add_decoding_flags(made, "decoding")
    _add_running(made)
    made.epilog = f"{_EXAMPLES}\n{rules_help()}"
    return made


def add_decoding_flags(parser: Parser, title: str) -> None:
    """Adds what `decoding_settings` reads: rules, sampling and limits.

    Args:
        parser: Gets them.
        title: Of the rules, in `--help`.
    """
    _add_rules(parser, title)
    add_scalar_flags(parser.add_argument_group("sampling"), Sampling)
    add_scalar_flags(parser.add_argument_group("limits"), Limits)


def _add_rules(parser: Parser, title: str) -> None:
    rules = parser.add_argument_group(title)
    own = "default: the artifact's (dawn-doctor ARTIFACT says which, and why)"
    add_policy_flags(rules, f"; {own}")
    usual = "default: the artifact's for its own policy, else what goes with the policy"
    add_rule_flag(rules, "window", f"; {usual}")
    add_rule_flag(rules, "cache", f" such as dual:refresh=8; {usual}")
    add_rule_flag(
        rules,
        "guard",
        " such as budget:nats=4; may be repeated; none is none, the default but for the artifact's "
        "own policy where it has some",
        action="append",
    )
    rules.add_argument("--block-length", type=int, metavar="N", help="default: the artifact's")
    rules.add_argument(
        "--max-new-tokens", type=int, metavar="N", help="default: the artifact's, or what has room"
    )
    rules.add_argument(
        "--no-stop-at-eos", action="store_true", help="decode every position, end token or not"
    )


def _add_running(parser: Parser) -> None:
    running = parser.add_argument_group("running")
    running.add_argument(
        "--stream",
        action="store_true",
        help="print text as it becomes certain; with --json an object a line, one for each step",
    )
    running.add_argument(
        "--live",
        action="store_true",
        help="show the text in place while it is decided, where standard output is a terminal",
    )
    running.add_argument(
        "--trace",
        type=place,
        metavar="FILE.html",
        help="write what every step decided and why, as a page that opens offline; as JSON if the "
        "name ends in .json",
    )
    add_engine_flags(running, prefix_megabytes=128)


def check(args: argparse.Namespace) -> None:
    """Refuses flags that contradict each other or do nothing, and texts that are something else.

    Raises:
        OptionError: Flags do not go together.
        PromptError: A text is not Unicode, or the prompt seems to be a flag or the name of a file.
    """
    drawn = (args.seed, args.top_p, args.top_k)
    conflicts = {
        "--output needs --input": args.output is not None and args.input is None,
        "--overwrite needs --output": args.overwrite and args.output is None,
        "--ray needs --input": args.ray is not None and args.input is None,
        "--batch needs --input": args.batch is not None and args.input is None,
        "--padding needs --input": args.padding is not None and args.input is None,
        "--system needs --chat": args.system is not None and not args.chat,
        "--input takes neither PROMPT nor --chat nor --stream": args.input is not None
        and (args.prompt is not None or args.chat or args.stream),
        "--input takes neither --live nor --trace, which are of one answer": args.input is not None
        and (args.live or args.trace is not None),
        "--trace names a page, FILE.html, or FILE.json": args.trace is not None
        and args.trace.suffix.lower() not in (".html", ".htm", ".json"),
        "--fill and --input exclude each other": args.fill is not None and args.input is not None,
        "--live excludes --json and --stream": args.live and (args.json or args.stream),
        "--seed, --top-p and --top-k need a temperature above 0": not args.temperature
        and any(value is not None for value in drawn),
    }
    for message, holds in conflicts.items():
        if holds:
            raise OptionError(f"{message}; see dawn-generate --help")
    for name, text in (("PROMPT", args.prompt), ("--system", args.system), ("--fill", args.fill)):
        if text is not None and not is_unicode(text):
            raise PromptError(f"{name} {text!r:.60}: holds bytes that are not UTF-8; convert it")
    if args.prompt is not None:
        _check_prompt(args.prompt)


def _check_prompt(prompt: str) -> None:
    """Refuses what was most likely meant as something else; standard input takes any text."""
    way_out = "pipe it into '-' if this is the prompt itself"
    if prompt[:1] and prompt[0] in _DASHES and prompt.lstrip(_DASHES)[:1].isalpha():
        raise PromptError(
            f"PROMPT {prompt!r:.60}: seems to be a flag; flags begin with plain hyphens, --; "
            f"{way_out}"
        )
    if _is_named(prompt):
        kind = "a folder, and the artifact goes first" if Path(prompt).is_dir() else "a file"
        hint = "" if Path(prompt).is_dir() else "; give prompts of a file with --input"
        raise PromptError(f"PROMPT {prompt!r:.60}: is the name of {kind}{hint}; {way_out}")


def _is_named(prompt: str) -> bool:
    """Tells whether a prompt names what exists, and looks like a path and not like a word."""
    looks = "/" in prompt or "." in prompt[1:-1]
    try:
        return looks and len(prompt) < 1024 and Path(prompt).exists()
    except (OSError, ValueError):  # a name too long, or no name at all
        return False


def settings(args: argparse.Namespace) -> Settings:
    """Returns the settings that the flags describe."""
    return {
        **decoding_settings(args),
        "padding": args.padding,
        "record": args.trace is not None,
    }


def decoding_settings(args: argparse.Namespace) -> Settings:
    """Returns those of `add_decoding_flags`."""
    return {
        "max_new_tokens": args.max_new_tokens,
        "policy": args.policy,
        "options": key_values(args.set),
        "window": args.window,
        "cache": args.cache,
        "guard": args.guard,
        "block_length": args.block_length,
        "stop_at_eos": False if args.no_stop_at_eos else None,
        "temperature": args.temperature,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "seed": args.seed,
        "forbid": args.forbid,
        "guidance": args.guidance,
        "timeout": args.timeout,
        "max_forwards": args.max_forwards,
    }
