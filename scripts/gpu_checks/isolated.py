"""A check in a process of its own: whatever becomes of it, the next one finds a sound device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from gpu_checks.outcome import Outcome


def run_isolated(
    command: Sequence[str], check: str, artifact: Path | None, engine: str, *, limit: float
) -> Outcome:
    """Runs a command that writes an outcome, and makes one up if it does not get that far.

    Args:
        command: Takes `--output FILE` besides, where it writes the outcome as JSON.
        check: Name of the check.
        artifact: Artifact folder, if there is one.
        engine: Name of the engine, if there is one.
        limit: Seconds after which it is killed, with all that it started.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        ended, said = _run([*command, "--output", str(path)], limit)
        if path.is_file():
            return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    name = "" if artifact is None else artifact.name
    words = " ".join(said.split()[-60:])
    reason = f"{ended} without an outcome; its last words: {words or 'none'}"
    return Outcome(check, name, engine, "failed", time.perf_counter() - started, reason, {})


def _run(command: Sequence[str], limit: float) -> tuple[str, str]:
    """Returns how a command ended, and what it said on standard error."""
    child = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # so that it can be killed with all that it started
    )
    try:
        _, said = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        return f"killed after {limit:.0f} s", child.communicate()[1]
    except BaseException:  # Ctrl-C, which a session of its own does not hear
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        raise
    status = child.returncode
    return (f"ended by {signal.Signals(-status).name}" if status < 0 else f"exit {status}"), said
