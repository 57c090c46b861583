"""Exports the golden checkpoints for tests that run where the exporter is not installed.

python tests/support/export_golden.py build/test-artifacts
"""

import sys
from pathlib import Path

from dawn_export import ExportOptions, export

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
VARIANTS = (
    ("dream", "fused", "fp32"),
    ("llada", "fused", "fp32"),
    ("dream", "fused", "fp16"),
    ("dream", "fused", "int8"),
    ("dream", "fused", "int4"),
    ("dream", "portable", "fp32"),
)


def main(folder: Path) -> None:
    """Exports every variant that the tests of the runtime ask for, over what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    for family, dialect, precision in VARIANTS:
        output = folder / f"{family}-{dialect}-{precision}"
        options = ExportOptions(dialect=dialect, precision=precision)
        export(GOLDEN / f"{family}-random", output, options, force=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
