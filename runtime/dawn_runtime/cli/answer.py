"""One answer as the flags want it seen: at the end, as it grows, in place, or as events."""

import argparse
import os
import sys
from collections.abc import Generator

from dawn_runtime.cli.common import print_json
from dawn_runtime.cli.live import Canvas
from dawn_runtime.cli.standard import is_terminal, say
from dawn_runtime.decoder import Decoder
from dawn_runtime.files import Destination
from dawn_runtime.open_batch import Event
from dawn_runtime.prompts import Filling, Prompt
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings
from dawn_runtime.traces import as_json, as_page, trace_document
from dawn_runtime.wording import counted


def answer(
    decoder: Decoder,
    prompt: Prompt | Filling,
    settings: Settings,
    args: argparse.Namespace,
    trace: Destination | None = None,
) -> Result:
    """Decodes one prompt, shows the answer and its statistics, and writes its trace if wanted."""
    result = _shown(decoder, prompt, settings, args)
    if trace is not None:
        document = trace_document(decoder, decoder.encode(prompt), result)
        is_json = args.trace.suffix.lower() == ".json"
        trace.write(as_json(document) if is_json else as_page(document))
    note(statistics(result, decoder), args)
    return result


def _shown(
    decoder: Decoder, prompt: Prompt | Filling, settings: Settings, args: argparse.Namespace
) -> Result:
    if args.stream and args.json:
        return _events(decoder, prompt, settings)
    if args.stream:
        stream = decoder.stream(prompt, **settings)
        for piece in stream:
            print(piece, end="", flush=True)
        print()
        return stream.result
    if args.live and is_terminal(sys.stdout) and os.environ.get("TERM") != "dumb":
        return _live(decoder, prompt, settings)
    result = decoder.generate(prompt, **settings)
    if args.json:
        print_json(result.to_dict())
    else:
        print(result.written if result.written is not None else _ids(result))
    return result


def _steps(
    decoder: Decoder, prompt: Prompt | Filling, settings: Settings
) -> Generator[Event, None, Result]:
    """Gives what every step does, and returns the answer."""
    own: Settings = {**settings, "padding": None}
    rows, tokens = decoder.room(prompt, **own)
    with decoder.batch(max_rows=rows, max_tokens=rows * tokens) as batch:
        key = batch.admit(prompt, **own)
        while not batch.finished(key):
            yield from batch.step()
        return batch.leave(key)


def _events(decoder: Decoder, prompt: Prompt | Filling, settings: Settings) -> Result:
    """Prints an object a line: the beginning, every step, and the whole answer."""
    ids = decoder.encode(prompt)
    print_json({"event": "begin", "given": ids.tolist(), "engine": decoder.engine_name})
    steps, number = _steps(decoder, prompt, settings), 0
    while True:
        try:
            event = next(steps)
        except StopIteration as end:
            result: Result = end.value
            break
        texts = decoder.token_texts([one.token for one in event.commits]) if event.commits else []
        commits = [
            {
                "position": one.position,
                "token": one.token,
                "confidence": one.confidence,
                "text": None if texts is None else texts[place],
            }
            for place, one in enumerate(event.commits)
        ]
        told = {"event": "step", "step": number, "commits": commits}
        print_json({**told, "revoked": list(event.revoked), "text": event.text})
        number += 1
    print_json({"event": "end", **result.to_dict()})
    return result


def _live(decoder: Decoder, prompt: Prompt | Filling, settings: Settings) -> Result:
    """Shows the text in place while it is decided; in the end the answer stands there."""
    own: Settings = {**settings, "padding": None}
    _, length = decoder.room(prompt, **own)
    canvas = Canvas(decoder, decoder.encode(prompt), length, sys.stdout)
    steps = _steps(decoder, prompt, settings)
    try:
        while True:
            event = next(steps)
            canvas.show(event.commits, event.revoked)
    except StopIteration as end:
        result: Result = end.value
    finally:
        canvas.close()
    print(result.written if result.written is not None else _ids(result))
    return result


def _ids(result: Result) -> str:
    return " ".join(map(str, result.tokens.tolist()))


def statistics(result: Result, decoder: Decoder) -> str:
    """Returns one line on how an answer was decoded."""
    said = "".join(f", guard {guard}" for guard in result.guards)
    said += " (fallback: the answer is short)" if result.fallback else ""
    if result.doubt is not None:
        said += f" ({result.doubt})"
    if result.finish_reason not in ("end", "length"):
        said += f", incomplete: {result.finish_reason}"
    return (
        f"{counted(result.tokens_decided, 'token')} decided in "
        f"{counted(result.forwards, 'forward')} ({result.tokens_per_forward:.2f} each), "
        f"{result.seconds:.2f} s, engine {decoder.engine_name}, policy {result.policy}{said}"
    )


def note(message: str, args: argparse.Namespace) -> None:
    """Prints a line on standard error unless --quiet."""
    if not args.quiet:
        say(f"dawn-generate: {message}")
