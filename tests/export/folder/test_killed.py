"""SIGKILL at any moment leaves no half artifact, and the next export clears what is left."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dawn_runtime import Artifact
from support import export_again

KILLS = 20
ROOT = Path(__file__).parents[3]


@contextmanager
def exports(checkpoint: Path, output: Path) -> Iterator[Callable[[object], int]]:
    """Exports in processes of their own: seconds until the kill -> exit status."""
    paths = [str(ROOT / name) for name in ("export", "runtime", "models")]
    process = subprocess.Popen(
        [sys.executable, export_again.__file__, str(checkpoint), str(output)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )
    commands, answers = process.stdin, process.stdout
    assert commands is not None
    assert answers is not None

    def export(kill_after: object) -> int:
        print(kill_after, file=commands, flush=True)
        return int(answers.readline())

    with process:
        assert answers.readline() == "ready\n"
        yield export


def test_killed_at_twenty_moments_it_leaves_whole_artifacts_or_none(
    small: Path, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    output = place / "artifact"
    moments = random.Random(0)
    killed = 0
    with exports(small, output) as export:
        started = time.perf_counter()
        assert export(export_again.NEVER) == 0
        takes = time.perf_counter() - started
        for attempt in itertools.count():
            replaces = attempt % 2 == 1
            if replaces and not output.exists():
                assert export(export_again.NEVER) == 0
            if not replaces and output.exists():
                output.rename(tmp_path / f"aside-{attempt}")
            killed += export(moments.uniform(0, takes)) == -signal.SIGKILL
            assert output.exists() or not replaces
            if output.exists():
                Artifact.open(output, verify="full")
            if killed == KILLS:
                break
        assert export(export_again.NEVER) == 0
    Artifact.open(output, verify="full")
    assert [path.name for path in place.iterdir()] == ["artifact"]
