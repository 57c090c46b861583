"""The log: one object of JSON a line on standard error, without a word of what anybody wrote."""

import json
import logging
import time
from collections.abc import Mapping
from typing import Any

from dawn_runtime.cli.standard import say


def write(fields: Mapping[str, Any], event: str = "request") -> None:
    """Writes a line.

    Args:
        fields: What it holds.
        event: What it is about.
    """
    now = time.time()
    clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    stamp = f"{clock}.{int(now % 1 * 1000):03d}Z"
    say(json.dumps({"time": stamp, "event": event, **fields}, ensure_ascii=True))


class Lines(logging.Handler):
    """Writes warnings of the HTTP server as such lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one, without the traceback that it may have."""
        write({"level": record.levelname.lower(), "message": record.getMessage()}, "server")


def listen_to_uvicorn() -> None:
    """Sends what uvicorn logs to this log."""
    logger = logging.getLogger("uvicorn")
    logger.handlers = [Lines(logging.WARNING)]
    logger.propagate = False
