r"""Qwen2's tokenizer out of `vocab.json` and `merges.txt`, without the code that comes with it.

What Dream ships is the tokenizer of Qwen2: text is brought to Unicode's form NFC, cut into words,
numbers (digit by digit), punctuation and white space by one regular expression, every piece is
written byte by byte in an alphabet of 256 printable characters, and the bytes of a piece are merged
pair by pair, the pair of the earliest line of `merges.txt` first. Added tokens are found in the
text before all that and are never cut. The `tokenizers` library does each of these; this module
only says which, as its own `Qwen2Tokenizer` says it in the transformers library.
"""

from __future__ import annotations

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from dawn_export.errors import SourceError
from dawn_export.text.side_files import read_text
from dawn_models.fields import MAX_INTEGER, Fields, read_json

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"

_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def read_vocabulary(path: Path) -> dict[str, int]:
    """Reads a byte-level vocabulary: token -> id.

    Raises:
        ConfigError: Not a JSON object, or a value is not an id.
        SourceError: Two tokens share an id, or bytes have no token.
    """
    values = read_json(path)
    owners: dict[int, str] = {}
    for token, number in values.items():
        if (
            isinstance(number, bool)
            or not isinstance(number, int)
            or not 0 <= number <= MAX_INTEGER
        ):
            raise Fields(values, path).error(token, number, f"an id from 0 to {MAX_INTEGER}")
        if owners.setdefault(number, token) != token:
            raise SourceError(
                f"{path}: tokens {owners[number]!r} and {token!r} share the id {number}; "
                "download it again"
            )
    missing = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(values))
    if missing:
        raise SourceError(
            f"{path}: no token {missing[0]!r}; expected the vocabulary of a byte-level BPE, which "
            "has one for each of the 256 bytes"
        )
    return values


def read_merges(path: Path, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    """Reads the pairs to merge, first pair first; a first line that names a version is skipped.

    Raises:
        SourceError: Not readable as text, or a line is not a pair of the vocabulary.
    """
    merges = []
    # Not splitlines: it also cuts at characters that end no line here.
    for number, ended in enumerate(read_text(path).split("\n"), start=1):
        line = ended.strip()
        if not line or (number == 1 and line.startswith("#version:")):
            continue
        pair = line.split(" ")
        if len(pair) != 2:
            raise SourceError(
                f"{path}: line {number}: got {line[:40]!r}, expected two tokens with one space "
                "between them; download it again"
            )
        left, right = pair
        unknown = [token for token in (left, right, left + right) if token not in vocabulary]
        if unknown:
            raise SourceError(
                f"{path}: line {number}: token {unknown[0][:40]!r} is not in {VOCABULARY_FILE}; "
                "download both files again"
            )
        merges.append((left, right))
    return merges


def qwen2_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """Puts Qwen2's tokenizer together, without added tokens.

    Args:
        vocabulary: Token -> id.
        merges: Pairs to merge, first pair first.
    """
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
