"""A checkpoint that is larger than the memory it is exported with, the limit set by the kernel."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dawn_runtime import Artifact
from make_random_checkpoint import GEOMETRIES, write
from support import bounded

ROOT = Path(__file__).parent.parent.parent
GEOMETRY = GEOMETRIES["dream-7b"] | {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 4,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 100_000,
    "mask_token_id": 99_999,
    "eos_token_id": 99_998,
    "pad_token_id": 99_998,
}
"""0.99 GB in BF16, of which embedding and head are 0.31 each."""

LARGEST = 2 * 1536 * 100_000
PROMISED = LARGEST + 1500 * 10**6
LIMIT = LARGEST + 600 * 10**6
"""Less than the checkpoint is large, and far less than what is promised; the packages and the
traced graph take 350 MB of it."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory") / "checkpoint"
    GEOMETRIES["gigabyte"] = GEOMETRY
    assert write("gigabyte", folder, shard_bytes=2**28, seed=0) > LIMIT
    return folder


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    paths = [str(ROOT / name) for name in ("export", "runtime", "models", "scripts")]
    return subprocess.run(
        [sys.executable, bounded.__file__, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        # One thread: each has a stack that the limit counts.
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
    )


def test_a_checkpoint_is_exported_with_less_memory_than_it_is_large(
    checkpoint: Path, tmp_path: Path
) -> None:
    finished = run("export", checkpoint, LIMIT, tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert int(finished.stdout) < PROMISED
    for _, precision in bounded.EXPORTS:
        assert Artifact.open(tmp_path / precision).manifest.precision == precision


def test_the_limit_is_one_that_bites(checkpoint: Path) -> None:
    assert run("load", checkpoint, LIMIT).returncode == bounded.OUT_OF_MEMORY


def test_the_peak_is_that_of_the_program_and_not_of_what_started_it() -> None:
    ballast = np.ones(10**9, np.uint8)
    module = "dawn_runtime.machine.resident"
    code = f"from {module} import peak_resident_bytes; print(peak_resident_bytes())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    peak = subprocess.check_output([sys.executable, "-c", code], env=environment)
    assert 1e6 < int(peak) < ballast.nbytes / 10
