"""`dawn.json`: what an artifact folder holds and how to decode with it.

The manifest is written last by the exporter and read first by the runtime. Reading is strict: a
field that is missing, of another type, unknown or out of range is an `ArtifactError` that names the
file and the field. A change of meaning raises `FORMAT_VERSION`; older versions stay readable,
newer ones are refused.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Final

from dawn_runtime import contract
from dawn_runtime._fields import Fields
from dawn_runtime._version import __version__
from dawn_runtime.contract import TensorSpec
from dawn_runtime.decoding_defaults import (
    MAX_LENGTH,
    DecodingDefaults,
    DefaultRule,
    Measured,
    OptionValue,
    Score,
)
from dawn_runtime.errors import ArtifactError
from dawn_runtime.files import is_plain_name
from dawn_runtime.manifest_records import (
    ATTENTIONS,
    GRAPH_FILE,
    ORIGINS,
    STEP,
    WEIGHTS_FILE,
    Attention,
    Dims,
    FileEntry,
    Graph,
    Origin,
    SpecialTokens,
    one_graph,
)

__all__ = [
    "CARD_FILE",
    "FORMAT_VERSION",
    "GRAPH_FILE",
    "MANIFEST_FILE",
    "STEP",
    "TEMPLATE_FILE",
    "TOKENIZER_CONFIG_FILE",
    "TOKENIZER_FILE",
    "WEIGHTS_FILE",
    "Attention",
    "DecodingDefaults",
    "DefaultRule",
    "Dims",
    "FileEntry",
    "Graph",
    "Manifest",
    "Measured",
    "OptionValue",
    "Origin",
    "Score",
    "SpecialTokens",
    "one_graph",
]

FORMAT_VERSION: Final = 3
MANIFEST_FILE: Final = "dawn.json"
TOKENIZER_FILE: Final = "tokenizer.json"
TOKENIZER_CONFIG_FILE: Final = "tokenizer_config.json"
TEMPLATE_FILE: Final = "chat_template.jinja"
CARD_FILE: Final = "README.md"
"""The model card. The manifest does not vouch for it: people write into it, nothing reads it."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_INTEGERS = tuple(name for name in contract.PRECISIONS if name not in contract.ACTIVATION_DTYPES)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content of `dawn.json`.

    Attributes:
        family: Model family, such as `dream` or `llada`.
        dims: Sizes of the model.
        tokens: Special token ids.
        prediction_shift: 0 if row i predicts token i (LLaDA), 1 if row i-1 does (Dream).
        evidence_layers: Layers averaged into the `attention` output, ascending.
        dialect: `portable` or `fused`.
        opset: ONNX opset of the graph.
        precision: What weights are stored as, one of `dawn_runtime.contract.PRECISIONS`.
        activations: Type of activations: `fp32`, `fp16` or `bf16`. Files of
            version 1 lack it: there it is the precision.
        decoding: Defaults for decoding.
        files: Name -> size and hash of every other file of the folder.
        graphs: Name -> graph, `step` among them; files of versions 1 and 2 have that one alone.
        target: What it was made for, one of `dawn_runtime.contract.TARGETS`; None, and absent from
            the file, if it was exported before this was recorded.
        origin: Where its checkpoint was downloaded from; None, and absent from the file, if it was
            a local folder.
        attention: What the model was trained to see; absent from the file if that is everything,
            so that versions before this was recorded read such files, and refuse others.
        kv: What keys and values are kept as, one of `dawn_runtime.contract.KV_KINDS`; the file
            tells it by its `kv_dtype`.
        dawn_edge_version: Version of the toolkit that wrote the artifact.
        format_version: Version of this file format.

    Raises:
        ArtifactError: A field is out of range.
    """

    family: str
    dims: Dims
    tokens: SpecialTokens
    prediction_shift: int
    evidence_layers: tuple[int, ...]
    dialect: str
    opset: int
    precision: str
    activations: str
    decoding: DecodingDefaults
    files: Mapping[str, FileEntry]
    graphs: Mapping[str, Graph] = field(default_factory=partial(one_graph, measures=True))
    target: str | None = None
    origin: Origin | None = None
    attention: Attention = field(default_factory=Attention)
    kv: str = "float"
    dawn_edge_version: str = __version__
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name, holds, expected in _rules(self):
            if not holds:
                raise ArtifactError(f"{MANIFEST_FILE}: field {name!r} is invalid; {expected}")

    @property
    def activation_dtype(self) -> str:
        """NumPy name of the element type of activations."""
        return contract.activation_dtype(self.activations)

    @property
    def kv_dtype(self) -> str:
        """NumPy name of the element type of cached keys and values."""
        return contract.kv_dtype(self.activations, self.kv)

    @property
    def step(self) -> Graph:
        """The graph that decodes."""
        return self.graphs[STEP]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs of the step graph in order."""
        dims, step = self.dims, self.step
        return contract.input_specs(
            dims.layers,
            dims.kv_heads,
            dims.head_dim,
            self.kv_dtype,
            measures=step.measures,
            drafts=step.drafts,
        )

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Outputs of the step graph in order."""
        dims, measures = self.dims, self.step.measures
        return contract.output_specs(
            dims.layers,
            dims.kv_heads,
            dims.head_dim,
            self.kv_dtype,
            dims.vocab_size,
            measures=measures,
        )

    def _table(self, name: str) -> dict[str, object]:
        """A graph as JSON carries it."""
        graph = self.graphs[name]
        inputs, outputs = graph.inputs, graph.outputs
        if name == STEP:
            inputs, outputs = self.inputs, self.outputs
        return {
            "file": graph.file,
            "data": graph.data,
            "inputs": [asdict(spec) for spec in inputs],
            "outputs": [asdict(spec) for spec in outputs],
        }

    def to_json(self) -> str:
        """Returns the text of `dawn.json`."""
        document: dict[str, object] = {
            "format_version": self.format_version,
            "dawn_edge_version": self.dawn_edge_version,
            "family": self.family,
            "dims": asdict(self.dims),
            "tokens": asdict(self.tokens),
            "prediction_shift": self.prediction_shift,
            "evidence_layers": list(self.evidence_layers),
            "dialect": self.dialect,
            "opset": self.opset,
            "precision": self.precision,
            "activations": self.activations,
            "kv_dtype": self.kv_dtype,
            "graphs": {name: self._table(name) for name in self.graphs},
            "decoding": self.decoding.to_dict(),
            "files": {name: asdict(entry) for name, entry in sorted(self.files.items())},
        }
        if self.target is not None:
            document["target"] = self.target
        if self.origin is not None:
            document["origin"] = asdict(self.origin)
        if self.attention != Attention():
            document["attention"] = asdict(self.attention)
        return json.dumps(document, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str = MANIFEST_FILE) -> "Manifest":
        """Reads the text of `dawn.json`.

        Args:
            text: Content of the file.
            source: File name for messages.

        Raises:
            ArtifactError: The text is not a manifest this version can use.
        """
        root = Fields.parse(text, source)
        version = _read_version(root)
        root.only(*_fields_of(version), *_OPTIONAL)
        tokens = root.nested("tokens")
        if version < 3:
            tokens.only("mask", "eos", "pad")
        elif "forbidden" not in tokens.values:
            tokens.integers("forbidden")
        has_target, has_origin, has_attention = (name in root.values for name in _OPTIONAL)
        manifest = cls(
            family=root.text("family"),
            dims=Dims.read(root.nested("dims")),
            tokens=SpecialTokens.read(tokens),
            prediction_shift=root.integer("prediction_shift"),
            evidence_layers=root.integers("evidence_layers"),
            dialect=root.text("dialect"),
            opset=root.integer("opset", minimum=1),
            precision=root.text("precision"),
            activations=root.text("activations" if version > 1 else "precision"),
            decoding=DecodingDefaults.read(root.nested("decoding")),
            files=_read_files(root.nested("files")),
            graphs=_read_graphs(root, version),
            target=root.text("target") if has_target else None,
            origin=Origin.read(root.nested("origin")) if has_origin else None,
            attention=Attention.read(root.nested("attention")) if has_attention else Attention(),
            kv=contract.kv_kind(root.text("kv_dtype")),
            dawn_edge_version=root.text("dawn_edge_version"),
            # What is read is of this version from now on.
            format_version=FORMAT_VERSION,
        )
        _check_graph(manifest, root, root.nested("graphs").nested(STEP) if version > 2 else root)
        return manifest


_FIELDS = (
    "format_version",
    "dawn_edge_version",
    "family",
    "dims",
    "tokens",
    "prediction_shift",
    "evidence_layers",
    "dialect",
    "opset",
    "precision",
    "activations",
    "kv_dtype",
    "graphs",
    "decoding",
    "files",
)
_OPTIONAL = ("target", "origin", "attention")


def _fields_of(version: int) -> tuple[str, ...]:
    """Names of the fields that a version has."""
    if version > 2:
        return _FIELDS
    tables = (*(name for name in _FIELDS if name != "graphs"), "inputs", "outputs")
    return tables if version > 1 else tuple(name for name in tables if name != "activations")


def _rules(manifest: Manifest) -> list[tuple[str, bool, str]]:
    """Lists (field, whether it holds, what is expected) for every range check."""
    dims, tokens, layers = manifest.dims, manifest.tokens, manifest.evidence_layers
    return [
        ("dims", min(asdict(dims).values()) >= 1, "every size must be at least 1"),
        ("dims.kv_heads", dims.heads % max(dims.kv_heads, 1) == 0, "it must divide dims.heads"),
        ("tokens", all(0 <= i < dims.vocab_size for i in tokens.all), "ids must be < vocab_size"),
        (
            "tokens.forbidden",
            _may_be_forbidden(tokens, dims),
            "expected ascending ids below vocab_size, the mask among them, no end of an answer, "
            "and not all there are",
        ),
        ("graphs", STEP in manifest.graphs, f"expected a graph {STEP!r}"),
        *(
            (f"graphs.{name}", _proper_files(graph), "expected two names of files in the folder")
            for name, graph in manifest.graphs.items()
        ),
        ("prediction_shift", manifest.prediction_shift in (0, 1), "expected 0 or 1"),
        (
            "evidence_layers",
            bool(layers) and list(layers) == sorted({i for i in layers if 0 <= i < dims.layers}),
            "expected ascending layer numbers below dims.layers",
        ),
        ("dialect", manifest.dialect in contract.DIALECTS, f"use one of {contract.DIALECTS}"),
        (
            "target",
            manifest.target is None or manifest.target in contract.TARGETS,
            f"use one of {contract.TARGETS}",
        ),
        (
            "precision",
            manifest.precision in contract.PRECISIONS,
            f"use one of {contract.PRECISIONS}",
        ),
        (
            "activations",
            manifest.activations in contract.ACTIVATION_DTYPES
            and manifest.precision in (*_INTEGERS, manifest.activations),
            f"use one of {list(contract.ACTIVATION_DTYPES)}, the precision itself where it is one "
            "of them",
        ),
        ("kv", manifest.kv in contract.KV_KINDS, f"use one of {contract.KV_KINDS}"),
        ("decoding.block_length", manifest.decoding.block_length >= 1, "expected >= 1"),
        ("decoding.fallback_length", manifest.decoding.fallback_length >= 0, "expected >= 0"),
        ("decoding.max_new_tokens", manifest.decoding.max_new_tokens >= 1, "expected >= 1"),
        (
            "origin.commit",
            manifest.origin is None or _COMMIT.fullmatch(manifest.origin.commit) is not None,
            "expected 40 lower-case hex digits",
        ),
        ("attention.kind", manifest.attention.kind in ATTENTIONS, f"use one of {ATTENTIONS}"),
        (
            "attention.block_length",
            _proper_blocks(manifest.attention),
            f"expected 1 to {MAX_LENGTH} with block-causal, null with full attention",
        ),
        ("attention.origin", manifest.attention.origin in ORIGINS, f"use one of {ORIGINS}"),
        *(
            (f"files.{name}", _SHA256.fullmatch(entry.sha256) is not None, "sha256 is malformed")
            for name, entry in manifest.files.items()
        ),
    ]


def _may_be_forbidden(tokens: SpecialTokens, dims: Dims) -> bool:
    listed = tokens.forbidden
    return not listed or (
        list(listed) == sorted({i for i in listed if 0 <= i < dims.vocab_size})
        and tokens.mask in listed
        and not set(listed).intersection(tokens.eos)
        and len(listed) < dims.vocab_size
    )


def _proper_blocks(attention: Attention) -> bool:
    length = attention.block_length
    if length is None:
        return attention.kind != "block-causal"
    return attention.kind != "full" and 1 <= length <= MAX_LENGTH


def _proper_files(graph: Graph) -> bool:
    names = {graph.file, graph.data}
    return len(names - {MANIFEST_FILE}) == 2 and all(map(is_plain_name, names))


def _read_version(root: Fields) -> int:
    """Refuses a newer format before any other field is looked at."""
    version = root.integer("format_version", minimum=1)
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"{root.source}: format version {version} is newer than {FORMAT_VERSION}, the newest "
            f"that dawn-edge {__version__} reads; update dawn-edge or export again"
        )
    return version


def _check_graph(manifest: Manifest, root: Fields, tables: Fields) -> None:
    """Refuses a graph table that differs from what the contract derives from the sizes."""
    if root.text("kv_dtype") != manifest.kv_dtype:
        raise ArtifactError(
            f"{root.source}: field 'kv_dtype' is {root.text('kv_dtype')!r}; "
            f"expected {manifest.kv_dtype!r} with activations {manifest.activations}"
        )
    for name, expected in (("inputs", manifest.inputs), ("outputs", manifest.outputs)):
        found = _read_specs(tables, name)
        if found != expected:
            wrong = sorted({spec.name for spec in set(found) ^ set(expected)}) or ["order"]
            raise ArtifactError(
                f"{root.source}: field {tables.full(name)!r} differs from the step contract of "
                f"format version {manifest.format_version} at {', '.join(wrong[:4])}; export again"
            )


def _read_graphs(root: Fields, version: int) -> dict[str, Graph]:
    """The graphs; the tables of a step are left out, since they are compared with the contract."""
    if version < 3:
        return one_graph(measures=False)
    graphs = root.nested("graphs")
    return {name: _read_graph(name, graphs.nested(name)) for name in graphs.values}


def _read_graph(name: str, fields: Fields) -> Graph:
    fields.only("file", "data", "inputs", "outputs")
    file, data = fields.text("file"), fields.text("data")
    inputs, outputs = _read_specs(fields, "inputs"), _read_specs(fields, "outputs")
    if name != STEP:
        return Graph(file, data, measures=False, inputs=inputs, outputs=outputs)
    named = {spec.name for spec in inputs}
    return Graph(file, data, contract.ENTROPY_ROWS in named, contract.DRAFT_MASK in named)


def _read_specs(fields: Fields, name: str) -> tuple[TensorSpec, ...]:
    return tuple(_read_spec(entry) for entry in fields.objects(name))


def _read_files(fields: Fields) -> dict[str, FileEntry]:
    return {name: FileEntry.read(fields.nested(name)) for name in fields.values}


def _read_spec(fields: Fields) -> TensorSpec:
    fields.only("name", "dtype", "shape")
    sizes = fields.entries("shape")
    shape = tuple(
        size if isinstance(size, str) else sizes.integer(name, minimum=1)
        for name, size in sizes.values.items()
    )
    return TensorSpec(fields.text("name"), fields.text("dtype"), shape)
