"""How probable a model holds a text to be behind another.

Models that look at everything have no such number that is cheap: LLaDA (arXiv 2502.09992, equation
6 and its evaluation code) estimates a bound of it. Of the n tokens of the continuation k are
masked, which and how many drawn at random, and all are predicted in one run:

    log p >= E over k in 1..n and over the masks of size k of  n / k * sum of log p(masked token)

The draws of a batch share one random start and are n / batch apart, round the numbers 1 to n.
`bound` is what the estimate is the mean of, over all masks, for continuations of a few tokens.

Models whose text is causal are language models of the usual kind: one run gives every factor of the
product exactly.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

import numpy as np

from dawn_runtime import Decoder, Filling, OptionError
from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.decoding import RowState
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.caches import Cache, NoCache
from dawn_runtime.decoding.schemes.autoregressive import CausalText
from dawn_runtime.decoding.schemes.base import Scheme
from dawn_runtime.errors import EngineError
from dawn_runtime.request import Request

MOST_EXACT: Final = 12
"""Tokens up to which `every_mask` goes through all masks; there are 2 to their number."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a run found.

    Attributes:
        log_probability: Sum over the tokens that were open, natural logarithm.
        greedy: Whether each of them is the most probable one.
    """

    log_probability: float
    greedy: bool


@dataclass(frozen=True, slots=True)
class Together(Scheme):
    """Predicts all open tokens in one run, and notes how probable the given ones are.

    Attributes:
        tokens: They, by position.
        notes: Gets what is found; a row that is finished remembers nothing.
    """

    name: ClassVar[str] = "likelihood"

    tokens: tuple[int, ...]
    notes: list[Found] = field(default_factory=list, compare=False)

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the distributions of all open positions."""
        rows = np.flatnonzero(row.masked) - row.shift
        return (Ask(row.ids, np.arange(row.length), predict=rows, logits=True),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Decides them as given."""
        return _noted(np.flatnonzero(row.masked), self.tokens, answers[0], self.notes)


@dataclass(frozen=True, slots=True)
class Chain(CausalText):
    """Feeds a text that is causal as a whole, and notes how probable each next token is.

    Attributes:
        cache: None is kept.
        tokens: Those behind the prompt.
        notes: As for `Together`.
    """

    name: ClassVar[str] = "chain"

    cache: Cache = field(default_factory=NoCache)
    tokens: tuple[int, ...] = ()
    notes: list[Found] = field(default_factory=list, compare=False)

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the distributions of what follows the prompt and each token but the last."""
        fed = np.array(self.tokens[:-1], dtype=np.int64)
        return (replace(self.causal(row, fed), logits=True),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Decides them as given."""
        return _noted(np.flatnonzero(row.masked), self.tokens, answers[0], self.notes)

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells that it is not: it has logits."""
        return False


def log_probabilities(logits: FloatArray, tokens: IntArray) -> FloatArray:
    """Returns the logarithm of the probability of one token at each position, float64 [N].

    Args:
        logits: float32 [N, V].
        tokens: int64 [N] ids.
    """
    wide = logits.astype(np.float64)
    best = wide.max(axis=1)
    chosen = np.take_along_axis(wide, tokens[:, None], axis=1)[:, 0]
    found: FloatArray = chosen - best - np.log(np.exp(wide - best[:, None]).sum(axis=1))
    return found


def _noted(
    positions: IntArray, tokens: Sequence[int], answer: Answer, notes: list[Found]
) -> Decision:
    if answer.logits is None:
        raise EngineError("likelihoods need logits; use an engine that returns them")
    ids = np.array(tokens, dtype=np.int64)
    sure = log_probabilities(answer.logits, ids)
    greedy = bool((answer.logits.argmax(axis=1) == ids).all())
    notes.append(Found(float(sure.sum()), greedy))
    return Decision(positions, ids, np.exp(sure).astype(np.float32))


def exact_request(decoder: Decoder, prompt: IntArray, continuation: IntArray) -> Request:
    """Returns what finds the likelihood in a model whose text is causal; see `found`.

    Args:
        decoder: Of the model.
        prompt: int64 [P] ids, P >= 1.
        continuation: int64 [n] ids, n >= 1.

    Raises:
        PromptError: They do not fit the context.
        OptionError: The model's text is not causal.
    """
    scheme: Any = Chain(tokens=tuple(continuation.tolist()))
    count = len(continuation)
    return decoder.prepare(input_ids=prompt, policy=scheme, max_new_tokens=count, stop_at_eos=False)


def masked_request(
    decoder: Decoder, prompt: IntArray, continuation: IntArray, masked: BoolArray
) -> Request:
    """Returns what predicts the masked tokens of a continuation from all others; see `found`.

    Args:
        decoder: Of the model.
        prompt: int64 [P] ids.
        continuation: int64 [n] ids.
        masked: bool [n], at least one.

    Raises:
        PromptError: They do not fit the context.
        OptionError: The model does not look at everything.
    """
    ids = np.concatenate([prompt, np.where(masked, decoder.manifest.tokens.mask, continuation)])
    scheme = Together(tuple(continuation[masked].tolist()))
    return decoder.prepare(Filling(input_ids=ids), policy=scheme)


def found(request: Request) -> Found:
    """Returns what a request found that was decoded to its end."""
    scheme = request.scheme
    if not isinstance(scheme, (Chain, Together)) or not scheme.notes:
        raise EngineError("the likelihood of this request was not found; decode it to its end")
    return scheme.notes[-1]


def drawn_masks(
    rng: np.random.Generator, length: int, samples: int, batch: int
) -> Iterator[BoolArray]:
    """Yields masks, each bool [length] and not empty, as LLaDA's evaluation draws them.

    But for one thing: there halves are rounded to even numbers, by which small sizes come too often
    where a batch is larger than the continuation. Here they are rounded up, so every size is as
    likely as every other.

    Args:
        rng: The chance.
        length: n.
        samples: How many, a multiple of `batch`.
        batch: How many share a start; their sizes are `length / batch` apart.

    Raises:
        OptionError: The numbers do not go together.
    """
    if batch < 1 or samples < 1 or samples % batch:
        raise OptionError(
            f"mc_samples is {samples} and mc_batch {batch}; expected a multiple of the latter, "
            "both >= 1"
        )
    for _ in range(samples // batch):
        first = int(rng.integers(length))
        steps = (2 * length * np.arange(batch) + batch) // (
            2 * batch
        )  # i * length / batch, rounded
        for size in ((first + steps) % length + 1).tolist():
            mask = np.zeros(length, dtype=bool)
            mask[rng.permutation(length)[:size]] = True
            yield mask


def every_mask(length: int) -> Iterator[BoolArray]:
    """Yields all masks of a continuation with at least one position, each bool [length].

    Raises:
        OptionError: There are too many.
    """
    if length > MOST_EXACT:
        raise OptionError(f"length is {length}; expected at most {MOST_EXACT}")
    for chosen in itertools.product((False, True), repeat=length):
        if any(chosen):
            yield np.array(chosen)


def estimate(length: int, masks: Sequence[BoolArray], sums: Sequence[float]) -> float:
    """Returns the estimate from what was found for masks that were drawn.

    Args:
        length: n.
        masks: Each bool [n].
        sums: For each the sum of the logarithms of what was masked.
    """
    pairs = zip(masks, sums, strict=True)
    return sum(length / int(mask.sum()) * one for mask, one in pairs) / len(masks)


def bound(length: int, masks: Sequence[BoolArray], sums: Sequence[float]) -> float:
    """Returns what `estimate` is the mean of, from all masks.

    Args:
        length: n.
        masks: All there are, each bool [n].
        sums: As for `estimate`.
    """
    total = 0.0
    for mask, one in zip(masks, sums, strict=True):
        size = int(mask.sum())
        total += length / size * one / (length * math.comb(length, size))
    return total
