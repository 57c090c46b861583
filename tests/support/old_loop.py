"""The decode loop that `dawn_runtime.decoding` had before asks and batches: the slow reference.

One row is one plan is one batch row, and the batch is closed when it begins. Policies, windows,
caches and sampling are those of the package; the row, its plan, packing, kept keys and the loop are
copies of what they once were, so that today's can be held against them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dawn_runtime import Policy, RowView
from dawn_runtime.arrays import inverse, read_only
from dawn_runtime.decoding import Cache, Commit, Sampling, Window
from dawn_runtime.decoding.caches import FullPass
from dawn_runtime.decoding.sampling import GREEDY, probability
from dawn_runtime.engine import Engine, StepInputs, StepOutputs
from dawn_runtime.engine.checks import check_outputs
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.measures import entropy_of, margin_of
from dawn_runtime.policies import Needs

IntArray = BoolArray = FloatArray = KvArray = np.ndarray
Padding = str
PADDINGS = ("right", "left")


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """What a row of length L keeps of the steps since its last full pass, that one included.

    Attributes:
        positions: int64 [N] positions that have a slot in the store, in the order of the slots.
        ids: int64 [L] token that the key in the slot of a position was computed from; -1 for
            positions without a key, which never equals a token.
        window: Window of the last full pass.
        decided: Positions that were decided before it, the given ones not counted.
        confidence: float32 [L] the last prediction made at each position, NaN if there was none.
            None unless the policy needs predictions of known positions.
        key_means: float32 [L] mean attention that each position drew in the last full pass, 0 where
            it was not visible. None unless the policy needs the evidence of all rows.
    """

    positions: IntArray
    ids: IntArray
    window: tuple[int, int]
    decided: int
    confidence: FloatArray | None = None
    key_means: FloatArray | None = None

    @classmethod
    def begin(
        cls,
        row_ids: IntArray,
        positions: IntArray,
        stored: IntArray,
        window: tuple[int, int],
        decided: int,
    ) -> Kept:
        """Describes what a full pass leaves behind.

        Args:
            row_ids: int64 [L] tokens of the row when it was fed.
            positions: int64 [N] positions that get a slot.
            stored: int64 [n] those of them that were fed.
            window: As in the attribute.
            decided: As in the attribute.
        """
        ids = np.full(len(row_ids), -1, dtype=np.int64)
        ids[stored] = row_ids[stored]
        return cls(read_only(positions), read_only(ids), window, decided)

    def renewed(self, row_ids: IntArray, positions: IntArray) -> Kept:
        """Returns the same with newer keys at some positions that have a slot."""
        ids = self.ids.copy()
        ids[positions] = row_ids[positions]
        return replace(self, ids=read_only(ids))

    def current(self, row_ids: IntArray) -> BoolArray:
        """Tells at which positions the key belongs to the token that stands there now, [L]."""
        current: BoolArray = self.ids == row_ids
        return current

    def slots(self, positions: IntArray) -> IntArray:
        """Returns the slots of positions that have one."""
        return inverse(self.positions, len(self.ids))[positions]


@dataclass(frozen=True, slots=True, eq=False)
class RowState:
    """One sequence; arrays have the length L of the whole sequence and refuse writing.

    Attributes:
        ids: int64 [L] token ids, the mask id where undecided.
        masked: bool [L] True where undecided.
        start: First position of the answer, which the prompt precedes; blocks count from here.
        end_tokens: Ids that end the answer; empty to decode every position.
        commit_step: int64 [L] step of the decision, -1 for given and undecided positions.
        commit_confidence: float32 [L] confidence of the decision, NaN likewise.
        step: Number of steps taken.
        fed: Positions fed to the engine so far, over all steps.
        memory: What the policy remembers of this row, None if nothing; see `Policy.remember`.
        kept: What is kept of the last full pass and since, None if the next step is one.
    """

    ids: IntArray
    masked: BoolArray
    start: int
    end_tokens: tuple[int, ...]
    commit_step: IntArray
    commit_confidence: FloatArray
    step: int = 0
    fed: int = 0
    memory: Any = None
    kept: Kept | None = None

    @classmethod
    def begin(
        cls, prompt: IntArray, new_tokens: int, mask_id: int, end_tokens: tuple[int, ...] = ()
    ) -> RowState:
        """Lays out a prompt followed by undecided positions.

        Args:
            prompt: int64 [P] given token ids.
            new_tokens: Number of positions to decide, >= 1.
            mask_id: Id of an undecided position.
            end_tokens: Ids that end the answer.
        """
        length = len(prompt) + new_tokens
        ids = np.full(length, mask_id, dtype=np.int64)
        ids[: len(prompt)] = prompt
        return cls.fill(ids, len(prompt), mask_id, end_tokens)

    @classmethod
    def fill(
        cls, ids: IntArray, start: int, mask_id: int, end_tokens: tuple[int, ...] = ()
    ) -> RowState:
        """Takes any mixture of given and undecided positions.

        Args:
            ids: int64 [L] token ids, the mask id where undecided.
            start: First position of the answer; what precedes it must be given.
            mask_id: Id of an undecided position.
            end_tokens: Ids that end the answer.
        """
        length = len(ids)
        return cls(
            ids=read_only(ids),
            masked=read_only(ids == mask_id),
            start=start,
            end_tokens=end_tokens,
            commit_step=read_only(np.full(length, -1, dtype=np.int64)),
            commit_confidence=read_only(np.full(length, np.nan, dtype=np.float32)),
        )

    @property
    def length(self) -> int:
        """Length L of the sequence."""
        return len(self.ids)

    @property
    def decided(self) -> int:
        """Number of positions decided so far, the given ones not counted."""
        return int((self.commit_step >= 0).sum())

    @property
    def known(self) -> int:
        """Number of positions from `start` on that are not undecided, given ones included."""
        return int(np.count_nonzero(~self.masked[self.start :]))

    @property
    def settled(self) -> int:
        """Length of the decided prefix: the first undecided position, L if there is none."""
        return int(self.masked.argmax()) if self.masked.any() else self.length

    @property
    def end(self) -> int | None:
        """Position of the first end token in the decided prefix, None if there is none.

        Nothing before it can change any more, so nothing after it matters.
        """
        answer = self.ids[self.start : self.settled]
        hits = np.flatnonzero(np.isin(answer, self.end_tokens))
        return self.start + int(hits[0]) if hits.size else None

    @property
    def answer(self) -> IntArray:
        """Decided ids after `start`, up to the first undecided position or the first end token."""
        end = self.end
        return self.ids[self.start : self.settled if end is None else end]

    @property
    def finished(self) -> bool:
        """True when everything that matters is decided."""
        return not self.masked.any() or self.end is not None

    def commit(self, positions: IntArray, tokens: IntArray, confidence: FloatArray) -> RowState:
        """Returns the row one step later, with decisions at some positions.

        Args:
            positions: int64 [n] undecided positions.
            tokens: int64 [n] ids for them.
            confidence: float32 [n] their probabilities.
        """
        return replace(
            self,
            ids=_put(self.ids, positions, tokens),
            masked=_put(self.masked, positions, False),
            commit_step=_put(self.commit_step, positions, self.step),
            commit_confidence=_put(self.commit_confidence, positions, confidence),
            step=self.step + 1,
        )

    def holes(self) -> tuple[tuple[int, int], ...]:
        """Returns the runs of positions that were not given: first and one after the last."""
        open_ = np.concatenate([[False], self.masked | (self.commit_step >= 0), [False]])
        edges = np.flatnonzero(open_[1:] != open_[:-1]).tolist()
        return tuple(zip(edges[::2], edges[1::2], strict=True))

    def trace(self) -> tuple[Commit, ...]:
        """Returns all decisions so far, by step and then by position."""
        positions = np.flatnonzero(self.commit_step >= 0)
        return self._commits(positions[np.argsort(self.commit_step[positions], kind="stable")])

    def last_commits(self) -> tuple[Commit, ...]:
        """Returns the decisions of the last step, by position."""
        return self._commits(np.flatnonzero(self.commit_step == self.step - 1))

    def _commits(self, ordered: IntArray) -> tuple[Commit, ...]:
        return tuple(
            Commit(*entry)
            for entry in zip(
                self.commit_step[ordered].tolist(),
                ordered.tolist(),
                self.ids[ordered].tolist(),
                self.commit_confidence[ordered].tolist(),
                strict=True,
            )
        )


def _put(array: NDArray[Any], positions: IntArray, values: Any) -> NDArray[Any]:
    """Returns a read-only copy with some entries replaced."""
    copy = array.copy()
    copy[positions] = values
    return read_only(copy)


class KvStore:
    """Keys and values of the unfinished rows of a batch, allocated once for the longest row.

    A step reads them as [B, Hkv, P, D] arrays without a gap, as an engine wants them: for all rows
    that is a view, for some of them a copy. P is the number of slots of the fullest row; it changes
    with full passes, and only then are other rows moved. Unused slots hold finite numbers.

    Args:
        info: The engine whose keys are kept.
        batch: Number of rows.
        length: Tokens of the longest row.

    Attributes:
        rows: Numbers of the rows that are in the store, ascending.
        slots: P, slots of each row.
        forwards: Runs of the engine that the content has seen, to tell an older state from the
            one it belongs to.
    """

    def __init__(self, info: Any, batch: int, length: int) -> None:
        self._heads, self._width = info.kv_heads, info.head_dim
        size = batch * length * info.kv_heads * info.head_dim
        self._flat = np.zeros((2 * info.layers, size), dtype=info.kv_dtype)
        self.rows = tuple(range(batch))
        self.slots = 0
        self.forwards = 0

    @property
    def nbytes(self) -> int:
        """Size in bytes; see `kv_bytes`."""
        return self._flat.nbytes

    def read(self, rows: Sequence[int]) -> tuple[KvArray, ...]:
        """Returns the keys and values of some rows, each [len(rows), Hkv, P, D]."""
        if tuple(rows) == self.rows:
            return tuple(self._views())
        places = self._places(rows)
        return tuple(view[places] for view in self._views())

    def write(
        self, row: int, slots: IntArray, present: Sequence[KvArray], index: int, fed: IntArray
    ) -> None:
        """Copies keys and values that the engine returned.

        Args:
            row: Number of the row.
            slots: int64 [n] where to.
            present: Arrays [B, Hkv, S, D] of a run.
            index: Which of their B rows.
            fed: int64 [n] which of their S tokens.
        """
        (place,) = self._places([row])
        for view, array in zip(self._views(), present, strict=True):
            view[place][:, slots] = array[index][:, fed]

    def retain(self, rows: Sequence[int]) -> None:
        """Forgets every row but these, so that reading all of them needs no copy."""
        if tuple(rows) != self.rows:
            places = self._places(rows)
            self._rearrange(places, tuple(rows), self.slots)

    def reserve(self, slots: int, rewritten: Sequence[int]) -> None:
        """Makes room for a number of slots in each row.

        Args:
            slots: Slots of the fullest row.
            rewritten: Rows whose content will be written next; if that is all of them, nothing is
                moved and P is exactly `slots`, else P never shrinks.
        """
        if tuple(rewritten) == self.rows:
            self.slots = slots
        elif slots > self.slots:
            self._rearrange(list(range(len(self.rows))), self.rows, slots)

    def _rearrange(self, places: list[int], rows: tuple[int, ...], slots: int) -> None:
        """Moves the content of the rows at some places to the front, with a number of slots."""
        for part in range(len(self._flat)):
            kept = self._view(part, len(self.rows), self.slots)[places]  # a copy
            self._view(part, len(rows), slots)[:, :, : self.slots] = kept
        self.rows, self.slots = rows, slots

    def _places(self, rows: Sequence[int]) -> list[int]:
        return [self.rows.index(row) for row in rows]

    def _views(self) -> list[KvArray]:
        return [self._view(part, len(self.rows), self.slots) for part in range(len(self._flat))]

    def _view(self, part: int, rows: int, slots: int) -> KvArray:
        shape = (rows, self._heads, slots, self._width)
        view: KvArray = self._flat[part, : prod(shape)].reshape(shape)
        return view


def _nothing() -> IntArray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class RowPlan:
    """What one row feeds to the engine in a step and what it wants back, as positions.

    Attributes:
        window: First position of the window and the one after its last.
        candidates: int64 [n] undecided positions of the window, ascending.
        fed: int64 [S] distinct positions fed, in any order.
        predicted: int64 [R] positions whose predictions are wanted, candidates included.
        evidence: int64 [Q] positions whose attention rows are wanted; all of them fed.
        attended: int64 [N] positions that are not fed but looked at, through their kept keys.
        slots: int64 [N] where those keys are.
        stored: int64 [n] fed positions whose keys are kept.
        layout: In a full pass the positions that have a slot from now on, in their order; None in a
            cached step, which leaves the slots as they are.
    """

    window: tuple[int, int]
    candidates: IntArray
    fed: IntArray
    predicted: IntArray
    evidence: IntArray
    attended: IntArray = field(default_factory=_nothing)
    slots: IntArray = field(default_factory=_nothing)
    stored: IntArray = field(default_factory=_nothing)
    layout: IntArray | None = None


def make_plan(row: RowState, window: Window, cache: Cache, needs: Needs, shift: int) -> RowPlan:
    """Plans the next step of an unfinished row.

    Args:
        row: The row.
        window: Where it may commit and what it sees.
        cache: What is computed anew.
        needs: What its policy reads.
        shift: 0 if row i of the model predicts token i, 1 if row i-1 does. The row that predicts
            the first position of the window is fed in every step.

    Raises:
        OptionError: The window holds no undecided position.
    """
    begin, end = span = window.span(row)
    candidates = begin + np.flatnonzero(row.masked[begin:end])
    if not candidates.size:
        raise OptionError(
            f"window {window.name!r} spans {span}, where nothing is undecided; "
            "a window must hold an undecided position of every unfinished row"
        )
    visible = window.visible(row)
    if row.kept is None or cache.refreshes(row, span, FullPass(row.kept.window, row.kept.decided)):
        fed, kept, layout = visible, None, cache.keeps(row, span)
        stored = layout[visible[layout]]
    else:
        kept, layout = row.kept, None
        first, last = cache.recomputed(row, span)
        old = ~kept.current(row.ids)
        fed = old.copy()
        fed[max(first - shift, 0) : last] = True
        fed &= visible
        stored = kept.positions[(fed & old)[kept.positions]]
    attended = _nothing() if kept is None else kept.positions[(visible & ~fed)[kept.positions]]
    fed_positions = np.flatnonzero(fed)
    every = fed_positions if layout is not None else candidates
    return RowPlan(
        window=span,
        candidates=candidates,
        fed=fed_positions,
        predicted=np.flatnonzero(_wanted(row, end, needs, visible, candidates) & _seen(fed, shift)),
        evidence={"none": _nothing(), "candidates": candidates, "all": every}[needs.evidence],
        attended=attended,
        slots=attended if kept is None else kept.slots(attended),
        stored=stored,
        layout=layout,
    )


def _wanted(
    row: RowState, end: int, needs: Needs, visible: BoolArray, candidates: IntArray
) -> BoolArray:
    """Tells whose predictions the policy reads, [L]."""
    wanted = np.zeros(row.length, dtype=bool)
    wanted[candidates] = True
    if needs.known_predictions:
        wanted[:end] = True
    if needs.later_predictions:
        wanted[end:] = (row.masked & visible)[end:]
    return wanted


def _seen(fed: BoolArray, shift: int) -> BoolArray:
    """Tells which positions are predicted by a fed row, [L]; position 0 by row 0 at any shift."""
    return np.concatenate([fed[:shift], fed[: len(fed) - shift]])


@dataclass(frozen=True, slots=True)
class Packer:
    """Translates between rows and arrays for one model.

    Attributes:
        prediction_shift: 0 if row i predicts token i, 1 if row i-1 does. The prediction of
            position 0 is then taken from row 0, as the published code has it; position 0 is given
            in every prompt, so it is never committed.
        mask_id: Id of an undecided position.
        filler_id: Any legal id, for padding.
        padding: On which side it goes.
    """

    prediction_shift: int
    mask_id: int
    filler_id: int
    padding: Padding = "right"

    def pack(
        self,
        rows: Sequence[RowState],
        plans: Sequence[RowPlan],
        past: tuple[KvArray, ...] = (),
        *,
        want_logits: bool = False,
    ) -> StepInputs:
        """Builds the inputs of a step, one batch row for each plan.

        Args:
            rows: The rows.
            plans: Their plans.
            past: Kept keys and values of these rows, each [B, Hkv, P, D]; empty for full passes.
            want_logits: Whether a policy reads logits.

        Raises:
            OptionError: A plan wants a prediction or evidence from a row that it does not feed.
        """
        width = max(len(plan.fed) for plan in plans)
        ids = [row.ids[plan.fed] for row, plan in zip(rows, plans, strict=True)]
        begins = [self._begin(plan, width) for plan in plans]
        return StepInputs(
            input_ids=_stack(ids, begins, width, self.filler_id),
            position_ids=_stack([plan.fed for plan in plans], begins, width),
            attention_mask=_mask(plans, begins, width, past[0].shape[2] if past else 0),
            logit_rows=_list([self._rows_predicting(plan, width) for plan in plans]),
            attention_rows=_list([self.fed_rows(plan, plan.evidence, width) for plan in plans]),
            past=past,
            want_logits=want_logits,
            want_present=any(plan.stored.size for plan in plans),
        )

    def view(
        self, row: RowState, plan: RowPlan, outputs: StepOutputs, index: int, slots: int = 0
    ) -> RowView:
        """Returns what a policy sees of batch row `index`.

        A prediction of the mask itself decides nothing, so its confidence counts as zero.

        Args:
            row: The row before the step.
            plan: Its plan.
            outputs: What the engine returned.
            index: Which of the B rows.
            slots: P, the kept keys that each query was given.
        """
        begin = slots + self._begin(plan, outputs.attention.shape[2] - slots)
        tokens = np.full(row.length, -1, dtype=np.int64)
        confidence = _last_known(row)
        count = len(plan.predicted)
        tokens[plan.predicted] = outputs.tokens[index, :count]
        confidence[plan.predicted] = outputs.confidence[index, :count]
        confidence[row.masked & (tokens == self.mask_id)] = 0.0
        logits = None if outputs.logits is None else read_only(outputs.logits[index, :count])
        measured = np.full((2, row.length), np.nan, dtype=np.float32)
        if logits is not None:
            measured[:, plan.predicted] = entropy_of(logits), margin_of(logits)
        return RowView(
            candidates=read_only(plan.candidates),
            masked=row.masked,
            window=plan.window,
            tokens=read_only(tokens),
            confidence=read_only(confidence),
            attention=read_only(_attention(plan, outputs, index, begin)),
            attention_rows=read_only(plan.evidence),
            attention_keys=read_only(np.concatenate([plan.attended, plan.fed])),
            step=row.step,
            predicted=read_only(plan.predicted),
            logits=logits,
            decided=row.decided,
            memory=row.memory,
            last_key_means=_last_key_means(row, plan),
            entropy=measured[0],
            margin=measured[1],
        )

    def fed_rows(self, plan: RowPlan, positions: IntArray, width: int) -> IntArray:
        """Finds positions among the tokens of a run.

        Args:
            plan: The plan that feeds them.
            positions: int64 [n] positions that it feeds.
            width: S, tokens of each row of the run.

        Returns:
            int64 [n] rows of S.

        Raises:
            OptionError: A position is not fed.
        """
        length = 1 + int(max(plan.fed.max(), positions.max(initial=0)))
        rows = inverse(plan.fed, length)[positions]
        if (rows < 0).any():
            missing = positions[rows < 0].tolist()
            raise OptionError(
                f"the cache strategy feeds no row for positions {missing[:4]}; "
                "its plan must feed what it wants predicted or as evidence"
            )
        return rows + self._begin(plan, width)

    def _begin(self, plan: RowPlan, width: int) -> int:
        """Returns where among S tokens those of a row begin."""
        return width - len(plan.fed) if self.padding == "left" else 0

    def _rows_predicting(self, plan: RowPlan, width: int) -> IntArray:
        predicting = np.maximum(plan.predicted - self.prediction_shift, 0)
        return self.fed_rows(plan, predicting, width)


def _mask(plans: Sequence[RowPlan], begins: Sequence[int], width: int, slots: int) -> BoolArray:
    """What the queries of each row look at: bool [B, 1, S, P+S], equal for all S."""
    visible = np.zeros((len(plans), slots + width), dtype=bool)
    for row, plan, begin in zip(visible, plans, begins, strict=True):
        row[plan.slots] = True
        row[slots + begin : slots + begin + len(plan.fed)] = True
    shape = (len(plans), 1, width, slots + width)
    return np.ascontiguousarray(np.broadcast_to(visible[:, None, None], shape))


def _last_known(row: RowState) -> FloatArray:
    """Confidence that is kept of known positions, NaN elsewhere; float32 [L], to be filled."""
    if row.kept is None or row.kept.confidence is None:
        return np.full(row.length, np.nan, dtype=np.float32)
    return np.where(row.masked, np.float32(np.nan), row.kept.confidence)


def _last_key_means(row: RowState, plan: RowPlan) -> FloatArray | None:
    """What a cached step cannot compute, from the last full pass."""
    return None if row.kept is None or plan.layout is not None else row.kept.key_means


def _attention(plan: RowPlan, outputs: StepOutputs, index: int, begin: int) -> FloatArray:
    """Evidence over the keys that the row looks at, [Q, K]: kept ones first, then the fed.

    Args:
        plan: The plan of the row.
        outputs: What the engine returned.
        index: Which of the B rows.
        begin: Key of the first token fed.
    """
    rows: FloatArray = outputs.attention[index, : len(plan.evidence)]
    if not plan.slots.size:
        return rows[:, begin : begin + len(plan.fed)]
    return rows[:, np.concatenate([plan.slots, begin + np.arange(len(plan.fed))])]


def _stack(
    rows: Sequence[IntArray], begins: Sequence[int], width: int, filler: int = 0
) -> IntArray:
    """Stacks lists of different length into [B, width], each from its own beginning on."""
    stacked = np.full((len(rows), width), filler, dtype=np.int64)
    for target, row, begin in zip(stacked, rows, begins, strict=True):
        target[begin : begin + len(row)] = row
    return stacked


def _list(rows: Sequence[IntArray]) -> IntArray:
    """Stacks lists of rows of S into [B, longest]; what comes back for the rest is not read."""
    return _stack(rows, [0] * len(rows), max(map(len, rows)))


@dataclass(frozen=True, slots=True)
class Rules:
    """How a row is decoded: choices independent of each other."""

    policy: Policy
    window: Window
    cache: Cache
    sampling: Sampling = GREEDY

    @property
    def want_logits(self) -> bool:
        """Whether the logits of predictions are read."""
        return self.policy.needs.logits or not self.sampling.is_greedy


@dataclass(frozen=True, slots=True, eq=False)
class DecodeState:
    """All rows of a batch.

    Attributes:
        rows: The sequences; finished ones stay here but are no longer fed.
        rules: How each of them is decoded.
        forwards: Runs of the engine so far.
        engine_seconds: Time spent inside the engine so far.
        kv: Keys and values kept between steps, None as long as no row keeps any. The memory is
            handed on from state to state and written in place, so only the newest can be stepped.
    """

    rows: tuple[RowState, ...]
    rules: tuple[Rules, ...]
    forwards: int = 0
    engine_seconds: float = 0.0
    kv: KvStore | None = None

    @property
    def active(self) -> tuple[int, ...]:
        """Numbers of the rows that are not finished."""
        return tuple(index for index, row in enumerate(self.rows) if not row.finished)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One run of the engine: the plans by row, what came back, P, S and the time it took."""

    plans: dict[int, RowPlan]
    outputs: StepOutputs
    slots: int
    width: int
    seconds: float


