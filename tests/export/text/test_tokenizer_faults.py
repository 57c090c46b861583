"""Tokenizer files that are broken or lead elsewhere: one clear line for each."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from dawn_export import SourceError
from dawn_export.text.tokenizer import read_tokenizer
from dawn_models import CheckpointError
from support.qwen2 import change_config, write_qwen2_files, write_stored


def spoil_vocabulary(folder: Path, **entries: Any) -> None:
    path = folder / "vocab.json"
    values = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def append_merge(folder: Path, line: str) -> None:
    with (folder / "merges.txt").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def added_json(folder: Path, **entries: Any) -> None:
    (folder / "added_tokens.json").write_text(json.dumps(entries))


ONE = {"600": {"content": "<one>"}}
SPOILERS: dict[str, tuple[Any, str]] = {
    "unknown left": (lambda f: append_merge(f, "qqq a"), r"line \d+: token 'qqq' is not in vocab"),
    "unknown sum": (lambda f: append_merge(f, "Q Z"), r"line \d+: token 'QZ' is not in vocab.json"),
    "three parts": (lambda f: append_merge(f, "a b c"), r"got 'a b c', expected two tokens"),
    "no merges": (lambda f: (f / "merges.txt").unlink(), "no merges.txt; vocab.json and merges"),
    "no vocabulary": (lambda f: (f / "vocab.json").unlink(), "no vocab.json; vocab.json and"),
    "merges are bytes": (
        lambda f: (f / "merges.txt").write_bytes(b"\xff\xfe"),
        "merges.txt: not a text in UTF-8 .*; download it again",
    ),
    "merges are huge": (
        lambda f: (f / "merges.txt").write_bytes(b"a b\n" * 2**22 + b"\n"),
        "merges.txt: 16777217 bytes, at most 16777216 are read",
    ),
    "shared id": (lambda f: spoil_vocabulary(f, zzz=3), "'.*' and 'zzz' share the id 3; download"),
    "text for an id": (
        lambda f: spoil_vocabulary(f, a="7"),
        "field 'a': got \"7\", expected an id",
    ),
    "true for an id": (
        lambda f: spoil_vocabulary(f, a=True),
        "field 'a': got true, expected an id",
    ),
    "huge id": (lambda f: spoil_vocabulary(f, a=2**40), "got 1099511627776, expected an id from 0"),
    "missing byte": (lambda f: spoil_vocabulary(f, a=...), "no token 'a'; expected the vocabulary"),
    "half a character": (
        lambda f: spoil_vocabulary(f, **{"\ud800": 5000}),
        r"vocab.json: not a tokenizer \(.*surrogates not allowed.*\); download it again",
    ),
    "broken JSON": (
        lambda f: (f / "vocab.json").write_text('{"a": '),
        "vocab.json: not readable as JSON",
    ),
    "list": (
        lambda f: (f / "vocab.json").write_text("[]"),
        "vocab.json: .*got .*, expected a JSON",
    ),
    "nested JSON": (
        lambda f: (f / "vocab.json").write_bytes(b"[" * 10_000_000),
        "vocab.json: not readable as JSON",
    ),
    "other class": (
        lambda f: change_config(f, tokenizer_class="GPT2Tokenizer"),
        "field 'tokenizer_class': got \"GPT2Tokenizer\", expected DreamTokenizer, Qwen2Tokenizer",
    ),
    "no class": (
        lambda f: change_config(f, tokenizer_class=...),
        "field 'tokenizer_class': got nothing, expected DreamTokenizer",
    ),
    "leading space": (
        lambda f: change_config(f, add_prefix_space=True),
        "field 'add_prefix_space': got true, expected false or null",
    ),
    "leading token": (
        lambda f: change_config(f, add_bos_token=True),
        "field 'add_bos_token': got true, expected false or null",
    ),
    "added tokens are a list": (
        lambda f: change_config(f, added_tokens_decoder=[1]),
        "field 'added_tokens_decoder': got .*, expected an object of ids to tokens",
    ),
    "added token at no id": (
        lambda f: change_config(f, added_tokens_decoder={"first": {"content": "<one>"}}),
        "field 'added_tokens_decoder.*': got .*, expected an id up to .*, an object with 'content'",
    ),
    "added token of no text": (
        lambda f: change_config(f, added_tokens_decoder={"600": {"special": True}}),
        "field 'added_tokens_decoder.*': got .*, expected an id up to .*, an object with 'content'",
    ),
    "added token at a huge id": (
        lambda f: change_config(f, added_tokens_decoder={"9" * 10: {"content": "<one>"}}),
        "field 'added_tokens_decoder.9999999999': got .*, expected an id up to 2147483647",
    ),
    "flag is a text": (
        lambda f: change_config(f, added_tokens_decoder={"6": {"content": "x", "lstrip": "no"}}),
        "field 'lstrip': got \"no\", expected true or false",
    ),
    "special tokens are a number": (
        lambda f: change_config(f, additional_special_tokens=3),
        "field 'additional_special_tokens': got 3, expected a list of tokens",
    ),
    "id of the vocabulary": (
        lambda f: change_config(f, added_tokens_decoder={"7": {"content": "<one>"}}),
        "added token '<one>' with id 7 collides with '.*', id 7; download the tokenizer's",
    ),
    "token of the vocabulary": (
        lambda f: change_config(f, added_tokens_decoder={"600": {"content": "a"}}),
        r"added token 'a' with id 600 collides with 'a', id \d+; download the tokenizer's",
    ),
    "one token at two ids": (
        lambda f: (change_config(f, added_tokens_decoder=ONE), added_json(f, **{"<one>": 601})),
        "added token '<one>' with id 601 collides with '<one>', id 600",
    ),
    "two tokens at one id": (
        lambda f: (change_config(f, added_tokens_decoder=ONE), added_json(f, **{"<two>": 600})),
        "added token '<two>' with id 600 collides with '<one>', id 600",
    ),
    "older token at a huge id": (
        lambda f: added_json(f, **{"<two>": 2**40}),
        "added_tokens.json: field '<two>': got 1099511627776, expected an integer of at most",
    ),
    "older token at no id": (
        lambda f: added_json(f, **{"<two>": "600"}),
        "added_tokens.json: field '<two>': got \"600\", expected an integer",
    ),
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, spoiler: str) -> None:
    spoil, message = SPOILERS[spoiler]
    spoil(write_qwen2_files(tmp_path))
    with pytest.raises((SourceError, CheckpointError), match=message) as caught:
        read_tokenizer(tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_a_token_that_a_tokenizer_json_cannot_place_is_refused(tmp_path: Path) -> None:
    write_stored(tmp_path)
    flags = {"9": {"content": "<y>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": flags}))
    with pytest.raises(
        SourceError, match=r"added token '<y>' has id 9 .*, but the next free one is 4"
    ):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"added_tokens": 1}', b'{"version": "1.0", "model": {}}', b"\xff", b"[" * 10**7],
)
def test_a_broken_tokenizer_json_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(SourceError, match=r"tokenizer.json: not a tokenizer \(.*\); download"):
        read_tokenizer(tmp_path)


def test_a_panic_of_the_library_is_one_clear_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shipped = Path(__file__).parents[3] / "models" / "tiny-llada" / "tokenizer.json"
    document = json.loads(shipped.read_text(encoding="utf-8"))
    document["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(SourceError, match=r"tokenizer.json: not a tokenizer \(.*\); download"):
        read_tokenizer(tmp_path)
    assert capfd.readouterr().err == ""  # nor a report of its own


def test_a_pipe_is_no_tokenizer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(SourceError, match=r"cannot be read \(is not a regular file\); download"):
        read_tokenizer(tmp_path)


def test_a_tokenizer_json_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(2**30)
    with pytest.raises(SourceError, match="1073741824 bytes, at most"):
        read_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "tokenizer_config.json"])
def test_links_out_of_the_checkpoint_are_not_followed(tmp_path: Path, name: str) -> None:
    folder = write_qwen2_files(tmp_path / "checkpoint")
    (tmp_path / "secret").write_text('{"a": 1}')
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match=f"{name}: links to .*secret, outside its folder; copy"):
        read_tokenizer(folder)
