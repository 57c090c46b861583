"""Exports, or loads, a checkpoint with little memory; the kernel refuses more.

    python bounded.py export|load CHECKPOINT LIMIT_BYTES [OUTPUT]

RLIMIT_DATA is the limit: since Linux 4.7 it counts all private memory that can be written to (heap,
anonymous maps, thread stacks), which is what cannot be given back under pressure. RLIMIT_AS would
count address space that libraries reserve and never use, RLIMIT_RSS is not enforced at all, and a
cgroup needs rights that a test does not have. The exporter reads its files, it does not map them,
so that nothing it holds escapes the count.

`export` writes the artifacts of `EXPORTS`, one after the other. The peak of the resident
memory, in bytes, is printed; status 3 says that the limit was in the way.
"""

from __future__ import annotations

import resource
import sys
import traceback
from pathlib import Path

from dawn_export import ExportOptions, export
from dawn_models import Checkpoint, load_transformer
from dawn_runtime.machine.resident import peak_resident_bytes

OUT_OF_MEMORY = 3
EXPORTS = (("cuda", "fp32"), ("cuda", "fp16"), ("cuda", "bf16"), ("cpu", "int8"), ("cuda", "int4"))
"""Target and precision: every way to store a weight."""


def main(what: str, checkpoint: str, limit: str, output: str = "") -> int:
    """Does it; returns the exit status."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit), int(limit)))
    try:
        if what == "load":
            load_transformer(Checkpoint.open(checkpoint))
        else:
            export_all(checkpoint, Path(output))
    except (MemoryError, RuntimeError) as error:  # torch raises the latter
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            traceback.print_exc()
            return OUT_OF_MEMORY
        raise
    print(peak_resident_bytes())
    return 0


def export_all(checkpoint: str, output: Path) -> None:
    """Exports all of them."""
    for target, precision in EXPORTS:
        options = ExportOptions(target=target, precision=precision, evidence_layers=1)
        export(checkpoint, output / precision, options)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
