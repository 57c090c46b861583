"""NVRTC, which compiles the kernels: whether it loads, and of which CUDA it is.

`python -m dawn_runtime.cuda.nvrtc` loads it in a process of its own and prints a JSON object.
"""

import json
from dataclasses import dataclass

from dawn_runtime.cuda.kernels import nvrtc_version
from dawn_runtime.errors import DawnError
from dawn_runtime.machine.isolated import ask


@dataclass(frozen=True, slots=True)
class Nvrtc:
    """NVRTC as it was found.

    Attributes:
        version: Its CUDA version, such as (12, 6); None if it does not load.
        reason: Why it does not load, or empty.
    """

    version: tuple[int, int] | None = None
    reason: str = ""


def read_nvrtc() -> Nvrtc:
    """Loads the NVRTC of this machine."""
    answer = ask("dawn_runtime.cuda.nvrtc")
    if "version" in answer.document:
        major, minor = answer.document["version"]
        return Nvrtc((major, minor))
    lines = answer.log.splitlines() or ["the process said nothing"]
    return Nvrtc(reason=answer.document.get("reason") or lines[-1])


def main() -> None:
    """Prints the version of the NVRTC of this machine, or why it does not load."""
    try:
        print(json.dumps({"version": nvrtc_version()}))
    except DawnError as error:
        print(json.dumps({"reason": str(error)}))


if __name__ == "__main__":
    main()
