"""Memory an artifact needs at a length and a batch, and memory there is.

For B rows of L tokens, in values of `bytes` each (4 on the CPU, whose kernels compute in float32
and widen 16-bit weights when they are loaded; those of the artifact's activations on a GPU):

    weights      size of model.onnx.data * bytes / bytes of the activations; integers stay as they
                 are
    cache        2 * layers * kv_heads * head_dim * B * L * bytes of the activations; with keys kept
                 as int8 `contract.kv_width` bytes for each head; on a GPU twice that, the kept keys
                 and values and what a step returns of them, and three times for several rows, which
                 part ways: the third is what they are moved into
    activations  B * L * (4 * hidden + 3 * mlp) * bytes    residual stream, q/k/v; gate, up, product
                 + 2 * B * heads * L * L * bytes           scores of one layer and their softmax
                 + 2 * B * R * vocabulary * 4              logits of the R rows of a block, softmax
    base         100 MiB for Python and the engine

with mlp = 6 * hidden (5.4 in Qwen2.5, 3.0 in LLaDA-8B). Measured with ONNX Runtime 1.31 on the CPU,
fused, six layers of hidden 896 and a vocabulary of 32,000, cache and activations: 78 MiB
for one row of 512 tokens, 179 for one of 1024, 358 for two of 1024; the formula gives 77, 203, 406.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dawn_runtime import contract
from dawn_runtime.manifest import Manifest

ACTIVATION_BYTES: Final = {"fp32": 4, "fp16": 2, "bf16": 2}


COMPUTE_BYTES: Final = 4


MLP_WIDTH: Final = 6


BASE_BYTES: Final = 100 * 2**20


CGROUP: Final = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes an artifact needs.

    Attributes:
        weights: The parameters as the engine holds them.
        cache: Keys and values of every token.
        activations: What one step computes, at its peak.
    """

    weights: int
    cache: int
    activations: int

    @property
    def total(self) -> int:
        """All of them and the process itself."""
        return self.weights + self.cache + self.activations + BASE_BYTES


def need(manifest: Manifest, length: int, batch: int, *, on_gpu: bool) -> Need:
    """Returns the memory for decoding; see the formula above.

    Args:
        manifest: Of the artifact.
        length: Tokens of a row, prompt and answer together.
        batch: Rows decoded together.
        on_gpu: Whether values keep the type of the artifact's activations.
    """
    dims, stored = manifest.dims, ACTIVATION_BYTES[manifest.activations]
    width = stored if on_gpu else COMPUTE_BYTES
    data = manifest.step.data
    weights = manifest.files[data].size if data in manifest.files else 0
    rows = batch * min(length, manifest.decoding.block_length)
    stream = batch * length * dims.hidden * (4 + 3 * MLP_WIDTH) * width
    head = contract.kv_width(dims.head_dim, manifest.kv_dtype)
    kept = 2 * dims.layers * dims.kv_heads * head * batch * length
    kept *= 1 if manifest.kv == "int8" else stored
    scores = 2 * batch * dims.heads * length * length * width
    return Need(
        weights=weights * width // stored if manifest.precision in ACTIVATION_BYTES else weights,
        cache=kept * (gpu_copies(batch) if on_gpu else 1),
        activations=stream + scores + 2 * rows * dims.vocab_size * 4,
    )


def gpu_copies(batch: int) -> int:
    """Returns how many times a GPU holds the keys and values of a batch; see the formula above."""
    return 2 if batch == 1 else 3


def parse_meminfo(text: str) -> int:
    """Returns `MemAvailable` of /proc/meminfo in bytes, 0 if it is not told."""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def read_available(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> int:
    """Returns the bytes this process may still take: of the machine, or of its control group.

    Files that the system only remembers count as free, as they do in `MemAvailable`: after a large
    export they are most of what the group has used.
    """
    available = parse_meminfo(meminfo.read_text(encoding="utf-8"))
    try:
        limit = (cgroup / "memory.max").read_text(encoding="utf-8").strip()
        used = int((cgroup / "memory.current").read_text(encoding="utf-8"))
        statistics = (cgroup / "memory.stat").read_text(encoding="utf-8")
    except OSError:  # no control group of version 2, or none with a limit
        return available
    if limit == "max":
        return available
    remembered = dict(line.split() for line in statistics.splitlines()).get("inactive_file", 0)
    return min(available, int(limit) - used + int(remembered))
