"""The files beside the graph: whose they are, and what is said where one is missing."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from dawn_export import ExportOptions, SourceError, export
from dawn_export.text.companions import read_template, write_companions
from dawn_models import Checkpoint, ConfigError
from dawn_runtime import Artifact
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.tokenizer import Tokenizer as TextTokenizer
from support.checkpoints import write_checkpoint
from support.qwen2 import ADDED, TEMPLATE, VOCABULARY_SIZE, Reference, write_qwen2_files

TOKENIZED = {
    "vocab_size": VOCABULARY_SIZE + len(ADDED),
    "mask_token_id": VOCABULARY_SIZE + ADDED.index("<|mask|>"),
    "eos_token_id": VOCABULARY_SIZE,
    "pad_token_id": VOCABULARY_SIZE,
}


def companions(checkpoint: Path, folder: Path) -> tuple[str, ...]:
    folder.mkdir()
    return write_companions(Checkpoint.open(checkpoint), folder)


def in_cache(checkpoint: Path, cache: Path) -> Path:
    """Moves a checkpoint into a cache as huggingface_hub lays it out: links into `blobs`."""
    snapshot, blobs = cache / "snapshots" / "0123abc", cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for number, path in enumerate(sorted(checkpoint.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(Path("../../blobs") / str(number))
    return snapshot


@pytest.mark.usefixtures("traced")
def test_a_cached_dream_checkpoint_becomes_files_that_read_a_chat(
    small: Path, tmp_path: Path
) -> None:
    reference = Reference.read(write_qwen2_files(small))
    snapshot = in_cache(small, tmp_path / "cache")
    (snapshot / "tokenization_dream.py").write_text("raise SystemExit('never run')")
    export(snapshot, tmp_path / "out", ExportOptions(evidence_layers=2))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("dawn.json", "model.onnx", "model.onnx.data", "config.json"),
        *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"),
    }
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    artifact = Artifact.open(tmp_path / "out", verify="full")
    chat = ChatTemplate.from_artifact(artifact)
    assert chat is not None
    text = chat.render([{"content": "Größe 12?"}])
    assert text == "<|im_start|>Größe 12?<|im_end|>"
    ids = TextTokenizer(artifact.path("tokenizer.json")).encode(text, add_special_tokens=False)
    assert ids.tolist() == reference.encode(text)


def test_the_template_has_one_place_in_the_artifact(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint", "dream", **TOKENIZED)
    write_qwen2_files(source)
    assert companions(source, tmp_path / "out") == ()
    assert (tmp_path / "out" / "chat_template.jinja").read_text() == TEMPLATE
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert "chat_template" not in config
    assert config["bos_token"] == "<|beginoftext|>"


def test_the_terms_of_a_checkpoint_go_with_its_weights(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "source", "dream")
    terms = {"LICENSE": b"do as you like\n", "NOTICE.txt": b"made by\r\nus\xff"}
    for name, text in terms.items():
        (source / name).write_bytes(text)
    companions(source, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in terms} == terms


def test_a_checkpoint_without_a_tokenizer_is_exported_with_a_warning(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint", "llada")
    (source / "chat_template.jinja").write_text("useless")
    *_, warning = companions(source, tmp_path / "out")
    assert warning == "the checkpoint has no tokenizer.json: the artifact decodes token ids only"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["config.json"]


def test_what_a_tokenizer_lacks_is_said(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint", "llada")
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 40}, merges=[]))
    tokenizer.save(str(source / "tokenizer.json"))
    config = {"bos_token": "<s>", "pad_token": "<pad>"}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    template, special, ids = companions(source, tmp_path / "out")
    assert template.startswith("the checkpoint has no chat template: give whole prompts, or add")
    assert special == (
        "tokenizer_config.json names the special token '<pad>', which has no id (and 1 more): "
        "it is ordinary text"
    )
    assert ids.startswith("the tokenizer has ids up to 40, the model only up to 39: texts with")


def test_a_tokenizer_json_alone_is_enough(tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "models" / "tiny-llada"
    source = write_checkpoint(tmp_path / "checkpoint", "llada", vocab_size=2048, embedding_size=...)
    for name in ("tokenizer.json", "chat_template.jinja"):
        shutil.copyfile(shipped / name, source / name)
    assert companions(source, tmp_path / "out") == ()
    before, after = (
        Tokenizer.from_file(str(folder / "tokenizer.json"))
        for folder in (shipped, tmp_path / "out")
    )
    assert before.get_vocab() == after.get_vocab()
    text = "Sort: 47 <|mdm_mask|> élan"
    assert before.encode(text).ids == after.encode(text).ids


def put_template(folder: Path, config: Any, file: str | None = None) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": config}))
    if file is not None:
        (folder / "chat_template.jinja").write_text(file)
    return folder


@pytest.mark.parametrize(
    ("config", "file", "expected"),
    [
        ("text", None, "text"),
        ("text", "file", "file"),
        (None, "file", "file"),
        (None, None, None),
        ([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}], None, "d"),
    ],
)
def test_the_template_is_that_of_the_file_or_the_default_one(
    tmp_path: Path, config: Any, file: str | None, expected: str | None
) -> None:
    assert read_template(put_template(tmp_path, config, file)) == expected


@pytest.mark.parametrize("config", [3, {}, [], [3], [{"name": "default", "template": 3}], "\ud800"])
def test_a_template_that_is_none_is_one_clear_line(tmp_path: Path, config: Any) -> None:
    put_template(tmp_path, config)
    with pytest.raises(ConfigError, match=r"field 'chat_template': got .*, expected a text, or a"):
        read_template(tmp_path)


def test_templates_without_a_default_are_named_and_none_is_taken(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint", "dream", **TOKENIZED)
    listed = [{"name": "tool_use", "template": "t"}, {"name": "rag", "template": "r"}]
    write_qwen2_files(source, chat_template=listed)
    warnings = companions(source, tmp_path / "out")
    assert (
        "tokenizer_config.json has chat templates named rag, tool_use, but none named default: "
        "none is taken"
    ) in warnings
    assert any("give whole prompts, or add a chat_template.jinja" in one for one in warnings)
    assert not (tmp_path / "out" / "chat_template.jinja").exists()


def test_a_template_that_is_not_text_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(SourceError, match=r"chat_template.jinja: not a text in UTF-8 \(.*\)"):
        read_template(tmp_path)


def test_special_tokens_of_an_older_file_are_kept(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint", "dream", **TOKENIZED)
    write_qwen2_files(source, bos_token=...)
    special = {"bos_token": {"content": "<|beginoftext|>", "lstrip": False}}
    (source / "special_tokens_map.json").write_text(json.dumps(special))
    assert companions(source, tmp_path / "out") == ()
    config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text())
    assert config["bos_token"] == "<|beginoftext|>"
