"""Exports the golden checkpoints for tests that run where the exporter is not installed.

python tests/support/export_golden.py build/test-artifacts
"""

import sys
from pathlib import Path

from dawn_export import ExportOptions, export

GOLDEN = Path(__file__).parent.parent / "data" / "golden"
VARIANTS = (("dream", "fp32"), ("llada", "fp32"), ("dream", "fp16"))


def main(folder: Path) -> None:
    """Exports every variant that the tests of the runtime ask for, over what was there."""
    folder.mkdir(parents=True, exist_ok=True)
    for family, precision in VARIANTS:
        output = folder / f"{family}-fused-{precision}"
        options = ExportOptions(dialect="fused", precision=precision)
        export(GOLDEN / f"{family}-random", output, options, force=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
