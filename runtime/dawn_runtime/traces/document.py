"""A trace as JSON: everything of a run that a viewer needs, and nothing twice.

Positions count from 0, prompt included. What repeats from step to step is told when it changes:
confidence in whole percent, and the sinks. docs/traces.md says what each field means.
"""

from collections.abc import Sequence
from typing import Any, Final

from dawn_runtime._version import __version__
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoder import Decoder
from dawn_runtime.decoding import Choice, StepRecord
from dawn_runtime.errors import OptionError
from dawn_runtime.results import Result

FORMAT: Final = "dawn-trace"
VERSION: Final = 1

Document = dict[str, Any]


def trace_document(decoder: Decoder, ids: IntArray, result: Result) -> Document:
    """Returns the trace of an answer, ready for JSON.

    Args:
        decoder: Has decoded it.
        ids: int64 [P] the prompt as `Decoder.encode` returns it, or that of a `Filling`, with the
            mask id where it is open.
        result: The answer, decoded with `record=True`.

    Raises:
        OptionError: It was decoded without a record.
    """
    if result.record is None:
        raise OptionError("the answer has no record of its steps; decode it with record=True")
    mask = decoder.manifest.tokens.mask
    given: list[int | None] = [None if token == mask else token for token in ids.tolist()]
    given += [None] * (_length(result.record) - len(given))
    return {
        "format": FORMAT,
        "version": VERSION,
        "dawn_edge": __version__,
        "model": _model(decoder),
        "decoding": {
            "policy": result.policy,
            "options": dict(result.options),
            "guards": list(result.guards),
            "fallback": result.fallback,
            "doubt": result.doubt,
        },
        "answer": _answer(result),
        "given": given,
        "texts": _texts(decoder, given, result.record),
        "steps": _steps(result.record),
    }


def _length(record: Sequence[StepRecord]) -> int:
    """One more than the last position that anything happened at."""
    decided = (choice.position for step in record for choice in step.commits)
    predicted = (int(step.positions[-1]) for step in record if step.positions.size)
    return max([-1, *decided, *predicted]) + 1


def _model(decoder: Decoder) -> Document:
    manifest = decoder.manifest
    return {
        "family": manifest.family,
        "precision": manifest.precision,
        "engine": decoder.engine_name,
        "layers": manifest.dims.layers,
        "hidden": manifest.dims.hidden,
    }


def _answer(result: Result) -> Document:
    return {
        "text": result.written,
        "begin": result.prompt_tokens,
        "end": result.prompt_tokens + len(result.tokens),
        "finish_reason": result.finish_reason,
        "tokens_decided": result.tokens_decided,
        "forwards": result.forwards,
        "tokens_per_forward": result.tokens_per_forward,
        "rows_fed": result.rows_fed,
        "seconds": result.seconds,
        "engine_seconds": result.engine_seconds,
    }


def _texts(
    decoder: Decoder, given: Sequence[int | None], record: Sequence[StepRecord]
) -> dict[str, str]:
    """The text of every token that occurs, by its id; empty without a tokenizer."""
    seen = {token for token in given if token is not None}
    seen |= {choice.token for step in record for choice in step.commits}
    ids = sorted(seen)
    texts = decoder.token_texts(ids)
    return {} if texts is None else {str(i): text for i, text in zip(ids, texts, strict=True)}


def _steps(record: Sequence[StepRecord]) -> list[Document]:
    teller, found = StepTeller(), []
    for step in record:
        document: Document = {"commits": [_commit(choice) for choice in step.commits]}
        if step.revoked:
            document["revoked"] = list(step.revoked)
        found.append(document | teller.tell(step))
    return found


class StepTeller:
    """Tells the steps of an answer, one after the other, each as what has changed."""

    def __init__(self) -> None:
        self._percent: dict[int, int] = {}
        self._sinks: tuple[int, ...] = ()

    def tell(self, step: StepRecord) -> Document:
        """Returns all of a step but what was decided and taken back; see docs/traces.md."""
        document: Document = {
            "window": None if step.window is None else list(step.window),
            "fed": step.fed,
        }
        if step.held:
            document["held"] = [list(one) for one in step.held]
        if step.waits:
            document["waits"] = [list(one) for one in step.waits]
        if step.sinks != self._sinks:
            document["sinks"], self._sinks = list(step.sinks), step.sinks
        document["confidence"] = _changes(step, self._percent)
        return document


def _commit(choice: Choice) -> list[int | float | str]:
    """Position, token, confidence and reason; of an induced one, the position that it is for."""
    because = [] if choice.because is None else [choice.because]
    confidence = round(choice.confidence, 6)
    return [choice.position, choice.token, confidence, choice.reason, *because]


def _changes(step: StepRecord, told: dict[int, int]) -> list[list[int]]:
    """Positions whose confidence is another percent than was told last, and what it is now."""
    percent = (100 * step.confidence).round().astype(int).tolist()
    now = dict(zip(step.positions.tolist(), percent, strict=True))
    changed = [[position, value] for position, value in now.items() if told.get(position) != value]
    told.update(now)
    return changed
