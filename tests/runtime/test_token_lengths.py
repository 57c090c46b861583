"""How long a text of so many tokens can be, and where nobody can tell."""

import copy
import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder, PromptError
from dawn_runtime.token_lengths import characters_per_token
from dawn_runtime.tokenizer import Tokenizer

SHIPPED = Path(__file__).parents[2] / "models" / "tiny-dream" / "tokenizer.json"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def shipped() -> Tokenizer:
    return Tokenizer(SHIPPED)


def test_it_is_the_longest_token_added_ones_included(document: dict[str, Any]) -> None:
    added = max(len(token["content"]) for token in document["added_tokens"])
    assert characters_per_token(document) == max(added, *map(len, document["model"]["vocab"]))


@pytest.mark.parametrize(
    ("normalizer", "factor"),
    [
        ({"type": "NFC"}, 4),
        ({"type": "NFKC"}, 18),
        ({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "NFC"}]}, 4),
        ({"type": "Strip", "strip_left": True, "strip_right": True}, None),
        ({"type": "Replace", "pattern": {"String": "a"}, "content": ""}, None),
    ],
)
def test_normal_forms_make_it_longer_and_other_normalizers_boundless(
    normalizer: dict[str, Any], factor: int | None, document: dict[str, Any]
) -> None:
    plain = characters_per_token(document)
    assert plain is not None
    found = characters_per_token({**document, "normalizer": normalizer})
    assert found == (None if factor is None else plain * factor)


def test_the_factors_are_those_of_the_longest_decompositions() -> None:
    for form, longest in (("NFD", 4), ("NFKD", 18)):
        lengths = (len(unicodedata.normalize(form, chr(code))) for code in range(0x110000))
        assert max(lengths) == longest


@pytest.mark.parametrize("place", ["byte", "strip", "removed", "words", "model", "truncation"])
def test_there_is_no_bound_where_text_can_vanish(place: str, document: dict[str, Any]) -> None:
    changed = copy.deepcopy(document)
    if place == "byte":
        del changed["model"]["vocab"]["a"]
    elif place == "strip":
        changed["added_tokens"][0]["lstrip"] = True
    elif place == "removed":
        changed["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"
    elif place == "words":
        changed["pre_tokenizer"]["pretokenizers"].insert(0, {"type": "Whitespace"})
    elif place == "model":
        changed["model"]["type"] = "Unigram"
    else:
        changed["truncation"] = {"max_length": 4}
    assert characters_per_token(changed) is None


@given(
    text=st.text(
        alphabet=st.characters(exclude_categories=["Cs"]) | st.sampled_from("aeé \n<|im_start|>"),
        max_size=60,
    )
)
@settings(max_examples=200)
def test_no_text_is_longer_than_its_tokens_can_be(text: str, shipped: Tokenizer) -> None:
    most = shipped.most_characters(len(shipped.encode(text, add_special_tokens=False)))
    assert most is not None
    assert len(text) <= most


def test_a_text_of_ten_megabytes_is_refused_without_tokenizing_it(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("tokenized")

    monkeypatch.setattr(Tokenizer, "encode", never)
    text = "hello " * 2_000_000
    message = r"the prompt has 12\d{6} characters, more than \d+, which is the most that the 256"
    for call in (
        lambda: decoder.generate(text),
        lambda: decoder.generate(messages=[{"role": "user", "content": text}]),
        lambda: decoder.fill([text, 2]),
        lambda: decoder.encode(text),
    ):
        with pytest.raises(PromptError, match=message):
            call()


def test_a_long_text_that_may_fit_is_tokenized(decoder: Decoder) -> None:
    with pytest.raises(PromptError, match="the prompt has 2000 tokens and leaves no room"):
        decoder.generate("a" * 2000)
