"""The tokenizer of the artifact encodes and decodes as that of the checkpoint."""

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from dawn_export.text.tokenizer import ReadTokenizer, read_tokenizer
from support.qwen2 import (
    ADDED,
    ORDINARY,
    Reference,
    change_config,
    pieces,
    write_qwen2_files,
    write_stored,
)

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


def read(folder: Path) -> ReadTokenizer:
    found = read_tokenizer(folder)
    assert found is not None
    return found


def encode(tokenizer: ReadTokenizer, text: str) -> list[int]:
    ids: list[int] = tokenizer.tokenizer.encode(text).ids
    return ids


@given(MIXED)
def test_ids_equal_those_of_a_plain_byte_pair_encoder(
    reference: Reference, built: ReadTokenizer, text: str
) -> None:
    assert encode(built, text) == reference.encode(text)


@given(TEXTS)
def test_a_text_comes_back_in_normal_form(built: ReadTokenizer, text: str) -> None:
    ids = encode(built, text)
    assert built.tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


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
    assert tokenizer.config["eos_token"] == "<|nowhere|>"  # where there is no added_tokens_decoder
    assert tokenizer.idless == ("<|endoftext|>", "<|nowhere|>")
    assert tokenizer.notes == (
        "eos_token is '<|nowhere|>' of special_tokens_map.json; tokenizer_config.json has another "
        "one, not read",
    )


def test_newer_checkpoints_give_parts_in_one_file(qwen2: Path) -> None:
    (qwen2 / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|im_end|>"}))
    tokenizer = read(qwen2)
    assert tokenizer.config["eos_token"] == "<|endoftext|>"
    assert tokenizer.notes == (
        "eos_token is '<|endoftext|>' of tokenizer_config.json; special_tokens_map.json has "
        "another one, not read",
    )


def test_a_token_with_a_part_is_special_whatever_its_flags_say(tmp_path: Path) -> None:
    flags = {"600": {"content": "<|mask|>", "special": False}}
    write_qwen2_files(tmp_path, added_tokens_decoder=flags, pad_token="!")
    added = read(tmp_path).tokenizer.get_added_tokens_decoder()
    assert added[600].special
    assert [token.special for token in added.values() if token.content == "!"] == [True]


def test_a_tokenizer_json_goes_before_everything_else(tmp_path: Path) -> None:
    write_qwen2_files(tmp_path, added_tokens_decoder={}, additional_special_tokens=[])
    write_stored(tmp_path)
    tokenizer = read(tmp_path)
    assert encode(tokenizer, "ab<x>") == [2, 3]
    assert tokenizer.config["tokenizer_class"] == "DreamTokenizer"


def test_tokens_that_only_the_configuration_knows_are_added_to_a_tokenizer_json(
    tmp_path: Path,
) -> None:
    write_stored(tmp_path)
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
    write_stored(tmp_path, truncation=cut, padding=pad)
    assert encode(read(tmp_path), "ababab") == [2, 2, 2]


def test_a_checkpoint_without_a_tokenizer_has_none(tmp_path: Path) -> None:
    assert read_tokenizer(tmp_path) is None
