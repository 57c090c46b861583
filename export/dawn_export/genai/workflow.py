"""inference_metadata.json: how onnx-genai runs the step graph and the small ones around it.

The format is that of onnx-genai 0.1.0.dev6, schema v1.2. It is no stable one: what an older or
newer release reads may differ.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import onnx

from dawn_export.genai.graphs import CANVAS, COMMIT, FEED, canvas, commit, feed
from dawn_runtime.contract import input_specs
from dawn_runtime.manifest import STEP, Manifest

METADATA_FILE: Final = "inference_metadata.json"
_SCHEMA: Final = "v1.2"
_STEP: Final = "step"
_TEXT = ["batch", "total"]
_FED = (
    *("position_ids", "attention_mask", "logit_rows", "attention_rows", "entropy_rows"),
    "past",
)
_SEQUENCE: Final = "sequence"
"""State that holds prompt and answer; not `tokens`, which is what the workflow gives out: values
and outputs share their names."""
_PROMPT, _LENGTH, _BEGIN = "request.prompt", "request.length", "package.begin"

Record = dict[str, Any]


def write_package(manifest: Manifest, folder: Path) -> None:
    """Writes the workflow and its graphs beside the step graph of an artifact.

    Args:
        manifest: of the artifact, which attends to everything and is for ONNX Runtime.
        folder: its own.
    """
    graphs = {
        CANVAS: canvas(manifest.tokens.mask),
        FEED: feed(manifest),
        COMMIT: commit(manifest.decoding.block_length, manifest.tokens.eos),
    }
    for name, model in graphs.items():
        onnx.save(model, folder / f"{name}.onnx")
    text = json.dumps(metadata(manifest), indent=2)
    (folder / METADATA_FILE).write_text(text + "\n", encoding="utf-8")


def metadata(manifest: Manifest) -> Record:
    """The content of inference_metadata.json."""
    return {
        "schema_version": _SCHEMA,
        "pipeline": {"workflow": _workflow(manifest)},
        "package": {"tokenizer": {"special_tokens": {"eos_token_id": list(manifest.tokens.eos)}}},
        # What a caller asks for as the most tokens is the length of the answer.
        "generation": {"overrides": {"max_output_tokens": {"input": _LENGTH}}},
    }


def _workflow(manifest: Manifest) -> Record:
    files = {name: f"{name}.onnx" for name in (CANVAS, FEED, COMMIT)}
    files[_STEP] = manifest.graphs[STEP].file
    return {
        "manifest": {},
        "inputs": _inputs(manifest.decoding.max_new_tokens),
        "outputs": {
            "tokens": {
                "contract": _of_rows("int64", ["batch", "new"]),
                "role": "tokens",
                "stage": "pre_adapter",
            }
        },
        "components": {
            name: {"implementation": {"kind": "onnx", "artifact": file}}
            for name, file in files.items()
        },
        "state": {
            _SEQUENCE: _state(_of_rows("int64", _TEXT), "canvas.tokens"),
            "masked": _state(_of_rows("bool", _TEXT), "canvas.masked"),
            "more": _state(_one("bool"), _BEGIN),
        },
        "steps": [_loop(_past_names(manifest))],
    }


def _inputs(length: int) -> Record:
    return {
        _PROMPT: {
            "contract": _of_rows("int64", ["batch", "sequence"]),
            "role": _runtime("prompt_tokens"),
            "source": {"kind": "request"},
            "required": True,
        },
        _LENGTH: {
            "contract": _one("int64"),
            "role": _runtime("max_iterations"),
            "source": {"kind": "request"},
            "required": False,
            "default": length,
        },
        _BEGIN: {
            "contract": _one("bool"),
            "role": {"kind": "opaque"},
            "source": {"kind": "literal"},
            "required": False,
            "default": True,
        },
    }


def _loop(past: tuple[str, ...]) -> Record:
    fed = {name: f"fed.{name}" for name in _FED}
    keys = dict.fromkeys(past, fed["past"])
    others = {name: value for name, value in fed.items() if name != "past"}
    made = ("next_tokens", "next_masked", "answer", "more")
    return {
        "kind": "loop",
        "setup": [
            _invoke(
                CANVAS,
                {"prompt": _PROMPT, "length": _LENGTH},
                {name: f"canvas.{name}" for name in ("tokens", "masked")},
            )
        ],
        "steps": [
            _invoke(FEED, {"tokens": _SEQUENCE}, fed),
            _invoke(
                _STEP,
                {"input_ids": _SEQUENCE, **others, **keys},
                {"tokens": "step.tokens", "confidence": "step.confidence"},
            ),
            _invoke(
                COMMIT,
                {
                    "tokens": _SEQUENCE,
                    "masked": "masked",
                    "proposed": "step.tokens",
                    "confidence": "step.confidence",
                    "length": _LENGTH,
                },
                {name: f"commit.{name}" for name in made},
            ),
            {"kind": "emit", "value": "commit.answer", "output": "tokens", "mode": "replace"},
        ],
        "continue_when": "more",
        "max_iterations": _LENGTH,
        "carried": [
            {"cell": _SEQUENCE, "next": "commit.next_tokens"},
            {"cell": "masked", "next": "commit.next_masked"},
            {"cell": "more", "next": "commit.more"},
        ],
        "iteration": {"value": "loop.iteration", "contract": _one("int64")},
    }


def _past_names(manifest: Manifest) -> tuple[str, ...]:
    dims = manifest.dims
    specs = input_specs(dims.layers, dims.kv_heads, dims.head_dim, "float32")
    return tuple(spec.name for spec in specs if spec.name.startswith("past_"))


def _invoke(component: str, inputs: Record, outputs: Record) -> Record:
    return {"kind": "invoke", "component": component, "inputs": inputs, "outputs": outputs}


def _state(contract: Record, initializer: str) -> Record:
    return {
        "contract": contract,
        "scope": "invocation",
        "initializer": initializer,
        "recurrence": {"kind": "invariant"},
    }


def _of_rows(dtype: str, shape: list[str]) -> Record:
    layout = {"kind": "request_aligned", "axis": 0}
    return {"dtype": dtype, "shape": shape, "batch_layout": layout}


def _one(dtype: str) -> Record:
    return {"dtype": dtype, "shape": [1]}


def _runtime(role: str) -> Record:
    return {"kind": "runtime", "version": "1.0", "role": role}
