"""Completion of a command's flags and of the names that they take, as a script for bash or zsh.

    eval "$(dawn-generate --completion bash)"

Made from the parser, so that a flag or a rule that is added is completed too.
"""

import argparse
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dawn_runtime.decoding import CACHES, WINDOWS
from dawn_runtime.engine.options import engine_names
from dawn_runtime.options import rule_options
from dawn_runtime.policies import GUARDS
from dawn_runtime.rules import known_rules

_SCRIPT: Final = """\
{function}() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}"
    COMPREPLY=()
    case "$previous" in
{cases}    esac
    case "$current" in
        -*) COMPREPLY=($(compgen -W "{flags}" -- "$current")) ;;
    esac
}}
complete -o default -F {function} {command}
"""
_CASE: Final = """\
        {flag}) COMPREPLY=($(compgen -W "{names}" -- "$current")); return ;;
"""
_OPEN_CASE: Final = _CASE.replace("; return", "; compopt -o nospace 2> /dev/null; return")
"""What is completed goes on behind an equals sign."""

_PLAIN: Final = """\
        {flags}) return ;;
"""
_ZSH: Final = "autoload -U +X bashcompinit && bashcompinit\n"


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Returns a script that a shell evaluates.

    Args:
        parser: Of the command; flags of its subcommands are completed with its own.
        shell: `bash` or `zsh`.
    """
    actions = list(_actions(parser))
    names = _names()
    cases, plain = "", []
    for action in actions:
        for flag in action.option_strings:
            known = tuple(map(str, action.choices or ())) or names.get(flag, ())
            if known:
                case = _OPEN_CASE if flag == "--set" else _CASE
                cases += case.format(flag=flag, names=" ".join(known))
            elif action.nargs != 0:
                plain.append(flag)
    if plain:  # the shell completes names of files
        cases += _PLAIN.format(flags="|".join(dict.fromkeys(plain)))
    flags = [flag for action in actions for flag in action.option_strings]
    command = Path(parser.prog.split()[0]).name
    made = _SCRIPT.format(
        function="_" + re.sub(r"\W", "_", command),
        cases=cases,
        flags=" ".join(dict.fromkeys(flags)),
        command=command,
    )
    return (_ZSH if shell == "zsh" else "") + made


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All flags of a command and of its subcommands; the latter are words of their own."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from _actions(one)
        else:
            yield action


def _names() -> Mapping[str, tuple[str, ...]]:
    """What the flags take that name a rule or an engine."""
    options = {one.name for kind, _, rule in rule_options() if kind == "policy" for one in rule}
    return {
        "--policy": tuple(known_rules()),
        "--set": tuple(f"{name}=" for name in sorted(options)),
        "--window": tuple(WINDOWS.names()),
        "--cache": tuple(CACHES.names()),
        "--guard": ("none", *GUARDS.names()),
        "--engine": tuple(engine_names()),
    }
