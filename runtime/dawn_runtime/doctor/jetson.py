"""JetPack of a Jetson board, from the release of its Linux (L4T)."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawn_runtime.doctor.finding import Finding

RELEASE_FILE: Final = Path("/etc/nv_tegra_release")
MODEL_FILE: Final = Path("/proc/device-tree/model")

_RELEASE = re.compile(r"#\s*R(\d+)\s*\(release\),\s*REVISION:\s*(\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True)
class JetPack:
    """What a release of JetPack brings.

    Attributes:
        name: Its version.
        cuda: Version of CUDA.
        tensorrt: Version of TensorRT; empty where it is not known for certain.
    """

    name: str
    cuda: str
    tensorrt: str = ""


JETPACKS: Final = {
    (36, 3): JetPack("6.0", "12.2", "8.6"),
    (36, 4): JetPack("6.1 or 6.2", "12.6", "10.3"),
    (36, 5): JetPack("6.2", "12.6", "10.3"),
    (38, 2): JetPack("7.0", "13.0", "10.13"),
    (38, 4): JetPack("7.1", "13.0", "10.13"),
    (39, 2): JetPack("7.2", "13.2"),
}
"""Release of L4T -> JetPack.

Sources: NVIDIA's JetPack archive for the releases 7.0 and 7.1 and for CUDA 13; Torch-TensorRT's
documentation for CUDA 12.6 and TensorRT 10.3 of 6.1 and 6.2. Not confirmed on a page of NVIDIA's:
the row of 6.0, that 36.5 changes nothing here, TensorRT 10.13 of 7.0 and 7.1, and the row of 7.2,
of whose TensorRT no number was found."""

OLDEST: Final = 36
"""L4T 36 is JetPack 6, the first with Python 3.10."""


def read_text(path: Path) -> str | None:
    """Returns the text of a system file without NUL bytes at its end; None if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").rstrip("\0\n")
    except OSError:
        return None


def parse_l4t(text: str) -> tuple[int, int, int] | None:
    """Reads `# R36 (release), REVISION: 4.3, GCID: ...` as (36, 4, 3); None if it says nothing."""
    match = _RELEASE.search(text)
    return None if match is None else (int(match[1]), int(match[2]), int(match[3] or 0))


def jetson_finding(release: str | None, model: str | None) -> Finding | None:
    """Names board and JetPack.

    Args:
        release: Text of `RELEASE_FILE`; None if there is none.
        model: Text of `MODEL_FILE`; None if there is none.

    Returns:
        None on a machine that is no Jetson.
    """
    if release is None:
        return None
    board = model or "a Jetson board of unknown model"
    l4t = parse_l4t(release)
    if l4t is None:
        text = f"{board}; {RELEASE_FILE} is not understood: {release:.60}"
        return Finding("note", "jetson", text, "compare CUDA and TensorRT by hand")
    name = f"{board}, L4T {'.'.join(map(str, l4t))}"
    if l4t[0] < OLDEST:
        advice = "flash JetPack 6 or newer, which brings Python 3.10"
        return Finding("problem", "jetson", f"{name}: older than JetPack 6", advice)
    pack = JETPACKS.get(l4t[:2])
    if pack is None:
        text = f"{name}: a release this version does not know"
        return Finding("note", "jetson", text, "compare CUDA and TensorRT by hand")
    tensorrt = f", TensorRT {pack.tensorrt}" if pack.tensorrt else ""
    return Finding("ok", "jetson", f"{name}: JetPack {pack.name}, CUDA {pack.cuda}{tensorrt}")
