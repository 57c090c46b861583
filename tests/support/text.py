"""A toy tokenizer over bytes, a fake engine for it, and an artifact folder of both."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from dawn_runtime import Manifest, StepInputs, StepOutputs
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import FileEntry

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

TEXT_MANIFEST = fake_manifest(vocab_size=259, max_length=256)


class TextRecorder(FakeEngine):
    """A fake engine that keeps its inputs and counts how often it was closed."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(replace(TEXT_MANIFEST, **changes))
        self.seen: list[StepInputs] = []
        self.closed = 0

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.seen.append(inputs)
        return super().run(inputs)

    def close(self) -> None:
        self.closed += 1


def write_tokenizer(path: Path) -> Path:
    """Writes a tokenizer with one token for each byte, so characters span tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|pad|>", "<|end|>", "<|mask|>"]  # 256, 257, 258: as in fake_manifest(259)
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in specials])
    tokenizer.save(str(path))
    return path


def write_artifact(folder: Path, tokenizer: Path) -> Path:
    """Makes a folder that opens, with a tokenizer, a template and a graph of four bytes."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"onnx")
    (folder / "model.onnx.data").write_bytes(bytes(range(200)))
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    (folder / "chat_template.jinja").write_text(TEMPLATE.encode().decode("unicode_escape"))
    write_manifest(folder, TEXT_MANIFEST)
    return folder


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `dawn.json` with the sizes and hashes of what lies in the folder."""
    files = {
        path.name: FileEntry(path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in folder.iterdir()
        if path.name != "dawn.json"
    }
    document = json.loads(manifest.to_json())
    document["files"] = {
        name: {"size": entry.size, "sha256": entry.sha256} for name, entry in files.items()
    }
    (folder / "dawn.json").write_text(json.dumps(document))
