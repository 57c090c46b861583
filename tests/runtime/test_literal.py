"""`literal_text`: special tokens are the template's alone, whatever a message holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Conversation, Decoder, Filling, Manifest, OptionError, PromptError
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.literal import Literal, SpecialToken
from dawn_runtime.tokenizer import Tokenizer
from support.text import TEXT_MANIFEST, TextRecorder

SHIPPED = Path(__file__).parent.parent.parent / "models" / "tiny-dream-int8"
SPECIALS = ("<|mask|>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")
TOKENS = (SpecialToken("<|a|>", 1), SpecialToken("<|ab|>", 2), SpecialToken("|>|>", 3))


@pytest.fixture(scope="module")
def literal() -> Decoder:
    return Decoder.open(SHIPPED, threads=1, literal_text=True)


@pytest.fixture(scope="module")
def usual() -> Decoder:
    return Decoder.open(SHIPPED, threads=1)


def chat(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@settings(max_examples=40)
@given(st.text(max_size=40))
def test_ordinary_messages_are_read_as_ever(literal: Decoder, usual: Decoder, text: str) -> None:
    assert np.array_equal(literal.encode(chat(text)), usual.encode(chat(text)))


@settings(max_examples=40)
@given(st.lists(st.sampled_from([*SPECIALS, "a", " ", "<|", "|>", "\ufdd0", "\ufdd1"]), min_size=1))
def test_no_text_becomes_a_special_token(literal: Decoder, pieces: list[str]) -> None:
    text = "".join(pieces)
    plain, empty = literal.encode(text), literal.encode(chat(""))
    whole = literal.encode(chat(text))
    count = 1020  # ids from here on are special
    assert (plain < count).all()
    assert whole[whole >= count].tolist() == empty[empty >= count].tolist()
    assert literal.tokenizer is not None
    assert literal.tokenizer.decode(plain) == text, "nothing is lost either"
    assert text in literal.tokenizer.decode(whole)


def test_roles_and_templates_to_fill_are_text_too(literal: Decoder) -> None:
    turns = literal.encode([{"role": "user<|im_end|>", "content": "a"}])
    assert (turns == 1022).sum() == 1
    filling = Filling(["<|mask|> <|im_end|>", 2, "<|mask|>"], "a<|im_start|>")
    ids = literal.encode(filling)
    assert (ids == 1023).sum() == 2
    assert not np.isin(ids, [1020, 1021, 1022]).any()
    assert literal.generate(chat("say <|mask|>"), max_new_tokens=2).tokens.size


def test_tools_are_text_too_in_prompts_of_every_kind(literal: Decoder) -> None:
    assert literal.tokenizer is not None
    assert literal.chat is not None
    source = "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}" + literal.chat.source
    template = ChatTemplate(source, literal.chat.special_tokens)
    path = SHIPPED / "tokenizer.json"
    tokenizer = Tokenizer(path, literal=literal.manifest.tokens.all)
    engine = FakeEngine(literal.manifest)
    decoder = Decoder(literal.manifest, engine, tokenizer=tokenizer, chat=template)
    said = Conversation(chat("a"), [{"name": "<|im_end|>", "<|mask|>": 1}])
    ids = decoder.encode(said)
    assert (ids == 1022).sum() == 1, "the one that the template writes"
    assert '{"name": "<|im_end|>", "<|mask|>": 1}' in decoder.decode(ids)
    assert decoder.encode(Filling([2], said))[: len(ids)].tolist() == ids.tolist()
    assert np.array_equal(decoder.encode(Conversation(chat("a"))), decoder.encode(chat("a")))
    with pytest.raises(PromptError, match=r"tools is 5; expected a list of objects"):
        Conversation(chat("a"), 5)  # type: ignore[arg-type]
    with pytest.raises(PromptError, match=r"messages\[0\] has no content"):
        Conversation([{"role": "user"}])


def test_elsewhere_special_tokens_are_recognised_as_before(usual: Decoder) -> None:
    assert usual.encode("<|im_end|>").tolist() == [1022]
    with pytest.raises(PromptError, match="holds the mask token"):
        usual.encode("a <|mask|>")


def test_what_a_model_takes_for_special_is_so_whatever_its_tokenizer_says(
    tokenizer_json: Path, tmp_path: Path
) -> None:
    document = json.loads(tokenizer_json.read_text())
    for token in document["added_tokens"]:
        token["special"] = False
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document))
    assert Tokenizer(path).encode("<|mask|>").tolist() == [258]
    made = Tokenizer(path, literal=(256, 257, 258))
    assert made.encode("<|mask|><|end|>").max() < 256
    assert {one.text: one.id for one in made.special_tokens or ()}["<|mask|>"] == 258


def test_a_template_of_ones_own_is_kept_apart_from_what_it_holds(
    artifact_folder: Path, manifest_writer: Callable[[Path, Manifest], None]
) -> None:
    template = "{% for m in messages %}{{ m.content | trim }}<|end|>{% endfor %}"
    (artifact_folder / "chat_template.jinja").write_text(template)
    manifest_writer(artifact_folder, TEXT_MANIFEST)
    decoder = Decoder.open(artifact_folder, engine=TextRecorder(), literal_text=True)
    inside = decoder.encode("<|end|>").tolist()
    assert max(inside) < 256
    assert decoder.encode(chat(" <|end|> ")).tolist() == [*inside, 257]


def test_a_template_that_writes_nothing_is_an_empty_prompt(
    artifact_folder: Path, manifest_writer: Callable[[Path, Manifest], None]
) -> None:
    (artifact_folder / "chat_template.jinja").write_text("{% if false %}{% endif %}")
    manifest_writer(artifact_folder, TEXT_MANIFEST)
    decoder = Decoder.open(artifact_folder, engine=TextRecorder(), literal_text=True)
    with pytest.raises(PromptError, match="prompt is empty"):
        decoder.encode(chat("a"))


def test_messages_that_hold_themselves_are_refused(literal: Decoder) -> None:
    turn: dict[str, Any] = {"role": "user", "content": "a"}
    turn["again"] = [turn]
    with pytest.raises(PromptError, match="hold themselves"):
        literal.encode([turn])


@given(st.text("<|ab> x", max_size=30), st.text("<|ab> x", max_size=10))
def test_what_is_signed_is_text_and_the_rest_is_found(inside: str, around: str) -> None:
    made = Literal.of(TOKENS, inside, "")
    parts = list(made.parts(f"<|a|>{made.signed(inside)}"))
    assert parts[0] == TOKENS[0]
    assert parts[1:] == ([inside] if inside else [])
    # With text of the template around it nothing is lost.
    parts = list(made.parts(f"{around}\n{made.signed(inside)}\n{around}"))
    texts = [one if isinstance(one, str) else one.text for one in parts]
    assert "".join(texts) == f"{around}\n{inside}\n{around}"


def test_white_space_beside_a_token_goes_where_the_tokenizer_says() -> None:
    strips = SpecialToken("<s>", 7, lstrip=True, rstrip=True)
    made = Literal.of([strips], "", "")
    assert list(made.parts("a <s> \n b")) == ["a", strips, "b"]
    assert list(made.parts(" <s> ")) == [strips]


def test_every_character_of_private_use_in_a_message_is_refused() -> None:
    every = "".join(map(chr, [*range(0xFDD0, 0xFDF0), *range(0xE000, 0xF900)]))
    with pytest.raises(PromptError, match="private use"):
        Literal.of(TOKENS, [{"content": every}], "")


def test_the_setting_is_a_truth_value() -> None:
    with pytest.raises(OptionError, match="literal_text is 1"):
        Decoder.open(SHIPPED, literal_text=1)  # type: ignore[arg-type]
