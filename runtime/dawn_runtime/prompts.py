"""From what a caller may give (text, messages, ids) to checked token ids."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime.arrays import IntArray
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.checks import is_integer, shown
from dawn_runtime.errors import PromptError
from dawn_runtime.given import (
    Checked,
    Conversation,
    Message,
    as_ids,
    as_messages,
    as_prompt,
    listed,
)
from dawn_runtime.literal import Literal, SpecialToken
from dawn_runtime.manifest import Manifest
from dawn_runtime.tokenizer import Tokenizer

Prompt = str | Iterable[Message] | Conversation | Iterable[int] | IntArray
"""Text, messages of a chat (any iterable, or with tools a `Conversation`), or token ids."""

Template = Iterable[str | int]
"""Given text and, as numbers, how many tokens are to be decided between it."""

_LONG_TEXT = 2**16
"""Characters that are tokenized without a look at what the context can hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """A prompt with holes: any mixture of given and open positions.

    Attributes:
        template: Texts and, as numbers, lengths of the holes between them in tokens; a tuple
            whatever iterable was given.
        prompt: What precedes it, if anything.
        input_ids: Instead of both, the ids of all with the mask id where undecided.

    Raises:
        PromptError: Neither or both are given, or they are of other types.
    """

    template: Template | None = None
    prompt: Prompt | None = None
    input_ids: Iterable[int] | IntArray | None = None

    def __post_init__(self) -> None:
        if (self.template is None) == (self.input_ids is None) or (
            self.input_ids is not None and self.prompt is not None
        ):
            raise PromptError("give fill either a template, perhaps with a prompt, or input_ids")
        # Kept as what can be gone through again: a filling may be looked at before it is decoded.
        if self.template is not None:
            object.__setattr__(self, "template", _pieces(self.template))
        if self.prompt is not None:
            object.__setattr__(self, "prompt", as_prompt(self.prompt))
        if self.input_ids is not None:
            object.__setattr__(self, "input_ids", as_ids(self.input_ids))


def _pieces(template: object) -> tuple[str | int, ...]:
    """Returns the texts and hole lengths of a template.

    Raises:
        PromptError: It is something else.
    """
    if isinstance(template, str):
        raise PromptError("the template is one text; give a list of texts and hole lengths")
    pieces = listed(template, "the template", "a list of texts and hole lengths")
    return tuple(map(_piece, pieces))


