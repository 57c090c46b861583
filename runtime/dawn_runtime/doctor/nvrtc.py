"""Whether the kernels that NVRTC makes are ones that the driver loads.

`python -m dawn_runtime.doctor.nvrtc` loads NVRTC in a process of its own and prints a JSON object.
"""

import json
from dataclasses import dataclass

from dawn_runtime.cuda.kernels import check_nvrtc, nvrtc_remedy, nvrtc_version
from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.errors import DawnError, EngineError
from dawn_runtime.machine.driver import Cuda
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
    answer = ask("dawn_runtime.doctor.nvrtc")
    if "version" in answer.document:
        major, minor = answer.document["version"]
        return Nvrtc((major, minor))
    lines = answer.log.splitlines() or ["the process said nothing"]
    return Nvrtc(reason=answer.document.get("reason") or lines[-1])


def nvrtc_findings(found: Nvrtc, cuda: Cuda, *, needed: bool) -> list[Finding]:
    """Compares NVRTC with the driver; nothing on a machine without a GPU.

    Args:
        found: From `read_nvrtc`.
        cuda: Driver and GPUs.
        needed: Whether the artifact needs a GPU.
    """
    if cuda.version is None or not cuda.gpus:
        return []
    if found.version is None:
        advice = nvrtc_remedy(cuda.version)
        return [Finding(level_of(needed), "nvrtc", f"no kernels: {found.reason:.300}", advice)]
    try:
        check_nvrtc(found.version, cuda.version)
    except EngineError as error:
        text = str(error).partition("; ")[0]
        return [Finding(level_of(needed), "nvrtc", text, nvrtc_remedy(cuda.version))]
    return [Finding("ok", "nvrtc", f"NVRTC is of CUDA {found.version[0]}.{found.version[1]}")]


def main() -> None:
    """Prints the version of the NVRTC of this machine, or why it does not load."""
    try:
        print(json.dumps({"version": nvrtc_version()}))
    except DawnError as error:
        print(json.dumps({"reason": str(error)}))


if __name__ == "__main__":
    main()
