"""How probable a model holds given answers to be, side by side in one batch.

A choice takes the place of its tokens, all of them open, and the model predicts each from all that
is around it. With one pass they are predicted together, none knowing the others; with more, the
surest share of them is revealed in each, and what is left is predicted anew beside it. The score is
the sum, over the tokens of the choice, of the logarithm of the probability at which each was
revealed.

    prompt    Is 7 prime?      choices   "yes" "no"       end given behind each
    passes    1: p(yes | Is 7 prime? _ <end>), p(no | Is 7 prime? _ <end>)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime import Decoder, Filling, OptionError, PromptError
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import RowState, Scheme
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.sampling import probability
from dawn_runtime.errors import EngineError
from dawn_runtime.request import Request


@dataclass(frozen=True, slots=True)
class Scored(Scheme):
    """Reveals given tokens, and notes how probable each was.

    Attributes:
        first: Position of the first of them.
        tokens: They, in the order of their positions.
        passes: In how many steps they are revealed.
    """

    name: ClassVar[str] = "score"

    first: int
    tokens: tuple[int, ...]
    passes: int

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the distributions of all open positions."""
        open_ = np.flatnonzero(row.masked)
        rows = np.maximum(open_ - row.shift, 0)
        return (Ask(row.ids, np.arange(row.length), predict=rows, logits=True, note=open_),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Reveals the surest of them, as many as are due."""
        (answer,) = answers
        open_: IntArray = answer.ask.note
        if answer.logits is None:
            raise EngineError("choices are scored by logits; use an engine that returns them")
        tokens = np.array(self.tokens, dtype=np.int64)[open_ - self.first]
        sure = probability(answer.logits, tokens)
        due = -(-len(open_) // max(self.passes - row.step, 1))
        chosen = np.sort(np.argsort(-sure, kind="stable")[:due])
        return Decision(commit=open_[chosen], tokens=tokens[chosen], confidence=sure[chosen])


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around every choice.

    Attributes:
        before: int64 [P] ids.
        after: int64 [A] ids, perhaps none.
    """

    before: IntArray
    after: IntArray

    def request(self, decoder: Decoder, choice: str, passes: int) -> Request:
        """Returns what `OpenBatch.admit` takes in for a choice.

        Args:
            decoder: Of the model.
            choice: Its text.
            passes: In how many steps its tokens are revealed.

        Raises:
            PromptError: It has no tokens, or does not fit the context with what is around it.
            OptionError: The model does not look at everything.
        """
        if decoder.manifest.attention.kind not in Scored.attends:
            raise OptionError(
                "choices are scored by models that attend to everything; this one attends "
                f"{decoder.manifest.attention.words()}, so ask it for an answer instead"
            )
        tokens = ids_of(decoder, choice)
        if not len(tokens):
            raise PromptError(f"the choice {choice!r:.60} has no tokens; give a text")
        holes = np.full(len(tokens), decoder.manifest.tokens.mask, dtype=np.int64)
        ids = np.concatenate([self.before, holes, self.after])
        scheme = Scored(len(self.before), tuple(tokens.tolist()), min(passes, len(tokens)))
        return decoder.prepare(Filling(input_ids=ids), policy=scheme)


def ids_of(decoder: Decoder, text: str) -> IntArray:
    """Returns the ids of a text that stands in the midst of others, int64 [N].

    Raises:
        PromptError: The artifact has no tokenizer.
    """
    if decoder.tokenizer is None:
        raise PromptError("this model has no tokenizer, so it reads no text")
    return decoder.tokenizer.encode(text, add_special_tokens=False)


def end_of(decoder: Decoder) -> IntArray:
    """Returns the token that ends an answer, int64 [1], or none if the model has none."""
    return np.array(decoder.manifest.tokens.eos[:1], dtype=np.int64)
