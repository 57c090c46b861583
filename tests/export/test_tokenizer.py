"""The tokenizer of the artifact encodes and decodes as that of the checkpoint."""

import json
import os
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models

from dawn_export import SourceError
from dawn_export.tokenizer import ReadTokenizer, read_tokenizer
from dawn_models import CheckpointError
from support.qwen2 import ADDED, ORDINARY, Reference, pieces, write_qwen2_files

SINCE_2002 = unicodedata.ucd_3_2_0
STABLE = st.characters(codec="utf-8").filter(
    # Characters whose class has been the same ever since, whoever's tables are newer.
    lambda c: SINCE_2002.category(c) == unicodedata.category(c) != "Cn"
)
TRICKY = ("'s", "'LL", "don't", "  ", "\n\n", " \r\n", "1024", "²", "_x", " .", "e\u0301", "\u212b")
TEXTS = st.lists(STABLE | st.sampled_from(TRICKY)).map("".join)
MIXED = st.lists(STABLE | st.sampled_from([*TRICKY, *ADDED, "<|im_", "|>"])).map("".join)


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen2_files(tmp_path_factory.mktemp("qwen2"))


@pytest.fixture(scope="module")
def built(qwen2: Path) -> ReadTokenizer:
    return read(qwen2)


@pytest.fixture(scope="module")
def reference(qwen2: Path) -> Reference:
    return Reference.read(qwen2)


@pytest.fixture
def copy(qwen2: Path, tmp_path: Path) -> Path:
    """The files of `qwen2`, to spoil."""
    return Path(shutil.copytree(qwen2, tmp_path / "copy"))


def read(folder: Path) -> ReadTokenizer:
    found = read_tokenizer(folder)
    assert found is not None
    return found


