"""A small tokenizer in Qwen2's older format, and a slow, plain one that it must equal.

The reference shares nothing with the `tokenizers` library: it scans texts character by character
with the categories of Python's Unicode tables and merges pairs as byte pair encoding was first
described (Sennrich et al., arXiv 1508.07909), one lowest-ranked pair at a time.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

CORPUS = (
    "The quick brown fox jumps over the lazy dog. It's 3 + 4 = 7, isn't it? They'll say we've 1024."
    "\n\ndef add(a, b):\n    return a + b  # sums\n\n\n"
    "Größe, façade, naïve, Straße; привет мир, как дела? 你好 世界。今天天气很好。日本語のテスト"
    " نص عربي हिन्दी 🙂🚀 e\u0301 \u00a0 x\t\ty\r\n"
) * 3
VOCABULARY_SIZE = 420
ADDED = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<tool_call>",
    "<|beginoftext|>",
    "<|mask|>",
)
ORDINARY = ("<tool_call>",)
"""Added tokens that are not special."""

TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>{% endfor %}"

_SPACE = frozenset("\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | frozenset(
    map(chr, range(0x2000, 0x200B))
)
_NEWLINES = frozenset("\r\n")
_CONTRACTIONS = ("s", "t", "re", "ve", "m", "ll", "d")


def write_qwen2_files(folder: Path, **config: Any) -> Path:
    """Writes vocab.json, merges.txt and tokenizer_config.json as Dream ships them.

    Args:
        folder: Where to write; it is made if it does not exist.
        **config: Changes of tokenizer_config.json; `...` removes a field.
    """
    folder.mkdir(parents=True, exist_ok=True)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE, initial_alphabet=alphabet, show_progress=False
    )
    trained.train_from_iterator([CORPUS], trainer)
    trained.model.save(str(folder))
    fields = dream_config(len(json.loads((folder / "vocab.json").read_text()))) | config
    fields = {name: value for name, value in fields.items() if value is not ...}
    (folder / "tokenizer_config.json").write_text(json.dumps(fields), encoding="utf-8")
    return folder


def dream_config(first_id: int) -> dict[str, Any]:
    """Content of tokenizer_config.json with the fields that Dream's has."""
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": {
            str(number): {"content": token, **flags, "special": token not in ORDINARY}
            for number, token in enumerate(ADDED, start=first_id)
        },
        "additional_special_tokens": ["<|beginoftext|>", "<|mask|>"],
        "auto_map": {"AutoTokenizer": ["tokenization_dream.DreamTokenizer", None]},
        "bos_token": "<|beginoftext|>",
        "chat_template": TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|endoftext|>",
        "errors": "replace",
        "mask_token": {"content": "<|mask|>", "__type": "AddedToken", **flags},
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "DreamTokenizer",
        "unk_token": None,
    }


@dataclass(frozen=True)
class Reference:
    """The slow, plain tokenizer over the files of `write_qwen2_files`.

    Attributes:
        vocabulary: token -> id.
        ranks: pair -> line of merges.txt.
        added: added token -> id.
    """

    vocabulary: Mapping[str, int]
    ranks: Mapping[tuple[str, ...], int]
    added: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> Reference:
        """Reads the files, with nothing but a JSON reader."""
        vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        return cls(
            vocabulary,
            {tuple(line.split(" ")): rank for rank, line in enumerate(lines) if line},
            {v["content"]: int(k) for k, v in config["added_tokens_decoder"].items()},
        )

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text."""
        ids: list[int] = []
        for part in _split(text, self.added):
            if part in self.added:
                ids.append(self.added[part])
                continue
            for piece in pieces(unicodedata.normalize("NFC", part)):
                spelled = [BYTE_CHARACTERS[byte] for byte in piece.encode("utf-8")]
                ids += [self.vocabulary[token] for token in _merged(spelled, self.ranks)]
        return ids


def _split(text: str, added: Mapping[str, int]) -> Iterator[str]:
    """Cuts added tokens out of a text, leftmost first."""
    while text:
        places = [(text.find(token), token) for token in added if token in text]
        start, token = min(places, default=(len(text), ""))
        if start:
            yield text[:start]
        if token:
            yield token
        text = text[start + len(token) :]


def pieces(text: str) -> Iterator[str]:
    """Cuts a text as Qwen2's regular expression does, branch by branch."""
    start = 0
    while start < len(text):
        end = next(end for branch in _BRANCHES if (end := branch(text, start)) > start)
        yield text[start:end]
        start = end


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] == "L"


def _is_number(character: str) -> bool:
    return unicodedata.category(character)[0] == "N"


def _is_mark(character: str) -> bool:
    """Neither white space nor letter nor number."""
    return not (character in _SPACE or _is_letter(character) or _is_number(character))


def _run(text: str, start: int, belongs: Callable[[str], bool]) -> int:
    """Where the characters that belong end."""
    while start < len(text) and belongs(text[start]):
        start += 1
    return start


def _contraction(text: str, start: int) -> int:
    rest = text[start + 1 : start + 3].casefold()
    found = [ending for ending in _CONTRACTIONS if rest.startswith(ending)]
    return start + 1 + len(found[0]) if text[start] == "'" and found else start


def _word(text: str, start: int) -> int:
    first = text[start]
    leads = not (first in _NEWLINES or _is_letter(first) or _is_number(first))
    end = _run(text, start + leads, _is_letter)
    return end if end > start + leads else start


def _number(text: str, start: int) -> int:
    return start + _is_number(text[start])


def _marks(text: str, start: int) -> int:
    begin = start + (text[start] == " ")
    end = _run(text, begin, _is_mark)
    return _run(text, end, _NEWLINES.__contains__) if end > begin else start


def _lines(text: str, start: int) -> int:
    end = _run(text, start, _SPACE.__contains__)
    return next((i + 1 for i in range(end - 1, start - 1, -1) if text[i] in _NEWLINES), start)


def _spaces_before_more(text: str, start: int) -> int:
    end = _run(text, start, _SPACE.__contains__)
    return end if end == len(text) else max(end - 1, start)


def _spaces(text: str, start: int) -> int:
    return _run(text, start, _SPACE.__contains__)


_BRANCHES = (_contraction, _word, _number, _marks, _lines, _spaces_before_more, _spaces)


def _byte_characters() -> dict[int, str]:
    """GPT-2's alphabet: printable Latin-1 as it is, the other bytes from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(0x100 + place) for place, byte in enumerate(others)
    }


BYTE_CHARACTERS = _byte_characters()


def _merged(tokens: list[str], ranks: Mapping[tuple[str, ...], int]) -> list[str]:
    while True:
        pairs = [(ranks[pair], pair) for pair in pairwise(tokens) if pair in ranks]
        if not pairs:
            return tokens
        left, right = min(pairs)[1]
        place, merged = 0, []
        while place < len(tokens):
            both = tokens[place : place + 2] == [left, right]
            merged.append(left + right if both else tokens[place])
            place += 1 + both
        tokens = merged


def change_config(folder: Path, **fields: Any) -> None:
    """Changes fields of tokenizer_config.json; `...` removes one."""
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))


def write_stored(folder: Path, **changes: Any) -> None:
    """Writes a tokenizer.json with one added token."""
    folder.mkdir(exist_ok=True)
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    tokenizer.add_tokens([AddedToken("<x>", special=True, normalized=False)])
    document = json.loads(tokenizer.to_str()) | changes
    (folder / "tokenizer.json").write_text(json.dumps(document))
