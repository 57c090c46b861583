"""Parts of the manifest: plain records, each of which reads itself strictly from JSON."""

from dataclasses import dataclass
from typing import Final

from dawn_runtime._fields import Fields
from dawn_runtime.contract import TensorSpec

MAX_LAYERS: Final = 2**12
"""Most layers; lists as long as this are made before a graph is seen."""

_MAX_SIZE: Final = 2**31 - 1
"""Largest of the other sizes, as in configurations of checkpoints."""


@dataclass(frozen=True, slots=True)
class Dims:
    """Sizes of the model.

    Attributes:
        layers: Number of transformer layers.
        hidden: Width of the residual stream.
        heads: Number of query heads.
        kv_heads: Number of key/value heads, a divisor of `heads`.
        head_dim: Width of one head.
        vocab_size: Number of rows of the head; every token id is below it.
        max_length: Longest sequence in tokens, prompt and answer together.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    max_length: int

    @classmethod
    def read(cls, fields: Fields) -> "Dims":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        names = tuple(cls.__dataclass_fields__)
        fields.only(*names)
        largest = dict.fromkeys(names, _MAX_SIZE) | {"layers": MAX_LAYERS}
        return cls(**{name: fields.integer(name, 1, largest[name]) for name in names})


ATTENTIONS: Final = ("full", "block-causal", "causal")
"""What a row may see: all; its own block and those before it; what was fed before it."""

ORIGINS: Final = ("start", "prompt")
"""Where blocks are counted from: position 0, or the end of the prompt."""


@dataclass(frozen=True, slots=True)
class Attention:
    """What the model was trained to see while it denoises; the mask is an input of its graph.

    Attributes:
        kind: One of `ATTENTIONS`.
        block_length: Positions that are denoised together; None if the model sets no length. One
            that attends causally and has it denoises such a block under full attention.
        origin: Where blocks begin, one of `ORIGINS`.
        carry: Whether the first token of a block comes from the run that finishes the one before.
    """

    kind: str = "full"
    block_length: int | None = None
    origin: str = "start"
    carry: bool = False

    def words(self) -> str:
        """Says it to people."""
        said = {"full": "to everything", "block-causal": "block by block", "causal": "causally"}
        blocks = "" if self.block_length is None else f", in blocks of {self.block_length}"
        return said[self.kind] + blocks

    @classmethod
    def read(cls, fields: Fields) -> "Attention":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        fields.only(*cls.__dataclass_fields__)
        return cls(
            kind=fields.text("kind"),
            block_length=fields.optional_integer("block_length", 1),
            origin=fields.text("origin"),
            carry=fields.boolean("carry"),
        )


@dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Token ids with a meaning for decoding.

    Attributes:
        mask: Id of a position not decided yet.
        eos: Ids that end an answer; may be empty.
        pad: Id that fills up shorter rows of a batch; None if the checkpoint has none.
        forbidden: Ids, ascending, to which the graph gives a logit of minus infinity, the mask
            among them; empty for graphs from before version 3, which may predict any.
    """

    mask: int
    eos: tuple[int, ...]
    pad: int | None
    forbidden: tuple[int, ...] = ()

    @property
    def filler(self) -> int:
        """A legal id for padding, whose prediction nobody reads."""
        return self.mask if self.pad is None else self.pad

    @property
    def all(self) -> tuple[int, ...]:
        """Every id with a meaning."""
        return (self.mask, *self.eos, *(() if self.pad is None else (self.pad,)))

    @classmethod
    def read(cls, fields: Fields) -> "SpecialTokens":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        fields.only("mask", "eos", "pad", "forbidden")
        listed = "forbidden" in fields.values  # from version 3 on, which the manifest looks at
        return cls(
            mask=fields.integer("mask"),
            eos=fields.integers("eos"),
            pad=fields.optional_integer("pad"),
            forbidden=fields.integers("forbidden") if listed else (),
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """Where on the Hugging Face Hub a checkpoint comes from.

    Attributes:
        repository: `OWNER/NAME`.
        commit: Hash of the commit, 40 lower-case hex digits.
    """

    repository: str
    commit: str

    @classmethod
    def read(cls, fields: Fields) -> "Origin":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        fields.only("repository", "commit")
        return cls(fields.text("repository"), fields.text("commit"))


@dataclass(frozen=True, slots=True)
class Graph:
    """One graph of an artifact.

    Attributes:
        file: Name of its file in the folder.
        data: Name of the file of its weights, as the graph names it.
        measures: Whether a step graph has `dawn_runtime.contract.MEASURES`.
        drafts: Whether it has an adapter for drafts, and so `dawn_runtime.contract.DRAFT_MASK`.
        inputs: Of a graph that is no step; those of a step follow from the contract.
        outputs: As `inputs`.
    """

    file: str
    data: str
    measures: bool = True
    drafts: bool = False
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


STEP: Final = "step"
"""Name of the graph that `dawn_runtime.contract` describes."""

GRAPH_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = "model.onnx.data"
"""What the exporter calls the files of a step, and manifests before version 3 take for granted."""


def one_graph(*, measures: bool, drafts: bool = False) -> dict[str, Graph]:
    """Returns the graphs of an artifact that has a step alone, under the exporter's names.

    Args:
        measures: Whether it has `dawn_runtime.contract.MEASURES`.
        drafts: Whether it has `dawn_runtime.contract.DRAFT_MASK`.
    """
    return {STEP: Graph(GRAPH_FILE, WEIGHTS_FILE, measures, drafts)}


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Size in bytes and SHA-256 (64 lower-case hex digits) of one file of the folder."""

    size: int
    sha256: str

    @classmethod
    def read(cls, fields: Fields) -> "FileEntry":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        fields.only("size", "sha256")
        return cls(fields.integer("size"), fields.text("sha256"))
