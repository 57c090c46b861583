"""`dawn-generate`: decode answers with an artifact."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from dawn_runtime.cli.common import Parser, atomic_text, key_value, print_json, run_command
from dawn_runtime.cli.jsonl import read_prompts
from dawn_runtime.decoder import Decoder
from dawn_runtime.decoding import CACHES, WINDOWS
from dawn_runtime.errors import OptionError, PromptError
from dawn_runtime.generation import Result
from dawn_runtime.policies import POLICIES
from dawn_runtime.prompts import Prompt
from dawn_runtime.settings import Settings


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_command(_parser(), _work, argv)


def _parser() -> Parser:
    parser = Parser("dawn-generate", "Decode answers with an artifact written by dawn-export.")
    parser.add_argument("artifact", type=Path, help="artifact folder")
    parser.add_argument("prompt", nargs="?", help="prompt; standard input if absent or '-'")
    source = parser.add_argument_group("prompts")
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
        help='one object with "prompt", "messages" or "input_ids" on each line',
    )
    source.add_argument(
        "--output", type=Path, metavar="FILE.jsonl", help="where to write the answers to --input"
    )
    _add_decoding_flags(parser)
    return parser


def _add_decoding_flags(parser: Parser) -> None:
    rules = parser.add_argument_group("decoding")
    rules.add_argument("--policy", metavar="NAME", help=_choices(POLICIES.names()))
    rules.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of the policy, such as tau_edge=0.05; may be repeated",
    )
    rules.add_argument("--window", metavar="NAME", help=_choices(WINDOWS.names()))
    rules.add_argument("--cache", metavar="NAME", help=_choices(CACHES.names()))
    rules.add_argument("--block-length", type=int, metavar="N", help="default: the artifact's")
    rules.add_argument(
        "--max-new-tokens", type=int, metavar="N", help="default: 256, or what has room"
    )
    rules.add_argument(
        "--no-stop-at-eos", action="store_true", help="decode every position, end token or not"
    )
    rules.add_argument("--stream", action="store_true", help="print text as it becomes certain")
    rules.add_argument("--threads", type=int, metavar="N", help="CPU threads; default: all cores")


def _choices(names: tuple[str, ...]) -> str:
    return f"one of {', '.join(names)}"


def _work(args: argparse.Namespace) -> None:
    _check_flags(args)
    settings = _settings(args)
    batch = None if args.input is None else read_prompts(args.input)
    with Decoder.open(args.artifact, threads=args.threads) as decoder:
        if batch is not None:
            _answer_file(decoder, batch, settings, args)
        elif args.chat and args.prompt is None and sys.stdin.isatty():
            _talk(decoder, settings, args)
        else:
            _answer(decoder, _prompt(args), settings, args)


def _check_flags(args: argparse.Namespace) -> None:
    """Refuses combinations of flags that contradict each other."""
    conflicts = {
        "--output needs --input": args.output is not None and args.input is None,
        "--system needs --chat": args.system is not None and not args.chat,
        "--input takes neither PROMPT nor --chat nor --stream": args.input is not None
        and (args.prompt is not None or args.chat or args.stream),
        "--stream and --json exclude each other": args.stream and args.json,
    }
    for message, holds in conflicts.items():
        if holds:
            raise OptionError(f"{message}; see dawn-generate --help")
    if args.output is not None and not args.output.parent.is_dir():
        raise OptionError(f"--output {args.output}: the folder does not exist; create it first")


def _settings(args: argparse.Namespace) -> Settings:
    return {
        "max_new_tokens": args.max_new_tokens,
        "policy": args.policy,
        "options": dict(map(key_value, args.set)),
        "window": args.window,
        "cache": args.cache,
        "block_length": args.block_length,
        "stop_at_eos": not args.no_stop_at_eos,
    }


def _prompt(args: argparse.Namespace) -> Prompt:
    """Returns the prompt of the command line or of standard input, as messages with --chat."""
    text = args.prompt
    if text is None or text == "-":
        text = sys.stdin.read().removesuffix("\n")
    return [*_opening(args), {"role": "user", "content": text}] if args.chat else text


def _opening(args: argparse.Namespace) -> list[dict[str, str]]:
    return [] if args.system is None else [{"role": "system", "content": args.system}]


def _answer(
    decoder: Decoder, prompt: Prompt, settings: Settings, args: argparse.Namespace
) -> Result:
    """Decodes one prompt and prints the answer and its statistics."""
    if args.stream:
        stream = decoder.stream(prompt, **settings)
        for piece in stream:
            print(piece, end="", flush=True)
        print()
        result = stream.result
    else:
        result = decoder.generate(prompt, **settings)
        if args.json:
            print_json(result.to_dict())
        else:
            print(result.text if result.text is not None else _ids(result))
    _note(_statistics(result), args)
    return result


def _talk(decoder: Decoder, settings: Settings, args: argparse.Namespace) -> None:
    """Holds a conversation on the terminal until the end of input."""
    _note("a conversation: one message a line, end with Ctrl-D", args)
    messages = _opening(args)
    while True:
        print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if not line.strip():
            continue
        messages.append({"role": "user", "content": line.removesuffix("\n")})
        result = _answer(decoder, messages, settings, args)
        messages.append({"role": "assistant", "content": result.text or ""})


def _answer_file(
    decoder: Decoder,
    prompts: list[tuple[int, Prompt]],
    settings: Settings,
    args: argparse.Namespace,
) -> None:
    """Decodes all lines of a file; nothing is written unless all of them succeed."""
    results = []
    for line, prompt in prompts:
        try:
            results.append(decoder.generate(prompt, **settings))
        except PromptError as error:
            raise PromptError(f"{args.input} line {line}: {error}") from error
        _note(f"{len(results)} of {len(prompts)}: {_statistics(results[-1])}", args)
    documents = [result.to_dict() for result in results]
    if args.output is not None:
        with atomic_text(args.output) as file:
            file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in documents)
    if args.json:
        summary = {"answers": len(results), "forwards": sum(r.forwards for r in results)}
        seconds = sum(result.seconds for result in results)
        place = {"results": documents} if args.output is None else {"output": str(args.output)}
        print_json({**summary, "seconds": seconds, **place})
    elif args.output is None:
        for item in documents:
            print_json(item)


def _ids(result: Result) -> str:
    return " ".join(map(str, result.tokens.tolist()))


def _statistics(result: Result) -> str:
    note = " (fallback: the answer is short)" if result.fallback else ""
    return (
        f"{len(result.tokens)} tokens, {result.forwards} forwards, "
        f"{result.tokens_per_forward:.2f} tokens per forward, {result.seconds:.2f} s, "
        f"policy {result.policy}{note}"
    )


def _note(message: str, args: argparse.Namespace) -> None:
    """Prints a line on standard error unless --quiet."""
    if not args.quiet:
        print(f"dawn-generate: {message}", file=sys.stderr)
