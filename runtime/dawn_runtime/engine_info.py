"""What an engine says of itself; everything next to an engine reads it, the engines included."""

from dataclasses import dataclass

from dawn_runtime import contract
from dawn_runtime.manifest import Manifest
from dawn_runtime.threads import Threads


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine runs.

    Attributes:
        name: Back end and device for people, such as `onnxruntime-cpu`.
        layers: Number of transformer layers.
        kv_heads: Number of key/value heads.
        head_dim: Width of one head.
        vocab_size: Number of rows of the head.
        max_length: Positions must be below this.
        kv_dtype: NumPy name of the element type of keys and values.
        threads: How many CPU threads run it, and why; None where that is not ours to say.
        alignment: Keys that begin at a multiple of this are added up alike wherever that is, so
            that a row of a batch gives the bits that it gives alone; 1 where nothing is known.
        multiple: Fed tokens are filled up to a multiple of this: fewer shapes, so that what is made
            for one (contexts, graphs, bindings) serves more steps, and kernels for whole pieces.
        forbidden: Ids whose logits are minus infinity; see `SpecialTokens.forbidden`.
        measures: Whether entropy and margin can be asked for.
        drafts: Whether there is an adapter for drafts, which rows can ask for.
        least_rows: Fewest `logit_rows` of a step; 0 where a step may only make keys.
        most_evidence: Most rows of attention times keys of a step, B Q (P+S), that kernels can
            count; None where nothing is known.
    """

    name: str
    layers: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_length: int
    kv_dtype: str
    threads: Threads | None = None
    alignment: int = 1
    multiple: int = 1
    forbidden: tuple[int, ...] = ()
    measures: bool = False
    drafts: bool = False
    least_rows: int = 1
    most_evidence: int | None = None

    @property
    def kv_width(self) -> int:
        """Elements that a head keeps of a token, of the key and of the value each."""
        return contract.kv_width(self.head_dim, self.kv_dtype)


def info_of(name: str, manifest: Manifest) -> EngineInfo:
    """Returns what an engine of this name runs, given the manifest of its artifact."""
    dims = manifest.dims
    return EngineInfo(
        name=name,
        layers=dims.layers,
        kv_heads=dims.kv_heads,
        head_dim=dims.head_dim,
        vocab_size=dims.vocab_size,
        max_length=dims.max_length,
        kv_dtype=manifest.kv_dtype,
        forbidden=manifest.tokens.forbidden,
        measures=manifest.step.measures,
        drafts=manifest.step.drafts,
        # Graphs from before version 3 of the manifest bar no id, and fail where nothing is asked.
        least_rows=0 if manifest.tokens.forbidden else 1,
    )
