"""One sequence while it is decoded: what is decided, when and how surely.

A step makes a new `RowState`; nothing is written in place, so an earlier state can be kept
and shown.
"""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, read_only
from dawn_runtime.decoding.kv import Kept


@dataclass(frozen=True, slots=True)
class Commit:
    """One decision.

    Attributes:
        step: Steps this row had taken before, so 0 is the first.
        position: Position in the whole sequence, prompt included.
        token: Id that was committed.
        confidence: Its probability when it was committed.
    """

    step: int
    position: int
    token: int
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class RowState:
    """One sequence; arrays have the length L of the whole sequence and refuse writing.

    Attributes:
        ids: int64 [L] token ids, the mask id where undecided.
        masked: bool [L] True where undecided.
        start: First position of the answer, which the prompt precedes; blocks count from here.
        end_tokens: Ids that end the answer; empty to decode every position.
        mask_id: Id of an undecided position.
        shift: 0 if row i of the model predicts token i, 1 if row i-1 does.
        limit: Where the answer ends; a scheme may decide more than is wanted, to make its last
            block whole.
        final: Nothing below this position changes any more; `limit` or more when the row is
            finished without an end token.
            Streams give out, and end tokens are looked for, below it.
        commit_step: int64 [L] step of the decision, -1 for given and undecided positions.
        commit_confidence: float32 [L] confidence of the decision, NaN likewise.
        step: Number of steps taken.
        fed: Positions fed to the engine so far, over all steps.
        predicted: Of how many of them the head was computed.
        reused: Tokens of the prompt whose keys were taken over from an earlier text.
        memory: What the scheme remembers of this row, None if nothing.
        kept: Whose keys are kept, None if there are none.
        linked: In how many of its steps a dependency graph had an edge; see `Decision.linked`.
    """

    ids: IntArray
    masked: BoolArray
    start: int
    end_tokens: tuple[int, ...]
    mask_id: int
    shift: int
    final: int
    commit_step: IntArray
    commit_confidence: FloatArray
    limit: int
    step: int = 0
    fed: int = 0
    predicted: int = 0
    reused: int = 0
    memory: Any = None
    kept: Kept | None = None
    linked: int = 0
    _found: tuple[int | None] | None = field(default=None, init=False, repr=False)
    """What `end` has found; a state never changes, so it looks once."""

    @classmethod
    def begin(
        cls,
        prompt: IntArray,
        new_tokens: int,
        mask_id: int,
        end_tokens: tuple[int, ...] = (),
        *,
        shift: int = 0,
        length: int = 0,
    ) -> "RowState":
        """Lays out a prompt followed by undecided positions.

        Args:
            prompt: int64 [P] given token ids.
            new_tokens: Number of positions to decide, >= 1.
            mask_id: Id of an undecided position.
            end_tokens: Ids that end the answer.
            shift: As in the attribute.
            length: L, if it is more than prompt and answer.
        """
        limit = len(prompt) + new_tokens
        ids = np.full(max(length, limit), mask_id, dtype=np.int64)
        ids[: len(prompt)] = prompt
        row = cls.fill(ids, len(prompt), mask_id, end_tokens, shift=shift)
        return replace(row, limit=limit)

    @classmethod
    def fill(
        cls,
        ids: IntArray,
        start: int,
        mask_id: int,
        end_tokens: tuple[int, ...] = (),
        *,
        shift: int = 0,
    ) -> "RowState":
        """Takes any mixture of given and undecided positions.

        Args:
            ids: int64 [L] token ids, the mask id where undecided.
            start: First position of the answer; what precedes it must be given.
            mask_id: Id of an undecided position.
            end_tokens: Ids that end the answer.
            shift: As in the attribute.
        """
        length, masked = len(ids), ids == mask_id
        return cls(
            ids=read_only(ids),
            masked=read_only(masked),
            start=start,
            end_tokens=end_tokens,
            mask_id=mask_id,
            shift=shift,
            final=_prefix(masked),
            commit_step=read_only(np.full(length, -1, dtype=np.int64)),
            commit_confidence=read_only(np.full(length, np.nan, dtype=np.float32)),
            limit=length,
        )

    @property
    def length(self) -> int:
        """Length L of the sequence."""
        return len(self.ids)

    @property
    def decided(self) -> int:
        """Number of positions decided so far, the given ones not counted."""
        return int(np.count_nonzero(self.commit_step >= 0))

    @property
    def known(self) -> int:
        """Number of positions from `start` on that are not undecided, given ones included."""
        return int(np.count_nonzero(~self.masked[self.start :]))

    @property
    def settled(self) -> int:
        """Length of the decided prefix: the first undecided position, L if there is none."""
        return _prefix(self.masked)

    @property
    def end(self) -> int | None:
        """Position of the first end token below `final`, None if there is none.

        Nothing before it can change any more, so nothing after it matters.
        """
        if self._found is None:
            object.__setattr__(self, "_found", (self._first_end(),))
        assert self._found is not None
        return self._found[0]

    def _first_end(self) -> int | None:
        if not self.end_tokens:
            return None
        answer = self.ids[self.start : min(self.final, self.limit)]
        hits = np.zeros(len(answer), dtype=bool)
        for token in self.end_tokens:  # a few: cheaper than sorting them
            hits |= answer == token
        return self.start + int(hits.argmax()) if hits.any() else None

    @property
    def answer(self) -> IntArray:
        """Final ids after `start`, up to the first that may still change or the first end token."""
        end = self.end
        return self.ids[self.start : min(self.final, self.limit) if end is None else end]

    @property
    def finished(self) -> bool:
        """True when everything that matters is decided for good."""
        return self.final >= self.limit or self.end is not None

    def advance(
        self,
        commit: IntArray,
        tokens: IntArray,
        confidence: FloatArray,
        revoke: IntArray,
        *,
        final: int | None = None,
        fed: int = 0,
        predicted: int = 0,
        memory: Any = None,
        kept: Kept | None = None,
        linked: bool = True,
    ) -> "RowState":
        """Returns the row one step later; what is allowed in a step is up to `rails`.

        Args:
            commit: int64 [n] undecided positions.
            tokens: int64 [n] ids for them.
            confidence: float32 [n] their probabilities.
            revoke: int64 [m] decided positions that are open again.
            final: As in the attribute, never less than it is and never beyond the decided prefix;
                None is that prefix.
            fed: Positions that the step fed to the engine.
            predicted: Of how many the head was computed.
            memory: As in the attribute, after the step.
            kept: The same.
            linked: Whether a dependency graph had an edge in the step.
        """
        ids, masked, steps, confidences = (
            array.copy()
            for array in (self.ids, self.masked, self.commit_step, self.commit_confidence)
        )
        if revoke.size:
            ids[revoke], masked[revoke] = self.mask_id, True
            steps[revoke], confidences[revoke] = -1, np.nan
        ids[commit], masked[commit] = tokens, False
        steps[commit], confidences[commit] = self.step, confidence
        prefix = _prefix(masked)
        return replace(
            self,
            ids=read_only(ids),
            masked=read_only(masked),
            commit_step=read_only(steps),
            commit_confidence=read_only(confidences),
            final=prefix if final is None else min(max(self.final, final), prefix),
            step=self.step + 1,
            fed=self.fed + fed,
            predicted=self.predicted + predicted,
            memory=memory,
            kept=kept,
            linked=self.linked + linked,
        )

    def assumed(self, masked: BoolArray) -> "RowState":
        """Returns the row as if other positions were open, to ask where its window would be.

        Args:
            masked: bool [L].
        """
        return replace(self, masked=masked, final=_prefix(masked))

    def before_last_step(self) -> "RowState":
        """Returns the row with what was decided in its last step open, to ask for its window."""
        if not self.step:
            return self
        return self.assumed(self.masked | (self.commit_step == self.step - 1))

    def holes(self) -> tuple[tuple[int, int], ...]:
        """Returns the runs of positions that were not given: first and one after the last."""
        open_ = (self.masked | (self.commit_step >= 0))[: self.limit]
        open_ = np.concatenate([[False], open_, [False]])
        edges = np.flatnonzero(open_[1:] != open_[:-1]).tolist()
        return tuple(zip(edges[::2], edges[1::2], strict=True))

    def runs(self) -> tuple[tuple[int, int], ...]:
        """Returns the runs of decided and of undecided positions: first and one after the last.

        From `start` up to the first end token, settled or not, or to `limit`.
        """
        ends = np.isin(self.ids[self.start : self.limit], self.end_tokens)
        until = self.start + int(ends.argmax()) if ends.any() else self.limit
        masked = self.masked[self.start : until]
        edges = (np.flatnonzero(masked[1:] != masked[:-1]) + 1 + self.start).tolist()
        bounds = [self.start, *edges, until] if len(masked) else []
        return tuple(itertools.pairwise(bounds))

    def trace(self) -> tuple[Commit, ...]:
        """Returns all decisions of the answer so far, by step and then by position."""
        positions = np.flatnonzero(self.commit_step[: self.limit] >= 0)
        return self._commits(positions[np.argsort(self.commit_step[positions], kind="stable")])

    def last_commits(self) -> tuple[Commit, ...]:
        """Returns the decisions of the last step, by position."""
        return self._commits(np.flatnonzero(self.commit_step[: self.limit] == self.step - 1))

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


def _prefix(masked: BoolArray) -> int:
    """Length of the decided prefix: the first undecided position, L if there is none."""
    first = int(masked.argmax()) if masked.size else 0
    return first if masked.size and masked[first] else len(masked)
