"""From what a caller may give (text, messages, ids) to checked token ids."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.chat import ChatTemplate, Message
from dawn_runtime.errors import PromptError
from dawn_runtime.manifest import Manifest
from dawn_runtime.tokenizer import Tokenizer

Template = Sequence[str | int]
"""Given text and, as numbers, how many tokens are to be decided between it."""

Prompt = str | Sequence[Message] | Sequence[int] | IntArray
"""Text, messages of a chat, or token ids."""


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """A prompt with holes: any mixture of given and open positions.

    Attributes:
        template: Texts and, as numbers, lengths of the holes between them in tokens.
        prompt: What precedes it, if anything.
        input_ids: Instead of both, the ids of all with the mask id where undecided.

    Raises:
        PromptError: Neither or both are given.
    """

    template: Template | None = None
    prompt: Prompt | None = None
    input_ids: Sequence[int] | IntArray | None = None

    def __post_init__(self) -> None:
        if (self.template is None) == (self.input_ids is None) or (
            self.input_ids is not None and self.prompt is not None
        ):
            raise PromptError("give fill either a template, perhaps with a prompt, or input_ids")


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Turns prompts into ids for one artifact.

    Attributes:
        manifest: Vocabulary, mask id and context length.
        tokenizer: None if the artifact has none.
        chat: None if the artifact has no template.
    """

    manifest: Manifest
    tokenizer: Tokenizer | None
    chat: ChatTemplate | None

    def read(self, prompt: Prompt) -> IntArray:
        """Returns the token ids of a prompt as int64 [P], P >= 1.

        Raises:
            PromptError: The prompt is empty, holds ids that are not the model's or the mask, or
                this artifact cannot read prompts of its kind.
        """
        if isinstance(prompt, str):
            return self._checked(self.text_tokenizer().encode(prompt))
        if len(prompt) and isinstance(prompt[0], Mapping):
            return self._checked(self._read_messages(prompt))  # type: ignore[arg-type]
        return self._checked(prompt)  # type: ignore[arg-type]

    def text_tokenizer(self) -> Tokenizer:
        """Returns the tokenizer.

        Raises:
            PromptError: There is none.
        """
        if self.tokenizer is None:
            raise PromptError(
                "this artifact has no tokenizer, so it reads and writes token ids only; "
                "give input_ids, or export a checkpoint that has a tokenizer.json"
            )
        return self.tokenizer

    def new_tokens(self, prompt: IntArray, wanted: int | None, default: int) -> int:
        """Returns how many tokens to decode after a prompt.

        Args:
            prompt: int64 [P] ids.
            wanted: Number asked for; None takes the default as far as there is room.
            default: See `wanted`.

        Raises:
            PromptError: Prompt and answer do not fit into the context together.
        """
        context = self.manifest.dims.max_length
        room = context - len(prompt)
        if room < 1:
            raise PromptError(
                f"the prompt has {len(prompt)} tokens and leaves no room for an answer in the "
                f"context of {context}; shorten it to at most {context - 1}"
            )
        if wanted is not None and wanted > room:
            raise PromptError(
                f"a prompt of {len(prompt)} tokens and {wanted} new ones exceed the context of "
                f"{context}; ask for at most {room} new tokens or shorten the prompt"
            )
        return min(default, room) if wanted is None else wanted

    def read_filling(self, filling: Filling) -> tuple[IntArray, int]:
        """Returns ids with the mask id where undecided, and how many of them are the prompt's.

        Each piece of text is tokenized on its own.

        Raises:
            PromptError: A piece is neither text nor a length >= 1, there is nothing to decide, the
                first token is undecided and the model cannot predict it, an id is not the model's,
                the context is exceeded, or as for `read`.
        """
        if filling.input_ids is not None:
            return self._read_holes(filling.input_ids), 0
        if isinstance(filling.template, str):
            raise PromptError("the template is one text; give a list of texts and hole lengths")
        nothing = np.zeros(0, dtype=np.int64)
        before = nothing if filling.prompt is None else self.read(filling.prompt)
        pieces = [before]
        for piece in filling.template or ():
            first = not any(map(len, pieces))
            pieces.append(self._read_piece(piece, special=first))
        return self._read_holes(np.concatenate(pieces)), len(before)

    def _read_holes(self, ids: Sequence[int] | IntArray) -> IntArray:
        array = self._checked_ids(ids)
        tokens, context = self.manifest.tokens, self.manifest.dims.max_length
        if not (array == tokens.mask).any():
            raise PromptError(
                "nothing is left to fill; a template needs a hole of one token or more"
            )
        if array[0] == tokens.mask and self.manifest.prediction_shift:
            raise PromptError(
                "the template begins with a hole, but this model predicts each token from the one "
                "before it; give at least one token first"
            )
        if len(array) > context:
            raise PromptError(
                f"prompt and template have {len(array)} tokens and exceed the context of {context}"
            )
        return array

    def _read_piece(self, piece: str | int, *, special: bool) -> IntArray:
        if isinstance(piece, str):
            return self._checked(self.text_tokenizer().encode(piece, add_special_tokens=special))
        if not isinstance(piece, (int, np.integer)) or isinstance(piece, bool) or piece < 1:
            raise PromptError(
                f"the template holds {piece!r}; expected texts and lengths of holes >= 1"
            )
        return np.full(piece, self.manifest.tokens.mask, dtype=np.int64)

    def _read_messages(self, messages: Sequence[Message]) -> IntArray:
        tokenizer = self.text_tokenizer()
        if self.chat is None:
            raise PromptError(
                "this artifact has no chat template; give the whole prompt as text, "
                "or export a checkpoint that has a chat_template.jinja"
            )
        # The template writes the special tokens itself.
        return tokenizer.encode(self.chat.render(messages), add_special_tokens=False)

    def _checked(self, ids: Sequence[int] | IntArray) -> IntArray:
        array, mask = self._checked_ids(ids), self.manifest.tokens.mask
        if (array == mask).any():
            raise PromptError(
                f"the prompt holds the mask token (id {mask}), which stands for undecided "
                "positions; remove it from the prompt, or use fill"
            )
        return array

    def _checked_ids(self, ids: Sequence[int] | IntArray) -> IntArray:
        if len(ids) == 0:
            raise PromptError("the prompt is empty; give at least one token")
        array = np.asarray(ids)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise PromptError(
                f"input_ids are {array.dtype} of shape {array.shape}; expected a list of integers"
            )
        size = self.manifest.dims.vocab_size
        foreign = array[(array < 0) | (array >= size)]
        if foreign.size:
            raise PromptError(
                f"the prompt holds id {foreign[0]}; expected ids from 0 to {size - 1} "
                "(is the tokenizer that of the model?)"
            )
        return array.astype(np.int64)


@contextmanager
def located(where: str) -> Iterator[None]:
    """Says in front of what is wrong with a prompt which one it is.

    Args:
        where: Such as `prompts[3]: `, or nothing.

    Raises:
        PromptError: What is inside raises one.
    """
    try:
        yield
    except PromptError as error:
        raise PromptError(f"{where}{error}") from error


def the_one(*given: Prompt | Filling | None) -> Prompt | Filling:
    """Returns the one prompt that is given.

    Raises:
        PromptError: There is none, or several are.
    """
    present = [prompt for prompt in given if prompt is not None]
    if len(present) != 1:
        raise PromptError(
            f"got {len(present)} prompts; give exactly one of prompt, messages and input_ids"
        )
    return present[0]
