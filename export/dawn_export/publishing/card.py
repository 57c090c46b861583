"""The model card beside an artifact: what it is, how it is run, what was measured and what was not.

It is written with every artifact and belongs to whoever has it: words of one's own may go anywhere.
Between these lines it is written anew, the first when the artifact gets a name on the Hub, the
second when there are results of dawn-bench::

    <!-- dawn-export: run -->
    <!-- dawn-export: measured -->
    <!-- end of dawn-export -->
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dawn_export.publishing.licence import Licence
from dawn_export.report import VERIFICATION_FILE, Verification
from dawn_runtime.contract import ACTIVATION_DTYPES
from dawn_runtime.files import read_plain, text_of
from dawn_runtime.manifest import CARD_FILE, TEMPLATE_FILE, TOKENIZER_FILE, Manifest

MOST_BYTES: Final = 2**20
"""Largest card that is read."""

RUN: Final = "run"
MEASURED: Final = "measured"
_END: Final = "<!-- end of dawn-export -->"

_EXTRAS: Final = {"cpu": "cpu", "cuda": "cuda", "tensorrt": "tensorrt"}
"""Target -> extra of the package that brings its engine."""

_NO_SPEED: Final = (
    "Not measured: speed, memory and energy. `dawn-bench` measures them on your machine."
)
_NO_ACCURACY: Final = (
    "Not measured: accuracy on public tasks. `python -m dawn_eval` evaluates the artifact."
)


def write_card(folder: Path, manifest: Manifest, licence: Licence) -> None:
    """Writes the card of an artifact into its folder.

    Args:
        folder: The artifact's, its report of a verification in it, if there is one.
        manifest: Its manifest.
        licence: The terms of the checkpoint.
    """
    (folder / CARD_FILE).write_text(card_of(folder, manifest, licence), encoding="utf-8")


def card_of(folder: Path, manifest: Manifest, licence: Licence) -> str:
    """Returns the card of an artifact; arguments as of `write_card`."""
    parts = [
        _front(manifest, licence),
        f"# {_title(manifest)}\n\n{_opening(manifest)}",
        f"## Run it\n\n{_section(RUN, how_to_run(manifest, None))}",
        f"## What it is\n\n{_facts(manifest, licence)}",
        f"## Beside the checkpoint\n\n{_parity(folder, manifest)}",
        f"## Measured\n\n{_measured(manifest)}",
    ]
    return "\n\n".join(parts) + "\n"


def read_card(folder: Path) -> str | None:
    """Returns the text of the card in a folder; None if there is none.

    Raises:
        OSError: It cannot be read.
        ValueError: It is too large, or no text.
    """
    path = folder / CARD_FILE
    return text_of(read_plain(path, MOST_BYTES)) if path.exists() else None


def with_section(card: str, name: str, content: str) -> str | None:
    """Returns a card with one of its sections written anew; None if it has no such section.

    Args:
        card: The text.
        name: `RUN` or `MEASURED`.
        content: What shall stand in it.
    """
    begin = re.escape(_begin(name))
    section = re.compile(rf"^{begin}\n.*?^{re.escape(_END)}$", re.MULTILINE | re.DOTALL)
    written, count = section.subn(lambda _: _section(name, content), card, count=1)
    return written if count else None


def how_to_run(manifest: Manifest, repository: str | None) -> str:
    """Returns the lines that install, fetch and run.

    Args:
        manifest: Of the artifact.
        repository: Its name on the Hub, if it has one.
    """
    extra = _EXTRAS[manifest.target or "cpu"]
    lines = [f"pip install 'dawn-edge[{extra}]'"]
    name = repository or "FOLDER"
    if repository is None:
        lines.append("# FOLDER: where this card lies")
    elif manifest.target == "tensorrt":  # a plan goes beside the graph, so not into the cache
        name = "FOLDER"
        lines.append(f"hf download {repository} --local-dir {name}")
    else:
        lines.append(f"hf download {name}")
    if manifest.target == "tensorrt":
        lines.append(f"dawn-export --artifact {name} --target tensorrt    # on the device")
    return "\n".join(["```bash", *lines, _answer(manifest, name), "```"])


def _answer(manifest: Manifest, name: str) -> str:
    """The command that decodes, by what the artifact knows of text."""
    if TEMPLATE_FILE in manifest.files:
        return f'dawn-generate {name} --chat "..."'
    if TOKENIZER_FILE in manifest.files:
        return f'dawn-generate {name} "..."'
    ids = f'Decoder.open("{name}").generate(input_ids=[1, 2, 3]).tokens'
    return f"python -c 'from dawn_runtime import Decoder; print({ids})'"


def _begin(name: str) -> str:
    return f"<!-- dawn-export: {name} -->"


def _section(name: str, content: str) -> str:
    return f"{_begin(name)}\n\n{content}\n\n{_END}"


def _front(manifest: Manifest, licence: Licence) -> str:
    """The front matter: YAML, of which JSON is a part."""
    fields: dict[str, object] = dict(licence.fields)
    if manifest.origin is not None:
        fields["base_model"] = manifest.origin.repository
        if manifest.precision not in ACTIVATION_DTYPES:
            fields["base_model_relation"] = "quantized"
    fields |= {
        "library_name": "dawn-edge",
        "pipeline_tag": "text-generation",
        "tags": ["diffusion-language-model", "onnx", manifest.family, manifest.precision],
    }
    lines = [f"{name}: {_yaml(value)}" for name, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _yaml(value: object) -> str:
    """A value as JSON, without the characters that YAML does not take."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(one if one.isprintable() else " " for one in text)


