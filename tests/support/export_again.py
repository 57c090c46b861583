"""Exports again and again, each time in a process of its own that is ready at once.

    python export_again.py CHECKPOINT OUTPUT

Loads and traces everything, then forks for every line on standard input. The child exports with
`force`, which takes about a tenth of a second. The line holds the seconds after which the child is
killed, or `never`. The answer is its exit status, negative for a signal.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path

from dawn_export import ExportOptions, export, exporter
from dawn_export.graph.step import build_graph
from dawn_models import read_config

OPTIONS = ExportOptions(evidence_layers=2)
NEVER = "never"


def main(checkpoint: Path, output: Path) -> None:
    """Forks for every line."""
    graph = build_graph(read_config(checkpoint)[1], OPTIONS)
    exporter.build_graph = lambda config, options: graph
    print("ready", flush=True)
    for line in map(str.strip, sys.stdin):
        child = os.fork()
        if child == 0:
            export_and_end(checkpoint, output)
        if line != NEVER:
            time.sleep(float(line))
            os.kill(child, signal.SIGKILL)  # nobody has waited for it: the number is still its own
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def export_and_end(checkpoint: Path, output: Path) -> None:
    """What a child does."""
    status = 1
    try:
        export(checkpoint, output, OPTIONS, force=True)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
