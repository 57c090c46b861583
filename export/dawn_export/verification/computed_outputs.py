"""Does the exported graph compute what the checkpoint computes?

The torch module in float32 is the reference; ONNX Runtime runs the artifact. The module has the
checkpoint's weights or, where the artifact holds integers, the weights that these stand for. That
they are those of the checkpoint is what `written_weights`, next to this file, tells; what rounding
weights does to decoding is told by answers to real prompts. Four cases with random tokens:

===========  ===================================================================================
full         one sequence, nothing cached, head and evidence of every row
cached       a part of it fed in random order over the rest, cached in random order by the full
             run; the reference is still the full pass, so outputs and cache are both tried
batched      two sequences of different lengths, the shorter one padded
minimal      one head row and no evidence (R = 1, Q = 0)
keys         nothing but keys and values (R = 0, Q = 0); only these are compared
drafting     as batched, the adapter for drafts added to all rows of one sequence and to every
             second of the other; of models that have one
===========  ===================================================================================

What is compared, and in which unit; the largest difference of all values counts:

===========  ===================================================================================
logits       difference, relative to the largest logit if that is above 1; the logits of what is
             never predicted count as 0
tokens       how far the chosen token's logit is below the best, both of the reference; as logits
confidence   difference of probabilities
entropy      difference in nats, where the graph returns it
margin       difference, as logits, where the graph returns it
attention    difference of probabilities
cache        difference of keys and values, relative to the largest if that is above 1
other        share of rows that choose another token than the reference, where there are several
===========  ===================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dawn_export.dtypes import TORCH_DTYPES
from dawn_export.graph.packed_keys import JOININGS, unpacked
from dawn_export.progress import stage
from dawn_export.report import Difference
from dawn_export.verification.readback import read_parameters
from dawn_export.weights.layout import StoredWeight
from dawn_models import Checkpoint, Transformer, load_transformer, make_transformer
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.manifest import Manifest

_INTEGERS: Mapping[str, float] = {
    "tokens": 0.1,
    "confidence": 0.3,
    "attention": 0.05,
    "logits": 0.15,
    "entropy": 0.6,
    "margin": 0.3,
    "cache": 0.15,
    "other": 0.25,
}

TOLERANCES: Mapping[str, Mapping[str, float]] = {
    "fp32": {
        "tokens": 1e-3,
        "confidence": 1e-4,
        "attention": 1e-5,
        "logits": 1e-3,
        "entropy": 1e-3,
        "margin": 1e-3,
        "cache": 1e-3,
        "other": 0.05,
    },
    "fp16": {
        "tokens": 3e-2,
        "confidence": 2e-2,
        "attention": 1e-2,
        "logits": 3e-2,
        "entropy": 6e-2,
        "margin": 6e-2,
        "cache": 3e-2,
        "other": 0.1,
    },
    "int8": _INTEGERS,
    "int8-weights": _INTEGERS,
    "int4": _INTEGERS,
    "int4-int8": _INTEGERS,
}
"""Precision -> output -> largest difference that is accepted. float32 differs by the order of sums
alone; float16 keeps 11 bits of every weight and of every value between operators. With integers
activations are rounded to 8 bits in products, by `MatMulNBits` on the CPU too, or are float16;
random tokens make a trained model unsure, so that much of that shows."""

_LENGTH = 24
_SEED = 0


@dataclass(frozen=True, slots=True)
class Case:
    """What is run, and what should come out.

    Attributes:
        name: For the table.
        inputs: Inputs of the graph.
        expected: All outputs, by the reference.
    """

    name: str
    inputs: StepInputs
    expected: StepOutputs


def check_parity(
    graph: Path, manifest: Manifest, checkpoint: Checkpoint, weights: Sequence[StoredWeight] = ()
) -> tuple[Difference, ...]:
    """Compares a graph with the checkpoint it was made from.

    All of the reference is loaded, in float32; it is gone before ONNX Runtime loads the graph.

    Args:
        graph: The graph; its weights lie beside it.
        manifest: Manifest of the artifact.
        checkpoint: Its source.
        weights: How each weight is stored, if any is stored as integers.

    Raises:
        EngineError: ONNX Runtime cannot load or run the graph.
        DependencyError: onnxruntime is not installed.
    """
    layers, measures = f"{manifest.dims.layers} layers", manifest.step.measures
    with stage("reference", f"verifying: computing {layers} in torch, the reference"):
        model = _module(graph, manifest, checkpoint, weights)
        full, *others = _reference_cases(model, manifest)
        del model
    with stage("engine", f"verifying: running {layers} in ONNX Runtime"):
        engine = OrtEngine(graph, manifest)
        try:
            cached = _cached(full, engine.run(full.inputs).present)
            cases = (full, cached, *others, _minimal(full), _keys(full))
            asked = partial(replace, want_entropy=measures, want_margin=measures)
            found = [(case, engine.run(asked(case.inputs))) for case in cases]
        finally:
            engine.close()
    tolerances = tolerances_of(manifest)
    return tuple(
        Difference(case.name, output, largest, tolerances[output])
        for case, outputs in found
        for output, largest in compare(
            _readable(outputs, manifest), _readable(case.expected, manifest)
        ).items()
    )


def tolerances_of(manifest: Manifest) -> Mapping[str, float]:
    """Output -> largest difference that is accepted of an artifact.

    A number between two bytes may become either, a step of 1 / 127 in a key: as much as FP16 does.
    """
    own = TOLERANCES[manifest.precision]
    if manifest.kv == "float":
        return own
    return {output: max(own[output], least) for output, least in TOLERANCES["fp16"].items()}


def _readable(outputs: StepOutputs, manifest: Manifest) -> StepOutputs:
    """The same with keys and values as numbers, where they are rows of bytes."""
    if manifest.kv == "float":
        return outputs
    width = manifest.dims.head_dim
    numbers = (unpacked(torch.from_numpy(rows), width).numpy() for rows in outputs.present)
    return replace(outputs, present=tuple(numbers))


def _module(
    graph: Path, manifest: Manifest, checkpoint: Checkpoint, weights: Sequence[StoredWeight]
) -> Transformer:
    """The reference; see the module."""
    join = JOININGS[manifest.kv]
    if all(weight.layout.integers is None for weight in weights):
        return load_transformer(checkpoint, join=join)
    dtype = TORCH_DTYPES[manifest.activation_dtype]
    return make_transformer(
        checkpoint.config, read_parameters(graph, weights, checkpoint.config, dtype), join
    )


def _reference_cases(model: Transformer, manifest: Manifest) -> tuple[Case, ...]:
    """The cases that the torch module is run for: full, batched and maybe drafting."""
    random = np.random.default_rng(_SEED)
    layers = len(manifest.evidence_layers)
    length = min(_LENGTH, manifest.dims.max_length)
    full = _whole(random.integers(0, manifest.dims.vocab_size, (1, length)))
    batched = _padded(random.integers(0, manifest.dims.vocab_size, (2, length)), length // 2 + 1)
    steps = {"full": full, "batched": batched}
    if manifest.step.drafts:
        steps["drafting"] = _drafting(batched)
    return tuple(Case(name, step, reference(model, step, layers)) for name, step in steps.items())


def reference(model: Transformer, inputs: StepInputs, evidence_layers: int) -> StepOutputs:
    """Runs the torch module on the inputs of the graph."""
    config = model.config
    if inputs.past:
        raise ValueError("the reference feeds everything; a cache is tried against that")
    with torch.inference_mode():
        result = model.step(
            torch.from_numpy(inputs.input_ids),
            torch.from_numpy(inputs.position_ids),
            torch.from_numpy(inputs.attention_mask),
            torch.from_numpy(inputs.logit_rows),
            torch.from_numpy(inputs.attention_rows),
            torch.arange(inputs.logit_rows.shape[1]).expand(inputs.logit_rows.shape),
            [None] * config.num_layers,
            evidence_layers,
            None if inputs.draft_mask is None else torch.from_numpy(inputs.draft_mask),
        )
    return StepOutputs(
        tokens=result.tokens.numpy(),
        confidence=result.confidence.numpy(),
        attention=result.attention.numpy(),
        logits=result.logits.numpy(),
        present=tuple(array.numpy() for pair in result.present for array in pair),
        entropy=result.entropy.numpy(),
        margin=result.margin.numpy(),
    )


def compare(found: StepOutputs, expected: StepOutputs) -> dict[str, float]:
    """Largest difference of every output, in the units of this module's docstring."""
    if found.logits is None or expected.logits is None:
        raise ValueError("logits are needed on both sides; run with want_logits")
    if not expected.tokens.size:
        return {"cache": _cache_difference(found, expected)}
    ours, theirs = _numbers(found.logits), _numbers(expected.logits)
    scale = _scale(theirs)
    chosen, best = (
        np.take_along_axis(expected.logits, outputs.tokens[..., None], axis=-1)[..., 0]
        for outputs in (found, expected)
    )
    differences = {
        "tokens": _largest(best - chosen) / scale,
        "confidence": _largest(found.confidence - expected.confidence),
        "logits": _largest(ours - theirs) / scale,
        "cache": _cache_difference(found, expected),
    }
    if found.entropy is not None and expected.entropy is not None:
        differences["entropy"] = _largest(found.entropy - expected.entropy)
    if found.margin is not None and expected.margin is not None:
        differences["margin"] = _largest(found.margin - expected.margin) / scale
    if found.tokens.size > 1:
        differences["other"] = float((found.tokens != expected.tokens).mean())
    if expected.attention.size:
        differences["attention"] = _largest(found.attention - expected.attention)
    return differences


