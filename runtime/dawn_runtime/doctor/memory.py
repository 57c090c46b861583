"""Memory, judged: what an artifact needs beside what there is."""

from dawn_runtime.doctor.finding import Finding, level_of
from dawn_runtime.machine.memory import BASE_BYTES, Need


def memory_finding(wanted: Need, available: int, where: str, *, needed: bool) -> Finding:
    """Compares need and supply.

    Args:
        wanted: From `need`.
        available: Free bytes.
        where: What the memory is of, such as `of the CPU, length 1024, batch 1`.
        needed: Whether the artifact is meant to run there.
    """
    parts = (wanted.weights, wanted.cache, wanted.activations, BASE_BYTES)
    weights, cache, activations, base = map(_gb, parts)
    text = (
        f"{where}: about {_gb(wanted.total)} needed ({weights} weights, {cache} cache, "
        f"{activations} activations, {base} base), {_gb(available)} free"
    )
    if wanted.total <= available:
        return Finding("ok", "memory", text)
    advice = "free memory, lower --length or --batch, or export at a lower precision"
    return Finding(level_of(needed), "memory", text, advice)


def _gb(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
