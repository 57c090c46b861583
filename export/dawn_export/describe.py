"""The manifest of an artifact: what it is, and every file in it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from tokenizers import Tokenizer

from dawn_export.options import ExportOptions
from dawn_export.quantization.fingerprint import model_dims
from dawn_export.text.side_files import find, read_fields
from dawn_export.text.tokenizer import TOKENIZER_FILE, library_errors
from dawn_models import Checkpoint, Family
from dawn_models.fields import MAX_JSON_BYTES
from dawn_runtime._fields import Fields
from dawn_runtime.artifact import sha256_of
from dawn_runtime.decoding_defaults import DECODING_FILE
from dawn_runtime.manifest import (
    STEP,
    Attention,
    DecodingDefaults,
    DefaultRule,
    FileEntry,
    Manifest,
    SpecialTokens,
    one_graph,
)
from dawn_runtime.settings import check_default


def describe(
    checkpoint: Checkpoint, options: ExportOptions, folder: Path, weights: FileEntry
) -> Manifest:
    """Makes the manifest of an artifact from its checkpoint and the files written so far.

    Args:
        checkpoint: Its source.
        options: How it was exported.
        folder: Where its files are.
        weights: Size and hash of the external data file, which is too large to be read again.

    Raises:
        ArtifactError: A value does not fit the manifest, or the decoding that lies beside the
            checkpoint cannot be used.
    """
    config = checkpoint.config
    graphs = one_graph(measures=options.measures, drafts=config.draft is not None)
    data = graphs[STEP].data
    return Manifest(
        family=config.family,
        dims=model_dims(config, options.max_length(config)),
        tokens=SpecialTokens(
            mask=config.mask_token_id,
            eos=_end_tokens(checkpoint, folder),
            pad=config.pad_token_id,
            forbidden=config.barred_token_ids,
        ),
        prediction_shift=config.shift,
        evidence_layers=tuple(
            range(config.num_layers - options.evidence_layers, config.num_layers)
        ),
        dialect=options.graph_dialect,
        opset=options.opset,
        precision=options.precision,
        activations=options.scheme.activations,
        target=options.target,
        kv=options.kv,
        graphs=graphs,
        decoding=_decoding(checkpoint),
        attention=Attention(**asdict(config.attention)),
        files={
            path.name: weights if path.name == data else file_entry(path)
            for path in sorted(folder.iterdir())
        },
    )


def file_entry(path: Path) -> FileEntry:
    """Size and hash of a file."""
    return FileEntry(path.stat().st_size, sha256_of(path))


def published_defaults(family: Family) -> DecodingDefaults:
    """How a family's authors decode; else DAWN, with thresholds published for it or the rule's."""
    own = family.decoding
    if own is None:
        return DecodingDefaults(policy="dawn", options=dict(family.dawn_options))
    return DecodingDefaults(
        policy=own.policy,
        options=dict(own.options),
        block_length=own.block_length,
        max_new_tokens=own.max_new_tokens,
    )


def _decoding(checkpoint: Checkpoint) -> DecodingDefaults:
    """The rule that lies beside the checkpoint, with the published one behind it, or else that one.

    Either with the answer length that generation_config.json asks for, if any. Blocks are as long
    as the model was trained for, where it was for some length.
    """
    defaults = published_defaults(checkpoint.family)
    trained = checkpoint.config.attention.block_length
    if trained is not None:
        defaults = replace(defaults, block_length=min(defaults.block_length, trained))
    path = find(checkpoint.folder, DECODING_FILE)
    if path is not None:
        remedy = "write it again with dawn-calibrate default --record"
        rule = DefaultRule.read(Fields.read(path, MAX_JSON_BYTES, remedy))
        defaults = defaults.with_rule(rule, published=defaults.rule)
        attention = Attention(**asdict(checkpoint.config.attention))
        shift = checkpoint.config.shift
        check_default(defaults, str(path), shift=shift, attention=attention)
    fields = read_fields(checkpoint.folder, "generation_config.json")
    new_tokens = fields.integer("max_new_tokens", minimum=1, default=defaults.max_new_tokens)
    return replace(defaults, max_new_tokens=new_tokens)


def _end_tokens(checkpoint: Checkpoint, folder: Path) -> tuple[int, ...]:
    """The configured end tokens, then those of the family that the artifact's tokenizer has."""
    tokens = list(checkpoint.config.eos_token_ids)
    path = folder / TOKENIZER_FILE
    if path.exists():
        with library_errors(path):
            tokenizer = Tokenizer.from_file(str(path))
            named = [tokenizer.token_to_id(token) for token in checkpoint.family.end_tokens]
        size = checkpoint.config.vocab_size
        tokens += [number for number in named if number is not None and number < size]
    return tuple(dict.fromkeys(tokens))
