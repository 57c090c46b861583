"""Parts of the manifest: plain records, each of which reads itself strictly from JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from dawn_runtime._fields import Fields
from dawn_runtime.contract import TensorSpec

MAX_LENGTH: Final = 2**24
"""Longest block or answer that a manifest may set, in tokens; far above those of any model."""

MAX_LAYERS: Final = 2**12
"""Most layers; lists as long as this are made before a graph is seen."""

_MAX_SIZE: Final = 2**31 - 1
"""Largest of the other sizes, as in configurations of checkpoints."""

OptionValue = float | int | str | bool
"""Value of one policy option as JSON carries it."""


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
        if self.block_length is None:
            return {"full": "to everything"}.get(self.kind, "causally")
        blocks = f"in blocks of {self.block_length}"
        return f"block by block, {blocks}" if self.kind == "block-causal" else f"causally, {blocks}"

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
class PublishedRule:
    """The rule an artifact was exported with, kept while a tuned one stands in its place.

    Attributes:
        policy: Name of a registered policy.
        options: Its options; read-only by convention.
    """

    policy: str
    options: Mapping[str, OptionValue]

    @classmethod
    def read(cls, fields: Fields) -> "PublishedRule":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        fields.only("policy", "options")
        options = fields.nested("options")
        return cls(fields.text("policy"), {name: options.option(name) for name in options.values})


@dataclass(frozen=True, slots=True)
class DecodingDefaults:
    """How to decode when the caller does not say.

    Attributes:
        policy: Name of a registered policy.
        options: Its options; read-only by convention.
        block_length: Tokens in a block of the semi-autoregressive window.
        fallback_length: Below this many new tokens a policy that builds a dependency graph hands
            over to its plain threshold rule.
        max_new_tokens: Most positions to decode, where the context has room for them.
        published: What `policy` and `options` were before they were tuned; None if they are that.
    """

    policy: str
    options: Mapping[str, OptionValue]
    block_length: int = 32
    fallback_length: int = 32
    max_new_tokens: int = 256
    published: PublishedRule | None = None

    def to_dict(self) -> dict[str, object]:
        """Returns the record as JSON carries it; `published` only if there is one."""
        plain = {**asdict(self), "options": dict(self.options)}
        if self.published is None:
            del plain["published"]
        return plain

    @classmethod
    def read(cls, fields: Fields) -> "DecodingDefaults":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        fields.only(*cls.__dataclass_fields__)
        options, published = fields.nested("options"), None
        if "published" in fields.values:
            published = PublishedRule.read(fields.nested("published"))
        return cls(
            policy=fields.text("policy"),
            options={name: options.option(name) for name in options.values},
            block_length=fields.integer("block_length", 1, MAX_LENGTH),
            fallback_length=fields.integer("fallback_length", 0, MAX_LENGTH),
            max_new_tokens=fields.integer("max_new_tokens", 1, MAX_LENGTH),
            published=published,
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
        inputs: Of a graph that is no step; those of a step follow from the contract.
        outputs: As `inputs`.
    """

    file: str
    data: str
    measures: bool = True
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()


STEP: Final = "step"
"""Name of the graph that `dawn_runtime.contract` describes."""

GRAPH_FILE: Final = "model.onnx"
WEIGHTS_FILE: Final = "model.onnx.data"
"""What the exporter calls the files of a step, and manifests before version 3 take for granted."""


def one_graph(*, measures: bool) -> dict[str, Graph]:
    """Returns the graphs of an artifact that has a step alone, under the exporter's names.

    Args:
        measures: Whether it has `dawn_runtime.contract.MEASURES`.
    """
    return {STEP: Graph(GRAPH_FILE, WEIGHTS_FILE, measures)}


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
