"""One call of the decoder: from prompts to results, step by step."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import Commit, DecodeState, Packer, RowState, decode
from dawn_runtime.engine import Engine
from dawn_runtime.tokenizer import TextPieces, Tokenizer


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """An answer.

    Attributes:
        text: Its text, None if the artifact has no tokenizer.
        tokens: int64 [new] its ids, cut before the first end token when decoding stops there.
        forwards: Runs of the engine this answer took part in (NFE).
        seconds: Wall time of the call, of the whole batch if there was one.
        engine_seconds: Part of `seconds` spent inside the engine.
        trace: Every commit by step and position, also those after an end token.
        policy: Name of the policy that decided.
        options: Its options.
        fallback: True if a policy handed over to its plain rule because the answer is short.
        finish_reason: `end` at an end token, `length` when all positions were decided.
        prompt_tokens: Number of tokens of the prompt.
    """

    text: str | None
    tokens: IntArray
    forwards: int
    seconds: float
    engine_seconds: float
    trace: tuple[Commit, ...]
    policy: str
    options: Mapping[str, Any]
    fallback: bool
    finish_reason: Literal["end", "length"]
    prompt_tokens: int

    @property
    def tokens_per_forward(self) -> float:
        """Positions committed per run of the engine; 1 when one is decided at a time."""
        return len(self.trace) / self.forwards

    def to_dict(self) -> dict[str, Any]:
        """Returns all of it for JSON; a commit is [step, position, token, confidence]."""
        return {
            "text": self.text,
            "tokens": self.tokens.tolist(),
            "forwards": self.forwards,
            "tokens_per_forward": self.tokens_per_forward,
            "seconds": self.seconds,
            "engine_seconds": self.engine_seconds,
            "policy": self.policy,
            "options": dict(self.options),
            "fallback": self.fallback,
            "finish_reason": self.finish_reason,
            "prompt_tokens": self.prompt_tokens,
            "trace": [[c.step, c.position, c.token, c.confidence] for c in self.trace],
        }


class Generation:
    """A batch on its way through the engine.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        state: Where to start.
        fallbacks: For each row, whether its policy is a fallback.
        tokenizer: For the text of the results; None leaves it out.
    """

    def __init__(
        self,
        engine: Engine,
        packer: Packer,
        state: DecodeState,
        fallbacks: Sequence[bool],
        tokenizer: Tokenizer | None,
    ) -> None:
        self._engine = engine
        self._packer = packer
        self._state = state
        self._fallbacks = fallbacks
        self._tokenizer = tokenizer
        self._seconds = 0.0

    def steps(self) -> Iterator[tuple[RowState, ...]]:
        """Yields the rows after every step; time between steps does not count."""
        steps = decode(self._engine, self._packer, self._state)
        while True:
            started = time.perf_counter()
            state = next(steps, None)
            self._seconds += time.perf_counter() - started
            if state is None:
                return
            self._state = state
            yield state.rows

    def results(self) -> list[Result]:
        """Runs what is left to run and returns one result for each row."""
        for _ in self.steps():
            pass
        return [self._result(index) for index in range(len(self._state.rows))]

    def _result(self, index: int) -> Result:
        row, policy = self._state.rows[index], self._state.rules[index].policy
        return Result(
            text=None if self._tokenizer is None else self._tokenizer.decode(row.answer),
            tokens=row.answer,
            forwards=row.step,
            seconds=self._seconds,
            engine_seconds=self._state.engine_seconds,
            trace=row.trace(),
            policy=policy.name,
            options=policy.options(),
            fallback=self._fallbacks[index],
            finish_reason="length" if row.end is None else "end",
            prompt_tokens=row.start,
        )


class TextStream(Iterator[str]):
    """Text of one answer as it becomes certain: iterate for the pieces, then take `result`.

    Pieces hold whole characters, and put together they are the text of the result.

    Args:
        generation: A generation of a single row.
        tokenizer: Tokenizer of the same artifact.
    """

    def __init__(self, generation: Generation, tokenizer: Tokenizer) -> None:
        self._generation = generation
        self._pieces = self._run(tokenizer)
        self._result: Result | None = None

    def __next__(self) -> str:
        return next(self._pieces)

    @property
    def result(self) -> Result:
        """The whole answer; runs what has not been iterated yet."""
        if self._result is None:
            self._result = self._generation.results()[0]
        return self._result

    def _run(self, tokenizer: Tokenizer) -> Iterator[str]:
        pieces = TextPieces(tokenizer.decode)
        for (row,) in self._generation.steps():
            if piece := pieces.push(row.answer, final=row.finished):
                yield piece