def decode(
    engine: Engine, packer: Packer, state: DecodeState, *, max_steps: int | None = None
) -> Iterator[DecodeState]:
    """Yields the state after every step until all rows are finished.

    Args:
        engine: Runs the model.
        packer: Arrays of the same model.
        state: Where to start.
        max_steps: Most steps to take; by default the undecided positions of the fullest row, which
            suffice because every step decides one.

    Raises:
        DawnError: Rows are unfinished after that many steps.
        EngineError: The engine failed or returned NaN or infinity.
    """
    if max_steps is None:
        max_steps = max(int(row.masked.sum()) for row in state.rows)
    for _ in range(max_steps):
        if not state.active:
            return
        state = step(engine, packer, state)
        yield state
    if state.active:
        raise DawnError(f"rows {list(state.active)} are unfinished after {max_steps} steps")


def step(engine: Engine, packer: Packer, state: DecodeState) -> DecodeState:
    """Returns the state with every unfinished row one step further.

    Runs the engine once for the rows that are due a full pass and once for the others, as far as
    there are any. Apart from the clock and the memory of `state.kv` it is a function of its
    arguments alone; if the engine fails, the state can be stepped again.

    Raises:
        DawnError: The keys of the state belong to a later one.
        EngineError: The engine failed or returned NaN or infinity.
    """
    plans = {index: _plan(state, index, packer) for index in state.active}
    store = _store(engine, state, plans)
    runs = []
    for full in (False, True):
        group = {index: plan for index, plan in plans.items() if (plan.layout is not None) == full}
        if group:
            past = () if full or store is None else store.read(tuple(group))
            runs.append(_run(engine, packer, state, group, past))
    rows = list(state.rows)
    for run in runs:
        for place, (index, plan) in enumerate(run.plans.items()):
            row, rules = rows[index], state.rules[index]
            view = packer.view(row, plan, run.outputs, place, run.slots)
            if rules.sampling.is_greedy:
                view = _unstuck(view, packer.mask_id)
            else:
                view = rules.sampling.apply(view, packer.mask_id)
            rows[index] = _advance(row, plan, rules.policy, view, packer.mask_id)
    forwards = state.forwards + len(runs)
    if store is not None:
        _save(store, packer, rows, runs)
        store.forwards = forwards
    seconds = state.engine_seconds + sum(run.seconds for run in runs)
    return DecodeState(tuple(rows), state.rules, forwards, seconds, store)


