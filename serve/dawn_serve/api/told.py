"""What answers say beside their text: tokens with probabilities, and how they were decoded."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from dawn_runtime.tokenizer import Tokenizer
from dawn_serve.jobs import Outcome

_LEAST: Final = 1e-300
_BROKEN: Final = "\N{REPLACEMENT CHARACTER}"


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """Returns the text of a token by itself."""
    return tokenizer.decode(np.array([token], dtype=np.int64))


def token_bytes(text: str) -> list[int] | None:
    """Returns the bytes of a token; None if it is part of a character only."""
    return None if _BROKEN in text else list(text.encode())


def logprob(confidence: float | None) -> float | None:
    """Returns the logarithm of a probability; None of a token that was given."""
    return None if confidence is None else min(0.0, math.log(max(confidence, _LEAST)))


def how(outcome: Outcome) -> dict[str, Any]:
    """Returns how an answer was decoded, for the field `dawn` of a response."""
    result = outcome.result
    return {
        "finish_reason": result.finish_reason if outcome.stop is None else "stop",
        "policy": result.policy,
        "options": dict(result.options),
        "guards": list(result.guards),
        "fallback": result.fallback,
        "doubt": result.doubt,
        "forwards": result.forwards,
        "tokens_decided": result.tokens_decided,
        "rows_fed": result.rows_fed,
        "reused_tokens": result.reused_tokens,
        "seconds": round(result.seconds, 6),
        "engine_seconds": round(result.engine_seconds, 6),
        "queue_seconds": round(outcome.queued, 6),
    }


def usage(prompt_tokens: int, outcomes: Sequence[Outcome]) -> dict[str, int]:
    """Returns the counts of tokens as OpenAI has them."""
    answered = sum(len(outcome.tokens) for outcome in outcomes)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": answered,
        "total_tokens": prompt_tokens + answered,
    }
