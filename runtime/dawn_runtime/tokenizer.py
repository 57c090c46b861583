"""Text to token ids and back, with the `tokenizers` library alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.errors import ArtifactError, DependencyError

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""What a byte-level decoder writes for bytes that are not a character yet."""


class Tokenizer:
    """A Hugging Face `tokenizer.json`.

    Args:
        path: The file.

    Raises:
        DependencyError: The `tokenizers` package is not installed.
        ArtifactError: The file is not a tokenizer.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tokenizers
        except ImportError as error:
            raise DependencyError(
                "text needs the tokenizers package, which is not installed; pip install dawn-edge"
            ) from error
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises the base class itself
            raise ArtifactError(f"{path}: not a tokenizer ({error}); export again") from error

    def encode(self, text: str, *, add_special_tokens: bool = True) -> IntArray:
        """Returns the ids of a text as int64 [N]; special tokens written in it are recognised.

        Args:
            text: What to encode.
            add_special_tokens: Whether the tokenizer adds its own, such as a leading BOS.
        """
        encoding = self._tokenizer.encode(text, add_special_tokens=add_special_tokens)
        return np.array(encoding.ids, dtype=np.int64)

    def decode(self, ids: IntArray) -> str:
        """Returns the text of ids, special tokens left out."""
        text: str = self._tokenizer.decode(ids.tolist(), skip_special_tokens=True)
        return text


def whole_characters(text: str) -> str:
    """Returns a decoded text without bytes at its end that are not a character yet.

    Args:
        text: What a byte-level or byte-fallback decoder returned.
    """
    return text.rstrip(_INCOMPLETE)


class TextPieces:
    """Cuts a growing list of ids into pieces of text that never change afterwards.

    A character whose bytes are spread over several tokens is held back until it is whole. The
    pieces put together are the text of all ids, for every decoder under which more ids only append
    to a text (byte-level, byte fallback and metaspace decoders do).

    Args:
        decode: Turns ids into text, such as `Tokenizer.decode`.
    """

    def __init__(self, decode: Callable[[IntArray], str]) -> None:
        self._decode = decode
        self._given = 0

    def push(self, ids: IntArray, *, final: bool = False) -> str:
        """Returns the text that has become certain since the last call, perhaps none.

        Args:
            ids: All ids so far, those of earlier calls included.
            final: True if no ids will follow; what was held back is then given out.
        """
        text = self._decode(ids)
        stable = text if final else whole_characters(text)
        piece = stable[self._given :]
        self._given = max(self._given, len(stable))
        return piece
