"""Which precisions a GPU computes in, and whether its driver is new enough."""

from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.machine.driver import Cuda, Gpu, precisions


def gpu_findings(
    found: Cuda, *, provider_cuda: int | None, precision: str | None, needed: bool
) -> list[Finding]:
    """Judges the driver and the GPUs.

    Args:
        found: From `read_cuda`.
        provider_cuda: Major version of CUDA that ONNX Runtime's provider is linked against; None
            if there is no such provider.
        precision: Of the artifact; None without one.
        needed: Whether the artifact needs a GPU.
    """
    if found.version is None or not found.gpus:
        reason = found.reason or "the driver names no device"
        advice = "install the NVIDIA driver" if needed else "nothing, unless there should be one"
        return [Finding(level_of(needed), "gpu", f"no GPU is usable: {reason}", advice)]
    findings = [_driver_finding(found.version, provider_cuda)]
    return findings + [_gpu_finding(gpu, precision, needed) for gpu in found.gpus]


def _driver_finding(version: tuple[int, int], provider_cuda: int | None) -> Finding:
    text = f"the driver runs CUDA up to {version[0]}.{version[1]}"
    if provider_cuda is None or provider_cuda <= version[0]:
        return Finding("ok", "cuda", text)
    return Finding(
        "problem",
        "cuda",
        f"{text}; ONNX Runtime's provider is linked against CUDA {provider_cuda}",
        f"install a driver for CUDA {provider_cuda}, or an ONNX Runtime for CUDA {version[0]}",
    )


def _gpu_finding(gpu: Gpu, precision: str | None, needed: bool) -> Finding:
    has = precisions(gpu.capability)
    memory = "memory shared with the CPU" if gpu.integrated else "memory of its own"
    sm = ".".join(map(str, gpu.capability))
    text = f"{gpu.name}, SM {sm}: {', '.join(['fp32', *has])}; {memory}"
    if precision is None or precision == "fp32" or precision in has or not needed:
        return Finding("ok", "gpu", text)
    advice = f"export again at one of these precisions: {', '.join(['fp32', *has])}"
    return Finding("problem", "gpu", f"{text}; the artifact is {precision}", advice)
