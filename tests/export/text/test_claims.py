"""Two files of a checkpoint that claim one fact: which is followed, and that it is said."""

import json
from pathlib import Path
from typing import Any

import pytest

from dawn_export import ExportOptions, SourceError, export
from dawn_export.text.companions import write_companions
from dawn_export.text.template import read_template
from dawn_export.text.tokenizer import read_tokenizer
from dawn_models import Checkpoint
from support.checkpoints import write_checkpoint, write_index
from support.qwen2 import ADDED, VOCABULARY_SIZE, change_config, write_qwen2_files

IDS = {
    "vocab_size": VOCABULARY_SIZE + len(ADDED),
    "mask_token_id": VOCABULARY_SIZE + ADDED.index("<|mask|>"),
    "eos_token_id": VOCABULARY_SIZE,
    "pad_token_id": VOCABULARY_SIZE,
}


def notes_of(folder: Path) -> tuple[str, ...]:
    found = read_tokenizer(folder)
    assert found is not None
    return found.notes


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """tokenizer.json beside the older files that it was made of."""
    folder = write_qwen2_files(tmp_path / "both")
    found = read_tokenizer(folder)
    assert found is not None
    found.tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_older_files_that_say_the_same_are_not_mentioned(both: Path) -> None:
    assert notes_of(both) == ()


@pytest.mark.parametrize("own_code", [True, False])
def test_older_files_that_differ_are_named(both: Path, own_code: bool) -> None:
    if not own_code:
        change_config(both, tokenizer_class="Qwen2TokenizerFast")
    (both / "vocab.json").write_text(json.dumps({"a": 1}))
    with (both / "merges.txt").open("a") as file:
        file.write("a b\n")
    (note,) = notes_of(both)
    assert note.startswith("vocab.json and merges.txt differ from tokenizer.json, which is taken")
    assert ("the code of DreamTokenizer reads them" in note) == own_code


@pytest.mark.parametrize("content", ["{", "[]", '{"a": "b"}'])
def test_older_files_that_are_broken_are_no_reason_to_stop(both: Path, content: str) -> None:
    (both / "vocab.json").write_text(content)
    (note,) = notes_of(both)
    assert note.startswith("vocab.json differ")


def test_a_sentencepiece_model_is_named(both: Path, tmp_path: Path) -> None:
    (both / "tokenizer.model").write_bytes(b"")
    assert notes_of(both) == ("tokenizer.model is not read, tokenizer.json is the tokenizer",)
    alone = write_checkpoint(tmp_path / "alone", "dream")
    (alone / "tokenizer.model").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (warning,) = write_companions(Checkpoint.open(alone), tmp_path / "out")
    assert "decodes token ids only; tokenizer.model is not read, let transformers make" in warning


def test_flags_that_differ_are_named(both: Path) -> None:
    config = json.loads((both / "tokenizer_config.json").read_text())
    decoder: dict[str, Any] = config["added_tokens_decoder"]
    decoder[str(VOCABULARY_SIZE + 1)]["lstrip"] = True
    change_config(both, added_tokens_decoder=decoder)
    (note,) = notes_of(both)
    assert note.startswith("flags of the added token '<|im_start|>' are those of tokenizer_config")


TEMPLATES = [
    ({"chat_template.jinja": "a"}, "a", "a", None),
    ({"chat_template.jinja": "a"}, "b", "a", "chat_template.jinja is the chat template"),
    ({"chat_template.json": '{"chat_template": "a"}'}, "b", "b", None),
    ({"chat_template.json": '{"chat_template": "a"}'}, None, None, "is a processor's and not"),
    ({}, [{"name": "rag", "template": "r"}], None, "templates named rag, but none named default"),
    ({}, {"default": "d", "rag": "r"}, "d", None),
    (
        {"additional_chat_templates/default.jinja": "d", "chat_template.jinja": "a"},
        None,
        "d",
        "additional_chat_templates/default.jinja is the chat template",
    ),
    ({"additional_chat_templates/rag.jinja": "r"}, "b", "b", None),
]


@pytest.mark.parametrize(("files", "config", "taken", "note"), TEMPLATES)
def test_one_template_is_taken_and_another_one_named(
    tmp_path: Path, files: dict[str, str], config: object, taken: str | None, note: str | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": config}))
    notes: list[str] = []
    assert read_template(tmp_path, notes) == taken
    assert (note is None) == (notes == [])
    assert all(note in said for said in notes if note is not None)


@pytest.mark.parametrize(
    "template",
    [
        "{% generation %}{{ messages[0].content }}{% endgeneration %}",
        "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{% endfor %}",
        "{{ strftime_now('%d %b') }}{{ raise_exception('never run') }}{{ messages | tojson }}",
    ],
)
def test_what_templates_may_use_compiles(tmp_path: Path, template: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)
    assert read_template(tmp_path) == template


@pytest.mark.parametrize("template", ["{{", "{% if %}", "{% nonsense %}", "{{" + "(" * 9999])
def test_what_does_not_compile_is_one_line(tmp_path: Path, template: str) -> None:
    (tmp_path / "chat_template.jinja").write_text(template)
    with pytest.raises(
        SourceError, match=r"jinja: the chat template does not compile \(.*\); "
    ) as e:
        read_template(tmp_path)
    assert "\n" not in str(e.value)


def test_ids_of_the_tokenizer_that_are_not_followed_are_named(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint", "dream", **{**IDS, "eos_token_id": 3})
    write_qwen2_files(source, eos_token="<tool_call>", pad_token="!")
    (tmp_path / "out").mkdir()
    eos, pad = write_companions(Checkpoint.open(source), tmp_path / "out")
    assert eos.startswith("eos_token '<tool_call>' of the tokenizer, id 423, ends no answer: eos_")
    assert pad.startswith("pad_token '!' of the tokenizer, id ")
    assert pad.endswith(f"is not used: pad_token_id is {VOCABULARY_SIZE}")


def test_two_masks_are_refused(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "checkpoint", "dream", **{**IDS, "mask_token_id": 3})
    write_qwen2_files(source)
    with pytest.raises(SourceError, match=r"'<\|mask\|>' of the tokenizer is id 425, but mask_tok"):
        write_companions(Checkpoint.open(source), tmp_path)


@pytest.mark.usefixtures("traced")
def test_what_is_not_followed_is_in_the_report(small: Path, tmp_path: Path) -> None:
    write_index(small, {"model.norm.weight": "other.safetensors"})
    report = export(small, tmp_path / "out", ExportOptions(evidence_layers=2))
    assert report.warnings[0].endswith("not read: model.safetensors.index.json")
