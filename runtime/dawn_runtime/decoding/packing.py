"""From asks to the dense arrays of the step contract, and back.

Kept keys come first and fed tokens after them, which are padded on the right or on the left where
asks differ in length. Padding is invisible: no row looks at a padded column, and a padded row looks
at the real columns of its ask, so that no softmax runs over nothing. Where the engine asks for an
alignment, padding changes not even the last bit of what a row computes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, KvArray, read_only
from dawn_runtime.decoding.ask import Answer, Ask
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.errors import EngineError
from dawn_runtime.measures import entropy_of, margin_of

Padding = Literal["right", "left"]
"""Side on which the fed tokens of shorter asks are filled up."""

PADDINGS: Final[tuple[Padding, ...]] = ("right", "left")


@dataclass(frozen=True, slots=True)
class Packer:
    """Translates between asks and arrays.

    Attributes:
        filler_id: Any legal id, for padding.
        padding: On which side it goes.
        alignment: What the engine asks for (`EngineInfo.alignment`): fed tokens begin behind as
            many slots and, padded on the left, as many fillers as are a multiple of it.
        multiple: What fed tokens are filled up to a multiple of (`EngineInfo.multiple`).
        measures: Whether the engine returns entropy and margin (`EngineInfo.measures`); otherwise
            it is asked for logits, and they are computed here.
        least_rows: Fewest predictions of a run (`EngineInfo.least_rows`).
        drafts: Whether the engine has an adapter for drafts (`EngineInfo.drafts`); otherwise rows
            that draft are run as all others are.
    """

    filler_id: int
    padding: Padding = "right"
    alignment: int = 1
    multiple: int = 1
    measures: bool = False
    least_rows: int = 1
    drafts: bool = False

    @classmethod
    def for_engine(cls, filler_id: int, info: EngineInfo) -> "Packer":
        """Returns one that gives an engine what it asks for.

        Args:
            filler_id: Any legal id.
            info: What the engine says of itself.
        """
        return cls(
            filler_id,
            alignment=info.alignment,
            multiple=info.multiple,
            measures=info.measures,
            least_rows=info.least_rows,
            drafts=info.drafts,
        )

    def aligned(self, slots: int) -> int:
        """Rounds a number of slots up to a multiple of the alignment."""
        return -(-slots // self.alignment) * self.alignment

    def pack(
        self, asks: Sequence[Ask], past: tuple[KvArray, ...] = (), *, resident: bool = False
    ) -> StepInputs:
        """Builds the inputs of a run, one batch row for each ask.

        Args:
            asks: What is asked, all with kept keys or all without.
            past: Kept keys and values, each [B, Hkv, P, D], row by row those of the asks; empty
                where nothing is kept.
            resident: Whether keys stay in the engine's own memory.
        """
        longest = max(len(ask.tokens) for ask in asks)
        width = -(-longest // self.multiple) * self.multiple
        begins = [self.begin(ask, width) for ask in asks]
        slots = past[0].shape[2] if past else 0
        starts = [0] * len(asks)
        predicting = max(self.least_rows, *(len(ask.predict) for ask in asks))
        measured = any(ask.entropy or ask.margin for ask in asks)
        return StepInputs(
            input_ids=_stack([ask.tokens for ask in asks], begins, width, self.filler_id),
            position_ids=_stack([ask.positions for ask in asks], begins, width),
            attention_mask=_mask(asks, begins, width, slots),
            logit_rows=_stack(_shifted([ask.predict for ask in asks], begins), starts, predicting),
            attention_rows=_stack(_shifted([ask.evidence for ask in asks], begins), starts),
            past=past,
            want_logits=any(ask.logits for ask in asks) or (measured and not self.measures),
            want_present=any(ask.store.size for ask in asks),
            resident=resident,
            want_entropy=self.measures and any(ask.entropy for ask in asks),
            want_margin=self.measures and any(ask.margin for ask in asks),
            draft_mask=self._drafting(asks, begins, width),
        )

    def _drafting(self, asks: Sequence[Ask], begins: Sequence[int], width: int) -> BoolArray | None:
        """Which fed tokens draft, bool [B, S]; None if the engine need not know or none does."""
        if not self.drafts or not any(ask.draft.size for ask in asks):
            return None
        mask = np.zeros((len(asks), width), dtype=bool)
        for row, ask, begin in zip(mask, asks, begins, strict=True):
            row[begin + ask.draft] = True
        return mask

    def begin(self, ask: Ask, width: int) -> int:
        """Returns where among S tokens of a run those of an ask begin."""
        free = width - len(ask.tokens)
        return free - free % self.alignment if self.padding == "left" else 0

    def answer(self, ask: Ask, outputs: StepOutputs, index: int, slots: int) -> Answer:
        """Returns what came back for the ask in batch row `index`.

        Args:
            ask: What was asked.
            outputs: What the engine returned.
            index: Which of the B rows.
            slots: P, the kept keys that each row of the run was given.
        """
        count, queries = len(ask.predict), len(ask.evidence)
        attention = outputs.attention[index, :queries]
        if queries:
            attention = attention[:, self.columns(ask, attention.shape[1] - slots, slots)]
        else:
            attention = attention[:, : len(ask.kept) + len(ask.tokens)]
        logits = None if outputs.logits is None else read_only(outputs.logits[index, :count])
        return Answer(
            ask=ask,
            tokens=read_only(outputs.tokens[index, :count]),
            confidence=read_only(outputs.confidence[index, :count]),
            attention=read_only(attention),
            logits=logits,
            entropy=_measured(outputs.entropy, entropy_of, logits, index, count)
            if ask.entropy
            else None,
            margin=_measured(outputs.margin, margin_of, logits, index, count)
            if ask.margin
            else None,
        )

    def columns(self, ask: Ask, width: int, slots: int) -> slice | IntArray:
        """Returns which of the P+S keys of a run the columns of an ask are.

        Args:
            ask: What was asked.
            width: S of the run.
            slots: P of the run.
        """
        begin = slots + self.begin(ask, width)
        if not ask.kept.size:
            return slice(begin, begin + len(ask.tokens))
        return np.concatenate([ask.kept, begin + np.arange(len(ask.tokens))])


def _measured(
    found: FloatArray | None,
    measure: Callable[[FloatArray], FloatArray],
    logits: FloatArray | None,
    index: int,
    count: int,
) -> FloatArray:
    """What was measured of the predictions in a batch row, float32 [R]; else it is measured now.

    Raises:
        EngineError: Neither it nor logits came back.
    """
    if found is not None:
        return read_only(found[index, :count])
    if logits is None:
        raise EngineError("neither entropy and margin nor the logits that give them came back")
    return read_only(measure(logits))


def _mask(asks: Sequence[Ask], begins: Sequence[int], width: int, slots: int) -> BoolArray:
    """What the rows of each ask look at, bool [B, 1, S, P+S]."""
    visible = np.zeros((len(asks), slots + width), dtype=bool)
    for columns, ask, begin in zip(visible, asks, begins, strict=True):
        columns[ask.kept] = True
        columns[slots + begin : slots + begin + len(ask.tokens)] = True
    mask = np.empty((len(asks), 1, width, slots + width), dtype=bool)
    mask[:] = visible[:, None, None]
    for whole, ask, begin in zip(mask[:, 0], asks, begins, strict=True):
        if ask.sees is not None:
            # Padded rows go on seeing every column of their ask.
            own, kept = whole[begin : begin + len(ask.tokens)], len(ask.kept)
            own[:, ask.kept] = ask.sees[:, :kept]
            own[:, slots + begin : slots + begin + len(ask.tokens)] = ask.sees[:, kept:]
    return mask


def _shifted(lists: Sequence[IntArray], begins: Sequence[int]) -> list[IntArray]:
    """Rows of the asks as rows of the run."""
    return [rows + begin if begin else rows for rows, begin in zip(lists, begins, strict=True)]


def _stack(
    lists: Sequence[IntArray], begins: Sequence[int], width: int | None = None, filler: int = 0
) -> IntArray:
    """Stacks lists of different length into [B, width], each from its own beginning on."""
    width = max(map(len, lists)) if width is None else width
    if len(lists) == 1 and len(lists[0]) == width:
        return np.array(lists[0], dtype=np.int64, ndmin=2)
    stacked = np.full((len(lists), width), filler, dtype=np.int64)
    for target, numbers, begin in zip(stacked, lists, begins, strict=True):
        target[begin : begin + len(numbers)] = numbers
    return stacked