def _plan(state: DecodeState, index: int, packer: Packer) -> RowPlan:
    rules = state.rules[index]
    needs, shift = rules.policy.needs, packer.prediction_shift
    return make_plan(state.rows[index], rules.window, rules.cache, needs, shift)


def _store(engine: Engine, state: DecodeState, plans: dict[int, RowPlan]) -> KvStore | None:
    """Returns the memory for this step, made when a row first keeps something."""
    store = state.kv
    if store is None:
        if not any(plan.stored.size for plan in plans.values()):
            return None
        longest = max(row.length for row in state.rows)
        store = KvStore(engine.describe(), len(state.rows), longest)
        store.forwards = state.forwards
    if store.forwards != state.forwards:
        raise DawnError(
            f"the keys of this state were overwritten: they are those after {store.forwards} "
            f"forwards, the state has {state.forwards}; with a cache, step the newest state only"
        )
    store.retain(tuple(plans))
    return store


def _run(
    engine: Engine,
    packer: Packer,
    state: DecodeState,
    plans: dict[int, RowPlan],
    past: tuple[KvArray, ...],
) -> _Run:
    """Runs the engine on some rows of the batch, all in a full pass or all in a cached one."""
    rows = [state.rows[index] for index in plans]
    inputs = packer.pack(rows, list(plans.values()), past, want_logits=True)
    outputs = engine.run(inputs)
    seconds = 0.0
    check_outputs(inputs, outputs, engine.describe())
    slots, width = past[0].shape[2] if past else 0, inputs.input_ids.shape[1]
    return _Run(plans, outputs, slots, width, seconds)


