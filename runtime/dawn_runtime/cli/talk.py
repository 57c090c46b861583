"""A conversation on the terminal: one message a line, and commands that begin with a slash."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Final

from dawn_runtime.cli.answer import answer, note, statistics
from dawn_runtime.cli.common import key_values
from dawn_runtime.cli.standard import read_line, say
from dawn_runtime.decoder import Decoder
from dawn_runtime.errors import OptionError, PromptError
from dawn_runtime.results import Result
from dawn_runtime.settings import Settings, make_plan

HELP: Final = """\
/help                      these lines
/reset                     forget what was said so far
/stats                     how the last answer was decoded, and sums of all
/policy [NAME KEY=VALUE]   decode by another rule from now on; without a name, say by which
//text                     a message that begins with a slash
Ctrl-D                     the end"""


class Talk:
    """Answers messages, each with those before it in view.

    Args:
        decoder: Answers.
        settings: Of every answer, until /policy changes them.
        args: How answers are shown.
        opening: Messages that stand before the first.
    """

    def __init__(
        self,
        decoder: Decoder,
        settings: Settings,
        args: argparse.Namespace,
        opening: list[dict[str, str]],
    ) -> None:
        self._decoder, self._settings, self._args = decoder, settings, args
        self._opening = opening
        self._messages = list(opening)
        self._results: list[Result] = []
        self._commands: Mapping[str, Callable[[list[str]], None]] = {
            "/help": self._help,
            "/reset": self._reset,
            "/stats": self._stats,
            "/policy": self._policy,
        }

    def run(self) -> None:
        """Goes on until the end of input; a message that cannot be answered does not end it."""
        note("a conversation: one message a line, /help for commands, end with Ctrl-D", self._args)
        while True:
            print("> ", end="", file=sys.stderr, flush=True)
            line = read_line()
            if not line:
                return
            try:
                self._take(line.removesuffix("\n"))
            except (OptionError, PromptError) as error:
                say(f"dawn-generate: {error}")

    def _take(self, line: str) -> None:
        if line.startswith("/") and not line.startswith("//"):
            name, *words = line.split()
            if name not in self._commands:
                raise OptionError(
                    f"unknown command {name}; known: {', '.join(self._commands)}; a message that "
                    "begins with a slash begins with two"
                )
            self._commands[name](words)
        elif line.strip():
            self._answer(line[1:] if line.startswith("//") else line)

    def _answer(self, text: str) -> None:
        asked = [*self._messages, {"role": "user", "content": text}]
        result = answer(self._decoder, asked, self._settings, self._args)
        self._results.append(result)
        self._messages = [*asked, {"role": "assistant", "content": result.text}]

    def _help(self, words: list[str]) -> None:
        for line in HELP.splitlines():
            say(line)

    def _reset(self, words: list[str]) -> None:
        self._messages = list(self._opening)
        say("what was said is forgotten")

    def _stats(self, words: list[str]) -> None:
        if not self._results:
            say("nothing is answered yet")
            return
        say(f"last: {statistics(self._results[-1], self._decoder)}")
        tokens = sum(result.tokens_decided for result in self._results)
        forwards = sum(result.forwards for result in self._results)
        seconds = sum(result.seconds for result in self._results)
        say(
            f"all {len(self._results)}: {tokens} tokens decided in {forwards} forwards "
            f"({tokens / max(forwards, 1):.2f} each), {seconds:.2f} s"
        )

    def _policy(self, words: list[str]) -> None:
        """Changes nothing unless the new rule can be made."""
        settings = self._settings
        if words:
            # Options, window, cache and guard were of the rule before.
            of_the_rule: Settings = {"options": {}, "window": None, "cache": None, "guard": None}
            name, *options = words
            settings = {**settings, **of_the_rule, "policy": name, "options": key_values(options)}
        manifest = self._decoder.manifest
        shift = manifest.prediction_shift
        scheme = make_plan(settings, manifest.decoding, manifest.attention, shift=shift).scheme
        self._settings = settings
        rule = getattr(scheme, "policy", scheme)
        options_of_it = ", ".join(f"{key}={value}" for key, value in rule.options().items())
        say(f"policy {rule.name}: {options_of_it or 'no options'}")