def _piece(piece: object) -> str | int:
    if isinstance(piece, str):
        return piece
    if not is_integer(piece) or piece < 1:
        raise PromptError(
            f"the template holds {shown(piece)}; expected texts and lengths of holes >= 1"
        )
    return int(piece)


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
        checked = as_prompt(prompt)
        if isinstance(checked, str):
            return self._checked(self._encode(checked, special=True))
        if isinstance(checked, tuple):
            checked = Conversation(checked)
        if isinstance(checked, Conversation):
            return self._checked(self._read_conversation(checked))
        return self._checked(checked)

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
                f"a prompt of {len(prompt)} tokens and {shown(wanted)} new ones exceed the context "
                f"of {context}; ask for at most {room} new tokens or shorten the prompt"
            )
        return min(default, room) if wanted is None else wanted

    def read_filling(self, filling: Filling) -> tuple[IntArray, int]:
        """Returns ids with the mask id where undecided, and how many of them are the prompt's.

        Each piece of text is tokenized on its own.

        Raises:
            PromptError: There is nothing to decide, the first token is undecided and the model
                cannot predict it, an id is not the model's, the context is exceeded, or as for
                `read`.
        """
        if filling.input_ids is not None:
            return self._read_holes(as_ids(filling.input_ids)), 0
        before = np.zeros(0, dtype=np.int64)
        if filling.prompt is not None:
            before = self.read(filling.prompt)
        pieces, length = [before], len(before)
        for piece in filling.template or ():
            # Before there is an array of that length.
            self._refuse_longer(length + (piece if isinstance(piece, int) else 0))
            pieces.append(self._read_piece(piece, special=not length))
            length += len(pieces[-1])
        return self._read_holes(np.concatenate(pieces)), len(before)

    def _read_holes(self, ids: NDArray[np.integer[Any]]) -> IntArray:
        array = self._checked_ids(ids)
        mask = self.manifest.tokens.mask
        if not (array == mask).any():
            raise PromptError(
                "nothing is left to fill; a template needs a hole of one token or more"
            )
        if array[0] == mask and self.manifest.prediction_shift:
            raise PromptError(
                "the template begins with a hole, but this model predicts each token from the one "
                "before it; give at least one token first"
            )
        self._refuse_longer(len(array))
        return array

    def _refuse_longer(self, length: int) -> None:
        context = self.manifest.dims.max_length
        if length > context:
            raise PromptError(
                f"prompt and template have {shown(length)} tokens and exceed the context of "
                f"{context}"
            )

    def _read_piece(self, piece: str | int, *, special: bool) -> IntArray:
        if isinstance(piece, str):
            return self._checked(self._encode(piece, special=special))
        return np.full(piece, self.manifest.tokens.mask, dtype=np.int64)

    def _read_conversation(self, said: Conversation) -> IntArray:
        specials = self.text_tokenizer().special_tokens
        if self.chat is None:
            raise PromptError(
                "this artifact has no chat template; give the whole prompt as text, "
                "or export a checkpoint that has a chat_template.jinja"
            )
        # The template writes the special tokens itself.
        if specials is None:
            text = self.chat.render(
                said.messages, tools=said.tools, enable_thinking=said.enable_thinking
            )
            return self._encode(text, special=False)
        return self._encode_literal(self.chat, said, specials)

    def _encode_literal(
        self, chat: ChatTemplate, said: Conversation, specials: Sequence[SpecialToken]
    ) -> IntArray:
        """Tokenizes a conversation in which special tokens are the template's alone."""
        try:
            literal = Literal.of(specials, [said.messages, said.tools], chat.source)
            messages, tools = literal.signed(said.messages), literal.signed(said.tools)
        except RecursionError as error:
            raise PromptError("messages are nested too deeply, or hold themselves") from error
        text = chat.render(messages, tools=tools, enable_thinking=said.enable_thinking)
        self._refuse_endless(text)
        ids = [
            np.array([part.id], dtype=np.int64)
            if isinstance(part, SpecialToken)
            else self._encode(part, special=False)
            for part in literal.parts(text)
        ]
        return np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64)

    def _encode(self, text: str, *, special: bool) -> IntArray:
        self._refuse_endless(text)
        return self.text_tokenizer().encode(text, add_special_tokens=special)

    def _refuse_endless(self, text: str) -> None:
        """Refuses a text that is plainly far too long before it is tokenized, which takes time."""
        tokenizer, context = self.text_tokenizer(), self.manifest.dims.max_length
        most = tokenizer.most_characters(context) if len(text) > _LONG_TEXT else None
        if most is not None and len(text) > most:
            raise PromptError(
                f"the prompt has {len(text)} characters, more than {most}, which is the most that "
                f"the {context} tokens of the context can stand for; shorten it"
            )

    def _checked(self, ids: NDArray[np.integer[Any]]) -> IntArray:
        array, mask = self._checked_ids(ids), self.manifest.tokens.mask
        if (array == mask).any():
            raise PromptError(
                f"the prompt holds the mask token (id {mask}), which stands for undecided "
                "positions; remove it from the prompt, or use fill"
            )
        return array

    def _checked_ids(self, ids: NDArray[np.integer[Any]]) -> IntArray:
        if not len(ids):
            raise PromptError("the prompt is empty; give at least one token")
        size = self.manifest.dims.vocab_size
        foreign = ids[(ids < 0) | (ids >= size)]
        if foreign.size:
            raise PromptError(
                f"the prompt holds id {foreign[0]}; expected ids from 0 to {size - 1} "
                "(is the tokenizer that of the model?)"
            )
        return ids.astype(np.int64)


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


def the_one(prompt: object, messages: object, input_ids: object) -> Checked | Filling:
    """Returns the one prompt that is given, each argument taken for what it is named after.

    Raises:
        PromptError: There is none, several are, or it is something else.
    """
    given = sum(value is not None for value in (prompt, messages, input_ids))
    if given != 1:
        raise PromptError(
            f"got {given} prompts; give exactly one of prompt, messages and input_ids"
        )
    if messages is not None:
        return as_messages(messages)
    if input_ids is not None:
        return as_ids(input_ids)
    return prompt if isinstance(prompt, Filling) else as_prompt(prompt)
