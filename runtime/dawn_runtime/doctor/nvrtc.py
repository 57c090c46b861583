"""Whether the kernels that NVRTC makes are ones that the driver loads."""

from dawn_runtime.cuda.kernels import check_nvrtc, nvrtc_remedy
from dawn_runtime.cuda.nvrtc import Nvrtc
from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.errors import EngineError
from dawn_runtime.machine.driver import Cuda


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
