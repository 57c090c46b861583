"""Text to token ids and back, with the `tokenizers` library alone."""

import json
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from dawn_runtime._fields import Fields
from dawn_runtime.arrays import IntArray
from dawn_runtime.artifact import Artifact
from dawn_runtime.checks import check_flag, check_path, shown
from dawn_runtime.errors import ArtifactError, PromptError
from dawn_runtime.given import as_text
from dawn_runtime.literal import SpecialToken
from dawn_runtime.manifest import TOKENIZER_CONFIG_FILE, TOKENIZER_FILE
from dawn_runtime.native import importing, native_errors
from dawn_runtime.token_lengths import characters_per_token

_SPLIT = "split_special_tokens"
_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""What a byte-level decoder writes for bytes that are not a character yet."""


class Tokenizer:
    """A Hugging Face `tokenizer.json`.

    Args:
        path: The file.
        split_special_tokens: Whether special tokens written in a text are ordinary text, as
            `tokenizer_config.json` may say.
        literal: The ids that are special to a model, if special tokens, these among them, are
            ordinary text in whatever callers give; see `dawn_runtime.literal`.

    Raises:
        DependencyError: The `tokenizers` package is not installed.
        ArtifactError: The file is not a tokenizer.
        OptionError: `path` is no path, or `split_special_tokens` neither True nor False.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        split_special_tokens: bool = False,
        literal: Collection[int] | None = None,
    ) -> None:
        path = check_path("tokenizer", "path", path)
        split = check_flag("tokenizer", "split_special_tokens", split_special_tokens)
        with importing("text needs", "tokenizers", "pip install dawn-edge"):
            import tokenizers

        def broken(reason: str) -> ArtifactError:
            return ArtifactError(f"{path}: not a tokenizer ({reason}); export again")

        with native_errors(broken, quiet=True):
            self._tokenizer = tokenizers.Tokenizer.from_file(str(path))
            self._tokenizer.encode_special_tokens = split or literal is not None
            self._special = None if literal is None else self._made_special(literal)
        self._characters: int | None = None
        self._is_measured = False

    @classmethod
    def from_artifact(cls, artifact: Artifact, *, literal: bool = False) -> "Tokenizer | None":
        """Reads the tokenizer of an artifact, None if it has none.

        Args:
            artifact: The folder.
            literal: Whether special tokens are ordinary text in whatever callers give.

        Raises:
            DependencyError: The `tokenizers` package is not installed.
            ArtifactError: A file is unreadable.
        """
        if not artifact.has(TOKENIZER_FILE):
            return None
        split = False
        if artifact.has(TOKENIZER_CONFIG_FILE):
            name = str(artifact.path(TOKENIZER_CONFIG_FILE))
            config = Fields.parse(artifact.read_text(TOKENIZER_CONFIG_FILE), name)
            split = _SPLIT in config.values and config.flag(_SPLIT)
        ids = artifact.manifest.tokens.all if literal else None
        path = artifact.path(TOKENIZER_FILE)
        return cls(path, split_special_tokens=split, literal=ids)

    @property
    def special_tokens(self) -> tuple[SpecialToken, ...] | None:
        """What a template alone may write; None if they are recognised wherever they stand."""
        return self._special

    def _made_special(self, ids: Collection[int]) -> tuple[SpecialToken, ...]:
        """Returns the special tokens; added ones of these ids are made such, declared or not."""
        added = self._tokenizer.get_added_tokens_decoder()
        for one in (added[number] for number in ids if number in added):
            one.special = True
            self._tokenizer.add_special_tokens([one])
        return tuple(
            SpecialToken(one.content, number, one.lstrip, one.rstrip)
            for number, one in self._tokenizer.get_added_tokens_decoder().items()
            if one.special and one.content
        )

    def encode(self, text: str, *, add_special_tokens: bool = True) -> IntArray:
        """Returns the ids of a text as int64 [N].

        Special tokens written in it are recognised, unless this tokenizer splits them.

        Args:
            text: What to encode.
            add_special_tokens: Whether the tokenizer adds its own, such as a leading BOS.

        Raises:
            PromptError: It is no text, is not Unicode, or the tokenizer cannot encode it.
            OptionError: `add_special_tokens` is neither True nor False.
        """
        checked = as_text(text)
        special = check_flag("tokenizer", "add_special_tokens", add_special_tokens)
        with native_errors(lambda reason: PromptError(f"the prompt cannot be encoded: {reason}")):
            encoding = self._tokenizer.encode(checked, add_special_tokens=special)
            return np.array(encoding.ids, dtype=np.int64)

    def decode(self, ids: IntArray) -> str:
        """Returns the text of ids, special tokens left out.

        Raises:
            PromptError: The ids cannot be decoded.
        """
        with native_errors(lambda reason: PromptError(f"ids cannot be decoded: {reason}")):
            array = np.asarray(ids)
            if array.size and (array.ndim != 1 or array.dtype.kind not in "iu"):
                raise PromptError(f"ids are {shown(ids)}; expected a list of integers")
            text: str = self._tokenizer.decode(array.tolist(), skip_special_tokens=True)
        return text

    def piece(self, token: int) -> str:
        """Returns the text of one token by itself, of a special one its name.

        Args:
            token: Its id.
        """
        text = self.decode(np.array([token], dtype=np.int64))
        return text or self._tokenizer.id_to_token(token) or ""

    def most_characters(self, tokens: int) -> int | None:
        """Returns how long a text of so many tokens can be, None if there is no saying.

        The first call reads the whole vocabulary.

        Args:
            tokens: Number of tokens.
        """
        if not self._is_measured:
            with native_errors(lambda reason: PromptError(f"no vocabulary to be read: {reason}")):
                self._characters = characters_per_token(json.loads(self._tokenizer.to_str()))
            self._is_measured = True
        return None if self._characters is None else tokens * self._characters


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
