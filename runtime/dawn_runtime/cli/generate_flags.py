"""Flags of `dawn-generate`: what there are, which contradict each other, and what they set."""

import argparse
from pathlib import Path

from dawn_runtime.cli.common import Parser, count, key_value
from dawn_runtime.cli.engine_flags import add_engine_flags
from dawn_runtime.decoding import CACHES, PADDINGS, WINDOWS
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import POLICIES
from dawn_runtime.settings import Settings


def parser() -> Parser:
    """Returns the parser of the command."""
    made = Parser("dawn-generate", "Decode answers with an artifact written by dawn-export.")
    made.add_argument("artifact", type=Path, help="artifact folder")
    made.add_argument("prompt", nargs="?", help="prompt; standard input if absent or '-'")
    source = made.add_argument_group("prompts")
    source.add_argument(
        "--chat",
        action="store_true",
        help="put the prompt into the chat template; without a prompt, talk on the terminal",
    )
    source.add_argument("--system", metavar="TEXT", help="system message for --chat")
    source.add_argument(
        "--input",
        type=Path,
        metavar="FILE.jsonl",
        help='one object with "prompt", "messages" or "input_ids" on each line, or with a '
        '"template" to fill, a list of texts and hole lengths, perhaps behind one of them',
    )
    source.add_argument(
        "--output", type=Path, metavar="FILE.jsonl", help="where to write the answers to --input"
    )
    source.add_argument(
        "--batch",
        type=count,
        default=8,
        metavar="N",
        help="prompts of --input decoded together; answers do not depend on it but for ties in "
        "rounding; default: 8",
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
    _add_rules(made)
    _add_sampling(made)
    _add_running(made)
    return made


def _add_rules(parser: Parser) -> None:
    rules = parser.add_argument_group("decoding")
    rules.add_argument("--policy", metavar="NAME", help=_choices(POLICIES.names()))
    rules.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the policy, such as tau_edge=0.05; may be repeated",
    )
    rules.add_argument(
        "--window",
        metavar="NAME[:KEY=VALUE,...]",
        help=f"{_choices(WINDOWS.names())}, perhaps with options",
    )
    rules.add_argument(
        "--cache",
        metavar="NAME[:KEY=VALUE,...]",
        help=f"{_choices(CACHES.names())}, perhaps with options such as dual:refresh=8",
    )
    rules.add_argument("--block-length", type=int, metavar="N", help="default: the artifact's")
    rules.add_argument(
        "--max-new-tokens", type=int, metavar="N", help="default: the artifact's, or what has room"
    )
    rules.add_argument(
        "--no-stop-at-eos", action="store_true", help="decode every position, end token or not"
    )


def _add_sampling(parser: Parser) -> None:
    draw = parser.add_argument_group("sampling")
    draw.add_argument(
        "--temperature", type=float, metavar="T", help="above 0, tokens are drawn; default: 0"
    )
    draw.add_argument("--top-p", type=float, metavar="P", help="share that is drawn from")
    draw.add_argument("--top-k", type=int, metavar="K", help="number of tokens drawn from")
    draw.add_argument("--seed", type=int, metavar="N", help="of the draw; default: 0")


def _add_running(parser: Parser) -> None:
    running = parser.add_argument_group("running")
    running.add_argument(
        "--timeout",
        type=float,
        metavar="SECONDS",
        help="stop each prompt, or batch of prompts, then with what is there",
    )
    running.add_argument(
        "--max-forwards", type=int, metavar="N", help="stop after N runs with what is there"
    )
    running.add_argument("--stream", action="store_true", help="print text as it becomes certain")
    add_engine_flags(running)


def _choices(names: tuple[str, ...]) -> str:
    return f"one of {', '.join(names)}"


def check(args: argparse.Namespace) -> None:
    """Refuses combinations of flags that contradict each other."""
    conflicts = {
        "--output needs --input": args.output is not None and args.input is None,
        "--system needs --chat": args.system is not None and not args.chat,
        "--input takes neither PROMPT nor --chat nor --stream": args.input is not None
        and (args.prompt is not None or args.chat or args.stream),
        "--fill and --input exclude each other": args.fill is not None and args.input is not None,
        "--stream and --json exclude each other": args.stream and args.json,
    }
    for message, holds in conflicts.items():
        if holds:
            raise OptionError(f"{message}; see dawn-generate --help")
    if args.output is not None and not args.output.parent.is_dir():
        raise OptionError(f"--output {args.output}: the folder does not exist; create it first")


def settings(args: argparse.Namespace) -> Settings:
    """Returns the settings that the flags describe."""
    return {
        "max_new_tokens": args.max_new_tokens,
        "policy": args.policy,
        "options": dict(map(key_value, args.set)),
        "window": args.window,
        "cache": args.cache,
        "block_length": args.block_length,
        "stop_at_eos": False if args.no_stop_at_eos else None,
        "temperature": args.temperature,
        "top_p": args.top_p,
        "top_k": args.top_k,
        "seed": args.seed,
        "timeout": args.timeout,
        "max_forwards": args.max_forwards,
        "padding": args.padding,
    }
