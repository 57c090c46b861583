"""Exports every hostile checkpoint, in one process whose memory the operating system limits.

`python -m support.hostile_export FOLDER` exports the checkpoints that `build` wrote below a folder
and prints one JSON object for each.
"""

from __future__ import annotations

import json
import resource
import shutil
import signal
import sys
from functools import cache
from pathlib import Path
from typing import Any

from support.checkpoints import write_checkpoint, write_sharded
from support.hostile import CASES

HEADROOM_BYTES = 256 * 2**20
"""Address space that reading a hostile checkpoint may take beside what was there before."""

LONGEST_S = 600
"""A pipe that is opened the wrong way waits for ever; tracing takes minutes on a busy machine."""


def build(root: Path) -> None:
    """Write every case into a folder of its own, and a sound checkpoint, to be exported first."""
    plain = write_checkpoint(root / "0-sound", "dream")
    sharded = write_sharded(root / "0-sound-sharded")
    for name, case in CASES.items():
        folder = root / name
        shutil.copytree(sharded if case.sharded else plain, folder)
        case.spoil(folder)


def export_all(root: Path) -> None:
    """Export every checkpoint; print one JSON object for each: error, message and what is left."""
    from dawn_export import ExportOptions, exporter

    # Sound and hostile ones have one geometry: its graph is traced once.
    exporter.build_graph = cache(exporter.build_graph)
    options = ExportOptions(evidence_layers=2)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    signal.signal(signal.SIGALRM, _too_long)
    limited = False
    for folder in folders:
        if not (limited or folder.name.startswith("0-sound")):
            _limit_memory()
            limited = True
        print(json.dumps({"name": folder.name, **_attempt(folder, options)}), flush=True)


def _attempt(folder: Path, options: Any) -> dict[str, Any]:
    from dawn_export import export
    from dawn_runtime import DawnError

    parent = folder.with_name(f"{folder.name}.out")
    parent.mkdir()
    signal.alarm(LONGEST_S)
    try:
        export(folder, parent / "artifact", options)
        found: dict[str, Any] = {"ours": False, "message": ""}
    except BaseException as error:  # also MemoryError and the alarm: the test tells them apart
        found = {"ours": isinstance(error, DawnError), "message": str(error) or repr(error)}
    finally:
        signal.alarm(0)
    return {**found, "left": sorted(path.name for path in parent.iterdir())}


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _too_long(*_: object) -> None:
    raise TimeoutError(f"no answer within {LONGEST_S} s")


if __name__ == "__main__":
    export_all(Path(sys.argv[1]))
