"""What a call of the decoder returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import Commit, StepRecord
from dawn_runtime.errors import PromptError

FinishReason = Literal["end", "length", "timeout", "max_forwards", "cancelled"]
"""Why an answer ends where it does; see `Result`."""


def _text(written: str | None) -> str:
    """Returns a text, where there is one.

    Raises:
        PromptError: There is none.
    """
    if written is None:
        raise PromptError(
            "the artifact has no tokenizer, so its answers have no text; take tokens, or export a "
            "checkpoint that has a tokenizer.json"
        )
    return written


@dataclass(frozen=True, slots=True, eq=False)
class Hole:
    """A run of positions that were not given.

    Attributes:
        begin: Its first position among `Result.tokens`.
        tokens: int64 [n] what was decided there, up to the first position still undecided.
        written: Its text, None if the artifact has no tokenizer.
    """

    begin: int
    tokens: IntArray
    written: str | None

    @property
    def text(self) -> str:
        """Its text.

        Raises:
            PromptError: The artifact has no tokenizer.
        """
        return _text(self.written)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A run of positions of an answer that are all decided, or a gap, where none is.

    Attributes:
        begin: Its first position, counted from the beginning of the answer.
        length: Number of its positions.
        tokens: int64 [length] what was decided; int64 [0] in a gap.
        written: Text of these tokens by themselves, empty in a gap; None if the artifact has no
            tokenizer.
    """

    begin: int
    length: int
    tokens: IntArray
    written: str | None

    @property
    def is_gap(self) -> bool:
        """Whether nothing was decided there."""
        return not len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """An answer.

    Attributes:
        written: Its text, None if the artifact has no tokenizer; see `text`.
        tokens: int64 [new] its ids, cut before the first end token when decoding stops there.
        forwards: Runs of the engine this answer took part in (NFE); one that had to be repeated for
            its logits counts once.
        seconds: Wall time of the call, of the whole batch if there was one.
        engine_seconds: Part of `seconds` spent inside the engine.
        rows_fed: Positions fed to the engine over all those runs.
        head_rows: Of how many of them the head was computed.
        trace: Every commit by step and position, also those after an end token.
        policy: Name of the policy that decided.
        options: Its options.
        doubt: That the policy could not do what it is for, counted from the run: DAWN in none of
            whose steps the graph had an edge chose as a threshold would. None otherwise.
        guards: What had to let its choices through, such as `budget:nats=4.0`; see `Settings`.
        fallback: True if a policy handed over to its plain rule because the answer is short.
        finish_reason: `end` at an end token, `length` when all positions were decided; otherwise
            what stopped it before: `timeout`, `max_forwards` or `cancelled`. `tokens` and `text`
            then hold what was decided from the left, `pieces` and `trace` all.
        prompt_tokens: Number of tokens of the prompt.
        reused_tokens: How many of them began with keys of an earlier text; see `Decoder.prefixes`.
        holes: What was filled in, if the answer was a template, whose given tokens are in
            `tokens` and `text` too; empty otherwise.
        record: What happened in every step, and why, where it was asked for; see `Settings`.
        pieces: If decoding was stopped before the end, the runs of decided and of undecided
            positions from the left to the right, up to the first end token or to where the answer
            would have ended; empty otherwise.
    """

    written: str | None
    tokens: IntArray
    forwards: int
    rows_fed: int
    seconds: float
    engine_seconds: float
    trace: tuple[Commit, ...]
    policy: str
    options: Mapping[str, Any]
    fallback: bool
    finish_reason: FinishReason
    prompt_tokens: int
    holes: tuple[Hole, ...] = ()
    guards: tuple[str, ...] = ()
    doubt: str | None = None
    reused_tokens: int = 0
    head_rows: int = 0
    record: tuple[StepRecord, ...] | None = None
    pieces: tuple[Piece, ...] = ()

    @property
    def text(self) -> str:
        """Its text, as far as it was decided from the left.

        Raises:
            PromptError: The artifact has no tokenizer.
        """
        return _text(self.written)

    def marked(self, gap: str = "[...]") -> str:
        """Returns the text of all that was decided, with a mark for each gap.

        An answer that was not stopped has no gaps, so this is its text.

        Args:
            gap: The mark.

        Raises:
            PromptError: The artifact has no tokenizer.
        """
        if not self.pieces:
            return self.text
        return "".join(gap if piece.is_gap else _text(piece.written) for piece in self.pieces)

    @property
    def tokens_decided(self) -> int:
        """How many of `tokens` were decided and not given by a template.

        An end token, and what is decided behind it or behind an open position, is in `trace` alone
        and not counted.
        """
        end = self.prompt_tokens + len(self.tokens)
        return sum(commit.position < end for commit in self.trace)

    @property
    def tokens_per_forward(self) -> float:
        """`tokens_decided` per run of the engine; at most 1 for one at a time."""
        return self.tokens_decided / max(self.forwards, 1)

    def to_dict(self) -> dict[str, Any]:
        """Returns all but `record` for JSON; a commit is [step, position, token, confidence]."""
        return {
            "text": self.written,
            "tokens": self.tokens.tolist(),
            "forwards": self.forwards,
            "rows_fed": self.rows_fed,
            "head_rows": self.head_rows,
            "tokens_per_forward": self.tokens_per_forward,
            "seconds": self.seconds,
            "engine_seconds": self.engine_seconds,
            "policy": self.policy,
            "options": dict(self.options),
            "guards": list(self.guards),
            "doubt": self.doubt,
            "fallback": self.fallback,
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "reused_tokens": self.reused_tokens,
            "holes": [
                {"begin": hole.begin, "tokens": hole.tokens.tolist(), "text": hole.written}
                for hole in self.holes
            ],
            "pieces": [
                {
                    "begin": piece.begin,
                    "length": piece.length,
                    "tokens": piece.tokens.tolist(),
                    "text": piece.written,
                }
                for piece in self.pieces
            ],
            "trace": [[c.step, c.position, c.token, c.confidence] for c in self.trace],
        }
