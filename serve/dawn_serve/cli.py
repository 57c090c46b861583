"""`dawn-serve`: serves an artifact to clients of OpenAI, Anthropic and Ollama."""

import argparse
import os
import socket
from collections.abc import Sequence

from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import print_json, run_command
from dawn_runtime.cli.engine_flags import open_decoder
from dawn_runtime.cli.standard import say
from dawn_runtime.decoder import Decoder
from dawn_runtime.hub_cache import located
from dawn_runtime.native import importing
from dawn_runtime.settings import make_plan
from dawn_serve import flags
from dawn_serve.scheduler import Scheduler


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return run_command(flags.parser(), _work, argv)


def _work(args: argparse.Namespace) -> None:
    with importing("dawn-serve needs", "starlette", "pip install 'dawn-edge[serve]'"):
        import starlette  # noqa: F401 - whether it is there
    with importing("dawn-serve needs", "uvicorn", "pip install 'dawn-edge[serve]'"):
        import uvicorn  # noqa: F401 - the same
    from dawn_serve import server

    flags.check(args)
    manifest = read_manifest(located(args.artifact))
    settings, shift = flags.settings(args), manifest.prediction_shift
    make_plan(settings, manifest.decoding, manifest.attention, shift=shift)  # before all else
    flags.bounds(args), flags.edges(args)
    with (
        server.listen(args.host, args.port) as listener,
        open_decoder(args, literal_text=True) as decoder,
    ):
        _serve(args, decoder, listener)


def _serve(args: argparse.Namespace, decoder: Decoder, listener: socket.socket) -> None:
    from dawn_serve import log, server
    from dawn_serve.api.service import Service

    key = args.api_key if args.api_key is not None else os.environ.get(flags.KEY_VARIABLE)
    with Scheduler(decoder, flags.bounds(args)) as scheduler:
        service = Service(
            decoder,
            scheduler,
            names=tuple(args.served_model_name or [args.artifact.resolve().name]),
            defaults=flags.settings(args),
            edges=flags.edges(args),
            api_key=key or None,
            hosts=flags.hosts(args.host),
            origins=tuple(args.allow_origin),
            page=not args.no_page,
            note=(lambda line: None) if args.quiet else log.write,
            debug=args.debug,
        )
        log.listen_to_uvicorn()
        _announce(args, service.name, decoder, server.url_of(listener))
        server.run(server.Server(service), listener)


def _announce(args: argparse.Namespace, name: str, decoder: Decoder, url: str) -> None:
    """Tells where it listens; connections are taken from here on."""
    if args.json:
        print_json({"url": url, "model": name, "engine": decoder.engine_name})
    if not args.quiet:
        say(f"dawn-serve: {name} on {url}, engine {decoder.engine_name}; Ctrl-C stops")
