"""From what a caller may give (text, messages, ids) to checked token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.chat import ChatTemplate, Message
from dawn_runtime.errors import PromptError
from dawn_runtime.manifest import Manifest
from dawn_runtime.tokenizer import Tokenizer

Prompt = str | Sequence[Message] | Sequence[int] | IntArray
"""Text, messages of a chat, or token ids."""


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
        if len(ids) == 0:
            raise PromptError("the prompt is empty; give at least one token")
        array = np.asarray(ids)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise PromptError(
                f"input_ids are {array.dtype} of shape {array.shape}; expected a list of integers"
            )
        size, mask = self.manifest.dims.vocab_size, self.manifest.tokens.mask
        foreign = array[(array < 0) | (array >= size)]
        if foreign.size:
            raise PromptError(
                f"the prompt holds id {foreign[0]}; expected ids from 0 to {size - 1} "
                "(is the tokenizer that of the model?)"
            )
        if (array == mask).any():
            raise PromptError(
                f"the prompt holds the mask token (id {mask}), which stands for undecided "
                "positions; remove it from the prompt"
            )
        return array.astype(np.int64)