def _title(manifest: Manifest) -> str:
    origin = manifest.origin
    named = manifest.family if origin is None else origin.repository
    return f"{named.rpartition('/')[2]}, {manifest.precision}, for dawn-edge"


def _opening(manifest: Manifest) -> str:
    origin, target = manifest.origin, manifest.target or "cpu"
    source = "a checkpoint in a local folder, whose origin is not recorded"
    if origin is not None:
        source = f"[{origin.repository}](https://huggingface.co/{origin.repository}) at commit "
        source += f"`{origin.commit}`"
    return (
        f"A diffusion language model as an ONNX graph for the target `{target}`, with the "
        f"attention evidence as an output, exported by dawn-edge {manifest.dawn_edge_version} from "
        f"{source}. Decoding needs no torch."
    )


def _facts(manifest: Manifest, licence: Licence) -> str:
    dims = manifest.dims
    layers = ", ".join(map(str, manifest.evidence_layers))
    rows = {
        "licence of the checkpoint": licence.line(),
        "family": manifest.family,
        "size": f"{_megabytes(manifest)} MB in {len(manifest.files)} files",
        "geometry": f"{dims.layers} layers, width {dims.hidden}, {dims.heads} query and "
        f"{dims.kv_heads} key heads of {dims.head_dim}, vocabulary {dims.vocab_size}",
        "longest sequence": f"{dims.max_length} tokens, prompt and answer together",
        "precision": f"weights {manifest.precision}, activations {manifest.activations}, keys and "
        f"values {manifest.kv_dtype}",
        "target": manifest.target or "not recorded",
        "graph": f"{manifest.dialect}, opset {manifest.opset}",
        "attends": manifest.attention.words(),
        "attention evidence": f"mean over layers {layers}",
        "decoded by": _decoding(manifest),
    }
    table = [f"| {name} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join(["| | |", "| --- | --- |", *table])


def _megabytes(manifest: Manifest) -> str:
    return f"{sum(entry.size for entry in manifest.files.values()) / 1e6:.1f}"


def _decoding(manifest: Manifest) -> str:
    decoding = manifest.decoding
    options = ", ".join(f"{name} {value}" for name, value in decoding.options.items())
    parts = [f"`{decoding.policy}`" + (f" ({options})" if options else "")]
    parts += [f"window `{decoding.window}`"] if decoding.window else []
    parts += [f"cache `{decoding.cache}`"] if decoding.cache else []
    parts += [f"guard `{one}`" for one in decoding.guard]
    return f"{', '.join(parts)}, blocks of {decoding.block_length}, unless you say otherwise"


def _cell(text: str) -> str:
    """A text that stays in its cell."""
    return " ".join(text.split()).replace("|", "\\|")


def _parity(folder: Path, manifest: Manifest) -> str:
    if VERIFICATION_FILE not in manifest.files:
        return "Not compared: it was exported without `--verify`."
    kept = Verification.from_json(text_of(read_plain(folder / VERIFICATION_FILE, MOST_BYTES)))
    return (
        f"`dawn-export --verify` compared it with the checkpoint ([{VERIFICATION_FILE}]"
        f"({VERIFICATION_FILE})):\n\n```text\n{kept.text()}\n```"
    )


def _measured(manifest: Manifest) -> str:
    recorded = manifest.decoding.measured
    said = [_section(MEASURED, _NO_SPEED), _NO_ACCURACY]
    if recorded is not None:
        said.append(
            f"The rule it is decoded by was chosen before the export: {_cell(recorded.line())}."
        )
    return "\n\n".join(said)


def shortened(words: Iterable[str]) -> list[str]:
    """Returns the words of a command with every path reduced to its last name.

    Args:
        words: As they were typed, with folders that are nobody's business.
    """
    return [_short(word) for word in words]


def _short(word: str) -> str:
    flag, equals, value = word.partition("=")
    if word.startswith("--") and equals:
        return f"{flag}={_short(value)}"
    return Path(word).name if "/" in word and Path(word).name else word
