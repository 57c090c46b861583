"""What tests of several packages share: artifacts of the golden checkpoints, exported once."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dawn_export import ExportOptions, export
from support.golden import GOLDEN

Exported = Callable[..., Path]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Returns the artifact of a golden checkpoint: (family, dialect, precision) -> folder.

    Exported when it is first asked for, by whichever worker asks first; read-only by convention.
    """
    base = tmp_path_factory.getbasetemp()
    # Workers have a folder each inside the one they share.
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "artifacts"
    shared.mkdir(exist_ok=True)

    def artifact(family: str, dialect: str = "fused", precision: str = "fp32") -> Path:
        folder = shared / f"{family}-{dialect}-{precision}"
        with (shared / f"{folder.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                options = ExportOptions(dialect=dialect, precision=precision)
                export(GOLDEN / f"{family}-random", folder, options)
        return folder

    return artifact