def _save(store: KvStore, packer: Packer, rows: Sequence[RowState], runs: Sequence[_Run]) -> None:
    """Writes the keys that unfinished rows keep of a step into the memory."""
    plans = {index: plan for run in runs for index, plan in run.plans.items()}
    kept = {index: row.kept for index, row in enumerate(rows) if row.kept is not None}
    rewritten = [index for index in store.rows if plans[index].layout is not None]
    store.reserve(max((len(entry.positions) for entry in kept.values()), default=0), rewritten)
    for run in runs:
        for place, (index, plan) in enumerate(run.plans.items()):
            if index in kept and plan.stored.size:
                slots = kept[index].slots(plan.stored)
                fed = packer.fed_rows(plan, plan.stored, run.width)
                store.write(index, slots, run.outputs.present, place, fed)


def _unstuck(view: RowView, mask_id: int) -> RowView:
    """Gives each candidate its best other token if nothing but the mask is predicted."""
    if not (view.tokens[view.candidates] == mask_id).all():
        return view
    logits = view.logits[inverse(view.predicted, len(view.masked))[view.candidates]]
    others = logits.copy()
    others[:, mask_id] = -np.inf
    best = others.argmax(axis=1)
    tokens, confidence = view.tokens.copy(), view.confidence.copy()
    tokens[view.candidates], confidence[view.candidates] = best, probability(logits, best)
    return replace(view, tokens=read_only(tokens), confidence=read_only(confidence))


