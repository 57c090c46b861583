"""Flags of `dawn-serve`: what there are, and what they set."""

import argparse
import ipaddress
from typing import Any, Final

from dawn_runtime.checks import check_integer, shown
from dawn_runtime.cli.common import Parser, place
from dawn_runtime.cli.engine_flags import add_engine_flags
from dawn_runtime.cli.generate_flags import add_decoding_flags, decoding_settings
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import Options, options_of
from dawn_runtime.options import add_scalar_flags, rules_help
from dawn_runtime.settings import Settings
from dawn_serve.edges import Bounds, Edges

KEY_VARIABLE: Final = "DAWN_API_KEY"
"""Where the API key is looked for if no flag gives it; flags are seen by all who list processes."""

_EXAMPLES: Final = """examples:
  dawn-serve build/tiny-dream
  dawn-serve build/tiny-dream --port 9000 --max-batch-size 4 --policy threshold
  curl localhost:8000/v1/chat/completions -d '{"messages": [{"role": "user", "content": "hello"}]}'
"""


def parser() -> Parser:
    """Returns the parser of the command."""
    made = Parser(
        "dawn-serve", "Serve an artifact to clients of the OpenAI, Anthropic and Ollama APIs."
    )
    made.add_argument(
        "artifact", type=place, help="artifact folder, or ORG/NAME in the cache of the Hub"
    )
    _add_network(made)
    _add_bounds(made)
    add_decoding_flags(made, "decoding, where a request leaves it out")
    running = made.add_argument_group("running")
    add_engine_flags(running, prefix_megabytes=128)
    made.epilog = f"{_EXAMPLES}\n{rules_help()}"
    return made


def _add_network(parser: Parser) -> None:
    network = parser.add_argument_group("network")
    network.add_argument(
        "--host", default="127.0.0.1", metavar="NAME", help="address; default: %(default)s"
    )
    network.add_argument(
        "--port",
        type=int,
        default=8000,
        metavar="N",
        help="0 is one that is free; default: %(default)s",
    )
    network.add_argument(
        "--api-key",
        metavar="KEY",
        help=f"what clients have to give; default: ${KEY_VARIABLE}, or nothing",
    )
    network.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="web pages that may ask, such as https://example.org; may be repeated; default: none",
    )
    network.add_argument(
        "--no-page", action="store_true", help="leave out the page for browsers at /"
    )
    network.add_argument(
        "--served-model-name",
        action="append",
        metavar="NAME",
        help="what the model is called; may be repeated; default: the name of the folder",
    )


def _add_bounds(parser: Parser) -> None:
    bounds = parser.add_argument_group("bounds")
    add_scalar_flags(bounds, Bounds)
    add_scalar_flags(bounds, Edges)


def check(args: argparse.Namespace) -> None:
    """Refuses flags that are nothing a server can be started with.

    Raises:
        OptionError: One of them is wrong.
    """
    check_integer("serve", "port", args.port, minimum=0, maximum=65535)
    if not args.host:
        raise OptionError("serve: --host is ''; expected an address such as 127.0.0.1")
    key = args.api_key
    if key is not None and not (key and key.isascii() and key.isprintable()):
        raise OptionError("serve: --api-key is no printable ASCII text, which a header has to be")
    for name in args.served_model_name or ():
        if not name or not name.isprintable():
            raise OptionError(f"serve: --served-model-name is {shown(name)}; expected a name")


def bounds(args: argparse.Namespace) -> Bounds:
    """Returns how much is taken in.

    Raises:
        OptionError: A bound is out of range.
    """
    return Bounds(**_given(args, Bounds))


def edges(args: argparse.Namespace) -> Edges:
    """Returns what a single request may be.

    Raises:
        OptionError: A bound is out of range.
    """
    return Edges(**_given(args, Edges))


def _given(args: argparse.Namespace, owner: type[Options]) -> dict[str, Any]:
    """The flags of `add_scalar_flags` that were given."""
    values = {one.name: getattr(args, one.name) for one in options_of(owner)}
    return {name: value for name, value in values.items() if value is not None}


def settings(args: argparse.Namespace) -> Settings:
    """Returns the settings where a request leaves them out."""
    return decoding_settings(args)


def hosts(host: str) -> tuple[str, ...]:
    """Returns the names under which a server answers; any, if others than this machine reach it."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    return (host.lower(),) if is_loopback else ()