def _cache_difference(found: StepOutputs, expected: StepOutputs) -> float:
    return max(
        _largest(own.astype(np.float32) - other) / _scale(other)
        for own, other in zip(found.present, expected.present, strict=True)
    )


def _numbers(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits with 0 in place of minus infinity; a number on one side alone is a difference."""
    return np.where(np.isneginf(logits), np.float32(0), logits)


def _largest(difference: NDArray[np.float32]) -> float:
    return float(np.abs(difference).max())


def _scale(values: NDArray[np.float32]) -> float:
    return max(1.0, _largest(values))


def _whole(ids: NDArray[np.int64]) -> StepInputs:
    """Every row fed, seen and asked for."""
    batch, length = ids.shape
    rows = np.broadcast_to(np.arange(length), (batch, length)).copy()
    mask = np.ones((batch, 1, length, length), dtype=np.bool_)
    return StepInputs(ids, rows, mask, rows, rows, want_logits=True, want_present=True)


def _padded(ids: NDArray[np.int64], shorter: int) -> StepInputs:
    """As `_whole`, but the last sequence ends after `shorter` tokens; padding sees its tokens."""
    whole = _whole(ids)
    mask = whole.attention_mask
    mask[-1, :, :, shorter:] = False
    rows = whole.logit_rows[:, :shorter]
    return replace(whole, attention_mask=mask, logit_rows=rows, attention_rows=rows)


def _drafting(inputs: StepInputs) -> StepInputs:
    """The same with rows that draft: all of the first sequence, every second of the others."""
    drafts = np.ones(inputs.input_ids.shape, dtype=np.bool_)
    drafts[1:, ::2] = False
    return replace(inputs, draft_mask=drafts)


def _cached(full: Case, present: tuple[NDArray[np.float32], ...]) -> Case:
    """Half of the rows, drawn, are cached; the others are fed."""
    length = full.inputs.input_ids.shape[1]
    order = np.random.default_rng(_SEED).permutation(length)
    kept, fed = np.split(order, [length // 2])
    whole = _whole(full.inputs.input_ids[:, fed])
    inputs = replace(
        whole,
        position_ids=fed[None],
        attention_mask=np.ones((1, 1, len(fed), len(order)), dtype=np.bool_),
        past=tuple(array[:, :, kept] for array in present),
    )
    expected = _rows(full.expected, fed, fed)
    return Case(
        "cached",
        inputs,
        replace(
            expected,
            attention=expected.attention[:, :, order],
            present=tuple(array[:, :, fed] for array in expected.present),
        ),
    )


def _minimal(full: Case) -> Case:
    row = full.inputs.input_ids.shape[1] // 3
    one, none = np.array([row]), np.array([], dtype=np.int64)
    inputs = replace(full.inputs, logit_rows=one[None], attention_rows=none[None])
    return Case("minimal", inputs, _rows(full.expected, one, none))


def _keys(full: Case) -> Case:
    none = np.array([], dtype=np.int64)
    inputs = replace(full.inputs, logit_rows=none[None], attention_rows=none[None])
    return Case("keys", inputs, _rows(full.expected, none, none))


def _rows(
    outputs: StepOutputs, logit_rows: NDArray[np.int64], attention_rows: NDArray[np.int64]
) -> StepOutputs:
    """The outputs as they are for some rows alone."""
    if outputs.logits is None or outputs.entropy is None or outputs.margin is None:
        raise ValueError("the reference computes every output")
    return replace(
        outputs,
        tokens=outputs.tokens[:, logit_rows],
        confidence=outputs.confidence[:, logit_rows],
        logits=outputs.logits[:, logit_rows],
        entropy=outputs.entropy[:, logit_rows],
        margin=outputs.margin[:, logit_rows],
        attention=outputs.attention[:, attention_rows],
    )