def encode(tokenizer: ReadTokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.tokenizer.encode(text).ids
    return ids


def change_config(folder: Path, **fields: Any) -> None:
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


@settings(deadline=None)
@given(MIXED)
def test_ids_equal_those_of_a_plain_byte_pair_encoder(
    reference: Reference, built: ReadTokenizer, text: str
) -> None:
    assert encode(built, text) == reference.encode(text)


@settings(deadline=None)
@given(TEXTS)
def test_a_text_comes_back_in_normal_form(built: ReadTokenizer, text: str) -> None:
    ids = encode(built, text)
    assert built.tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


@settings(deadline=None)
@given(st.lists(st.sampled_from(ADDED)))
def test_added_tokens_are_single_ids_wherever_they_stand(
    built: ReadTokenizer, tokens: list[str]
) -> None:
    ids = encode(built, "".join(tokens))
    assert [built.tokenizer.id_to_token(number) for number in ids] == tokens
    ordinary = "".join(token for token in tokens if token in ORDINARY)
    assert built.tokenizer.decode(ids) == ordinary
    assert built.tokenizer.decode(ids, skip_special_tokens=False) == "".join(tokens)


def test_added_tokens_keep_their_ids_and_flags(qwen2: Path, built: ReadTokenizer) -> None:
    written = json.loads((qwen2 / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    found = built.tokenizer.get_added_tokens_decoder()
    assert {str(number): token.content for number, token in found.items()} == {
        number: token["content"] for number, token in written.items()
    }
    assert [token.content for token in found.values() if not token.special] == list(ORDINARY)
    assert built.idless == ()


def test_digits_are_single_tokens(built: ReadTokenizer) -> None:
    assert list(pieces("in 2048,")) == ["in", " ", "2", "0", "4", "8", ","]
    tokens = [built.tokenizer.id_to_token(number) for number in encode(built, "2048")]
    assert tokens == ["2", "0", "4", "8"]


def test_text_is_normalised_before_it_is_cut(built: ReadTokenizer) -> None:
    assert encode(built, "e\u0301") == encode(built, "\u00e9")
    assert encode(built, "\ufb01") != encode(built, "fi")  # NFC, not NFKC


def test_nothing_in_the_configuration_asks_for_code(built: ReadTokenizer) -> None:
    assert "auto_map" not in built.config
    assert built.config["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert built.config["mask_token"] == "<|mask|>"


def test_tokens_at_ids_with_gaps_before_them_stay_there(tmp_path: Path) -> None:
    far = {"900": {"content": "<|far|>", "special": True}, "700": {"content": "<|near|>"}}
    tokenizer = read(write_qwen2_files(tmp_path, added_tokens_decoder=far))
    assert encode(tokenizer, "<|near|><|far|>") == [700, 900]
    tokenizer.tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.encode("<|near|><|far|>").ids == [700, 900]


def test_flags_decide_how_an_added_token_is_found(tmp_path: Path) -> None:
    flags = {
        "600": {"content": "<l>", "lstrip": True},
        "601": {"content": "<r>", "rstrip": True},
        "602": {"content": "word", "single_word": True},
        "603": {"content": "\u00e9t\u00e9", "normalized": True},
    }
    tokenizer = read(write_qwen2_files(tmp_path, added_tokens_decoder=flags))
    x = encode(tokenizer, "x")
    assert encode(tokenizer, "x  <l>x") == [*x, 600, *x]
    assert encode(tokenizer, "x<r>  x") == [*x, 601, *x]
    assert 602 in encode(tokenizer, "a word.")
    assert 602 not in encode(tokenizer, "swords")
    assert encode(tokenizer, "e\u0301te\u0301") == [603]


def test_older_checkpoints_name_added_tokens_in_files_of_their_own(tmp_path: Path) -> None:
    write_qwen2_files(tmp_path, added_tokens_decoder=..., bos_token=..., mask_token=...)
    change_config(tmp_path, additional_special_tokens=[])
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|mask|>": 501, "<extra>": 500}))
    special = {"mask_token": {"content": "<|mask|>"}, "eos_token": "<|nowhere|>"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    tokenizer = read(tmp_path)
    added = tokenizer.tokenizer.get_added_tokens_decoder()
    assert {number: (token.content, token.special) for number, token in added.items()} == {
        500: ("<extra>", False),
        501: ("<|mask|>", True),
    }
    assert tokenizer.config["mask_token"] == "<|mask|>"
    assert tokenizer.config["eos_token"] == "<|endoftext|>"  # of tokenizer_config.json, goes first
    assert tokenizer.idless == ("<|endoftext|>",)


def test_a_token_with_a_part_is_special_whatever_its_flags_say(tmp_path: Path) -> None:
    flags = {"600": {"content": "<|mask|>", "special": False}}
    write_qwen2_files(tmp_path, added_tokens_decoder=flags, pad_token="!")
    added = read(tmp_path).tokenizer.get_added_tokens_decoder()
    assert added[600].special
    assert [token.special for token in added.values() if token.content == "!"] == [True]


def stored(folder: Path, **changes: Any) -> Tokenizer:
    """Writes a tokenizer.json with one added token."""
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    tokenizer.add_tokens([AddedToken("<x>", special=True, normalized=False)])
    document = json.loads(tokenizer.to_str()) | changes
    (folder / "tokenizer.json").write_text(json.dumps(document))
    return tokenizer


def test_a_tokenizer_json_goes_before_everything_else(tmp_path: Path) -> None:
    write_qwen2_files(tmp_path, added_tokens_decoder={}, additional_special_tokens=[])
    stored(tmp_path)
    tokenizer = read(tmp_path)
    assert encode(tokenizer, "ab<x>") == [2, 3]
    assert tokenizer.config["tokenizer_class"] == "DreamTokenizer"


def test_tokens_that_only_the_configuration_knows_are_added_to_a_tokenizer_json(
    tmp_path: Path,
) -> None:
    stored(tmp_path)
    flags = {"3": {"content": "<x>", "special": False}, "4": {"content": "<y>", "special": True}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": flags}))
    tokenizer = read(tmp_path)
    assert encode(tokenizer, "a<y><x>") == [0, 4, 3]
    written = Tokenizer.from_str(tokenizer.tokenizer.to_str())
    assert written.decode([0, 4, 3]) == "a <x>"  # the flags beside it count


def test_truncation_left_over_from_training_is_dropped(tmp_path: Path) -> None:
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    pad = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "a",
    }
    stored(tmp_path, truncation=cut, padding=pad)
    assert encode(read(tmp_path), "ababab") == [2, 2, 2]


def test_a_checkpoint_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert read_tokenizer(tmp_path) is None


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
def test_a_broken_file_is_one_clear_line(copy: Path, spoiler: str) -> None:
    spoil, message = SPOILERS[spoiler]
    spoil(copy)
    with pytest.raises((SourceError, CheckpointError), match=message) as caught:
        read_tokenizer(copy)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_a_token_that_a_tokenizer_json_cannot_place_is_refused(tmp_path: Path) -> None:
    stored(tmp_path)
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