def _advance(row: RowState, plan: RowPlan, policy: Policy, view: RowView, mask_id: int) -> RowState:
    """Lets the policy choose, keeps what is allowed, and commits at least one position."""
    if not policy.needs.logits:  # they are there if sampling or another row reads them
        view = replace(view, logits=None)
    if policy.needs.history:
        view = replace(view, memory=policy.remember(view))
    allowed = view.candidates[view.tokens[view.candidates] != mask_id]
    chosen = allowed[np.isin(allowed, policy.select(view))]
    if not chosen.size:
        chosen = allowed[[int(np.argmax(view.confidence[allowed]))]]
    after = row.commit(chosen, view.tokens[chosen], view.confidence[chosen])
    after = replace(after, fed=row.fed + len(plan.fed))
    if after.finished:
        return replace(after, memory=None, kept=None)
    return replace(after, memory=view.memory, kept=_kept(row, plan, policy.needs, view))


def _kept(row: RowState, plan: RowPlan, needs: Needs, view: RowView) -> Kept | None:
    """What a row keeps of a step besides the keys themselves."""
    if plan.layout is None:
        kept = None if row.kept is None else row.kept.renewed(row.ids, plan.stored)
    elif plan.stored.size:
        kept = Kept.begin(row.ids, plan.layout, plan.stored, plan.window, row.decided)
        if needs.evidence == "all":
            means = np.zeros(row.length, dtype=np.float32)
            means[view.attention_keys] = view.key_means()
            kept = replace(kept, key_means=read_only(means))
    else:
        kept = None
    if kept is None or not needs.known_predictions:
        return kept
    return replace(kept, confidence=view.confidence)
