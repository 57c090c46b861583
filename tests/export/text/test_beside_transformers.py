"""The tokenizer that we make of Qwen2's older files beside the one that transformers makes."""

from pathlib import Path
from typing import Any

import pytest

from dawn_export.text.tokenizer import read_tokenizer
from support.qwen2 import ADDED, CORPUS, write_qwen2_files

pytestmark = pytest.mark.transformers

HARD = (
    "",
    " ",
    "\n",
    "\r\n\r\n \t x",
    "   leading and trailing   ",
    "don't DON'T we'LL I'm you'd they've it's 'tis ''s",
    "2048 1,234.5 ½ ² Ⅷ ٣ 3rd 0x1F",
    "e\u0301 \u00e9 \u212b A\u030a \ufb01 fi \u1e9b\u0323",  # NFC, not NFKC
    "Größe, façade, naïve, Straße; привет мир 你好 世界。日本語 نص عربي हिन्दी",
    "🙂🚀 👩\u200d👩\u200d👧 🇩🇪 \u2764\ufe0f",
    "\u00a0x\u2003y\u3000z\u200bq\u0085r\u2028s",
    "a\x00b\x07c\x1bd\x7fe",
    "\ufeffbyte order mark",
    "\U0010ffff \ufffd \ue000",
    "<|im_start|>user\nhi<|im_end|>\n<|mask|><|mask|>x<|mask|>",
    "<|im_ start|> <| mask |> <|mask|",
    '<tool_call>\n{"a": [1, 2]}\n<tool_call>',
    "x<|endoftext|><|endoftext|> y",
    "def f(a):\n\treturn a**2  # ok\n\n\n",
    "....!!!??? ---- ==== __init__ a_b-c",
    "a" * 500,
    " " * 300 + "x",
    CORPUS,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_qwen2_files(tmp_path_factory.mktemp("qwen2"), tokenizer_class="Qwen2Tokenizer")


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    from transformers import Qwen2Tokenizer

    return Qwen2Tokenizer.from_pretrained(folder)


@pytest.mark.parametrize("text", HARD, ids=lambda text: ascii(text[:20]))
def test_ids_and_decoded_texts_are_those_of_transformers(
    text: str, folder: Path, theirs: Any
) -> None:
    found = read_tokenizer(folder)
    assert found is not None
    ids = found.tokenizer.encode(text).ids
    assert ids == theirs.encode(text)
    for skip in (True, False):
        decoded = found.tokenizer.decode(ids, skip_special_tokens=skip)
        assert decoded == theirs.decode(
            ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False
        )


def test_special_tokens_are_the_same(folder: Path, theirs: Any) -> None:
    found = read_tokenizer(folder)
    assert found is not None
    ours = found.tokenizer.get_added_tokens_decoder()
    assert {n: t.content for n, t in ours.items()} == {
        n: t.content for n, t in theirs.added_tokens_decoder.items()
    }
    assert {t.content for t in ours.values()} == set(ADDED)
    assert found.part("mask_token")[1] == theirs.mask_token_id
