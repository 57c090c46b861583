"""Rows that join and leave while others are under way, one run of the engine for all of them.

    batch = Batch(engine, packer, max_rows=8, max_tokens=4096)
    key = batch.admit(RowState.begin(prompt, 64, mask_id), Unmask(Threshold(), Blocks(), NoCache()))
    while batch.active:
        batch.step()
    row = batch.leave(key)

Each step asks every unfinished row's scheme, packs all asks into one run, or into two where some
look at kept keys and some do not, and lets each scheme decide on its own answers; the rails apply.
Rows never see each other, so an answer does not depend on who else is there.

A row has a key, not a place: numbers are never used again. Memory is bounded from the start:
`max_tokens` is rows times the longest of them, which is what a padded run feeds and what kept keys
need room for; a scheme that asks several things at once counts as so many rows. A row that leaves
gives its place back at once.

One thread owns a batch. If the engine fails, nothing has changed and the step can be taken again.
"""

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from types import MappingProxyType

from dawn_runtime.checks import check_integer
from dawn_runtime.decoding import rails
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.bounds import Bounds
from dawn_runtime.decoding.memory import BatchMemory
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.prefixes import PrefixCache
from dawn_runtime.decoding.record import Recorder
from dawn_runtime.decoding.reuse import TextReuse
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.run import Run
from dawn_runtime.decoding.schemes.base import Scheme
from dawn_runtime.engine.checks import check_outputs
from dawn_runtime.engine.exclusive import exclusive
from dawn_runtime.engine.protocol import Engine, StepInputs
from dawn_runtime.errors import DawnError


@dataclass(slots=True)
class _Member:
    """One row of the batch: how it is decoded, and when that must have ended."""

    row: RowState
    scheme: Scheme
    last_step: int
    engine_seconds: float = 0.0
    begun: bool = False
    recorder: Recorder | None = None


class Batch:
    """Rows under way; see the module.

    Args:
        engine: Runs the model.
        packer: Turns asks into arrays.
        max_rows: Most rows at a time, >= 1.
        max_tokens: Most rows times tokens of the longest, >= 1.
        prefixes: Keys of texts that rows may begin with, and theirs go to; None takes over nothing.

    Attributes:
        forwards: Runs of the engine so far.
        engine_seconds: Time spent inside the engine so far.

    Raises:
        OptionError: A bound is out of range.
    """

    def __init__(
        self,
        engine: Engine,
        packer: Packer,
        *,
        max_rows: int,
        max_tokens: int,
        prefixes: PrefixCache | None = None,
    ) -> None:
        self._engine, self._packer = engine, packer
        rows = check_integer("batch", "max_rows", max_rows, minimum=1)
        tokens = check_integer("batch", "max_tokens", max_tokens, minimum=1)
        evidence = engine.describe().most_evidence
        self._bounds = Bounds(rows, tokens, evidence, packer.multiple)
        self._members: dict[int, _Member] = {}
        self._next_key = 0
        self._memory = BatchMemory(engine, packer, rows, tokens)
        self._reuse = None
        if prefixes is not None and prefixes.holds:
            self._reuse = TextReuse(prefixes, self._memory)
        self.forwards = 0
        self.engine_seconds = 0.0

    @property
    def rows(self) -> Mapping[int, RowState]:
        """All rows as they are now, by key."""
        return MappingProxyType({key: member.row for key, member in self._members.items()})

    def row(self, key: int) -> RowState:
        """Returns a row as it is now.

        Raises:
            DawnError: No such row is here.
        """
        return self._member(key).row

    @property
    def active(self) -> tuple[int, ...]:
        """Keys of the rows that are not finished."""
        return tuple(key for key, member in self._members.items() if not member.row.finished)

    @property
    def kv_bytes_bound(self) -> int:
        """Most bytes that kept keys and values take, whoever joins."""
        return self._memory.nbytes_bound

    def is_finished(self, key: int) -> bool:
        """Tells whether a row is finished.

        Raises:
            DawnError: No such row is here.
        """
        return self._member(key).row.finished

    def steps(self, key: int) -> int:
        """Returns how many steps a row has taken.

        Raises:
            DawnError: No such row is here.
        """
        return self._member(key).row.step

    def engine_seconds_of(self, key: int) -> float:
        """Returns the time of the runs that a row took part in."""
        return self._member(key).engine_seconds

    def admit(self, row: RowState, scheme: Scheme, recorder: Recorder | None = None) -> int:
        """Takes a row in; it is part of the next step.

        Args:
            row: As it begins, or as it left a batch; keys that it kept there are computed anew.
            scheme: How it is decoded.
            recorder: Is told of every step of the row, and why; None costs nothing.

        Returns:
            Its key.

        Raises:
            BatchFullError: There is no room for it; try again when another has left.
            OptionError: The scheme does not suit the model, or the row would never fit.
        """
        scheme.suits(row.shift)
        self._bounds.check(row, scheme, [(one.row, one.scheme) for one in self._members.values()])
        if row.kept is not None:  # in another batch; what a scheme remembers may speak of it
            row = replace(row, kept=None, memory=None)
        key, self._next_key = self._next_key, self._next_key + 1
        last_step = row.step + scheme.bound(row)
        self._members[key] = _Member(row, scheme, last_step, recorder=recorder)
        return key

    def leave(self, key: int) -> RowState:
        """Lets a row go, finished or not; what it held is free for others.

        Raises:
            DawnError: No such row is here.
        """
        row = self._member(key).row
        del self._members[key]
        self._memory.release(self.rows)
        return row

    def step(self) -> tuple[int, ...]:
        """Takes every unfinished row one step further and returns their keys.

        Raises:
            DawnError: A scheme takes more steps than it promised.
            EngineError: The engine failed or returned NaN or infinity.
        """
        with exclusive(self._engine):
            return self._step()

    def _step(self) -> tuple[int, ...]:
        self._memory.arrange(self.rows)  # without those that have left
        waiting = self._begin()
        active = [key for key in self.active if key not in waiting]
        asks = {key: self._members[key].scheme.ask(self._members[key].row) for key in active}
        if any(ask.store.size for own in asks.values() for ask in own):
            self._memory.begin()
        runs = [run for cached in (False, True) if (run := self._run(asks, cached=cached))]
        runs, answers = self._answered(runs)
        after = {key: self._decided(key, own) for key, own in answers.items()}
        self._hold([key for key, (row, _) in after.items() if row.finished])
        first = [key for key in after if not self._members[key].row.step]
        for key, (row, _) in after.items():
            self._members[key].row = row
        self._save(runs, {key: decision for key, (_, decision) in after.items()})
        self._hold(first)
        self._note_time(runs)
        return tuple(asks)

    def _begin(self) -> set[int]:
        """Lets rows that have not begun take over keys; returns those that had better wait."""
        fresh = {key: one for key, one in self._members.items() if not one.begun}
        if self._reuse is None or not fresh:
            return set()
        taken, waiting = self._reuse.begin({k: (one.row, one.scheme) for k, one in fresh.items()})
        for key, one in fresh.items():
            one.begun = key not in waiting
        for key, found in taken.items():
            fresh[key].row = found.row
        if taken:
            self._memory.begin()
            self._memory.arrange(self.rows, list(taken))
            self._reuse.fill(taken)
        return waiting

    def _hold(self, keys: Sequence[int]) -> None:
        """Holds the keys of some rows' texts for those that begin alike."""
        if self._reuse is not None:
            for key in keys:
                self._reuse.hold(key, self._members[key].row, self._members[key].scheme)

    def _member(self, key: int) -> _Member:
        try:
            return self._members[key]
        except KeyError:
            raise DawnError(f"the batch has no row {key!r}; it has left or never joined") from None

    def _run(self, asks: Mapping[int, Sequence[Ask]], *, cached: bool) -> Run | None:
        """Runs all asks that look at kept keys, or all that do not; None if there are none."""
        chosen = [
            ((key, number), ask)
            for key, own in asks.items()
            for number, ask in enumerate(own)
            if bool(ask.kept.size) == cached
        ]
        if not chosen:
            return None
        owners, packed = [owner for owner, _ in chosen], [ask for _, ask in chosen]
        past = self._memory.read([key for key, _ in owners]) if cached else ()
        inputs = self._packer.pack(packed, past, resident=self._memory.resident)
        return self._timed(owners, packed, inputs)

    def _timed(self, owners: list[tuple[int, int]], asks: list[Ask], inputs: StepInputs) -> Run:
        """Runs the engine once; arguments as in `Run`. What decides next to it begins here."""
        started = time.perf_counter()
        outputs = self._engine.run(inputs)
        seconds = time.perf_counter() - started
        check_outputs(inputs, outputs, self._engine.describe())
        slots = inputs.attention_mask.shape[-1] - inputs.input_ids.shape[1]
        answers = [self._packer.answer(ask, outputs, n, slots) for n, ask in enumerate(asks)]
        return Run(owners, asks, inputs, answers, outputs.present, seconds)

    def _answered(self, runs: list[Run]) -> tuple[list[Run], dict[int, list[Answer]]]:
        """The answers of every row; runs of rows that are stuck are repeated for their logits.

        A run is repeated whole, so that keys that stay on a device are where they were.
        """
        answers = self._answers(runs)
        members = self._members
        stuck = {
            key for key, own in answers.items() if members[key].scheme.stuck(members[key].row, own)
        }
        if not stuck:
            return runs, answers
        again = [self._with_logits(run, stuck) for run in runs]
        return again, self._answers(again)

    def _with_logits(self, run: Run, stuck: Set[int]) -> Run:
        """The run again, with logits for the rows that are stuck, unless it has them."""
        lacking = {
            key
            for (key, _), answer in zip(run.owners, run.answers, strict=True)
            if key in stuck and answer.logits is None
        }
        if not lacking:
            return run
        asks = [
            replace(ask, logits=ask.logits or key in lacking)
            for (key, _), ask in zip(run.owners, run.asks, strict=True)
        ]
        return self._timed(run.owners, asks, replace(run.inputs, want_logits=True))

    def _answers(self, runs: Sequence[Run]) -> dict[int, list[Answer]]:
        """The answers of every row, in the order of its asks."""
        found: dict[int, dict[int, Answer]] = {}
        for run in runs:
            for (key, number), answer in zip(run.owners, run.answers, strict=True):
                found.setdefault(key, {})[number] = answer
        return {key: [own[number] for number in sorted(own)] for key, own in found.items()}

    def _decided(self, key: int, answers: list[Answer]) -> tuple[RowState, Decision]:
        """The row after the step, and what its scheme decided."""
        member = self._members[key]
        decision = member.scheme.decide(member.row, answers)
        row = rails.apply(member.row, decision, answers)
        if member.recorder is not None:
            member.recorder.note(member.scheme, member.row, answers, row)
        if not row.finished and row.step >= member.last_step:
            raise DawnError(
                f"scheme {member.scheme.name!r} is unfinished after {row.step} steps, "
                f"where it promised to need at most {member.last_step}"
            )
        return row, decision

    def _save(self, runs: Sequence[Run], decisions: Mapping[int, Decision]) -> None:
        """Writes the keys that rows keep of the step into the memory."""
        rewritten = [key for key, one in decisions.items() if one.layout is not None]
        self._memory.arrange(self.rows, rewritten)
        for run in runs:
            for place, (key, number) in enumerate(run.owners):
                if number in decisions[key].keep:
                    ask, row = run.asks[place], self._members[key].row
                    begin = self._packer.begin(ask, run.width)
                    self._memory.write(key, row, ask, run.present, place, begin)

    def _note_time(self, runs: Sequence[Run]) -> None:
        self.forwards += len(runs)
        for run in runs:
            self.engine_seconds += run.seconds
            for key in {key for key, _ in run.owners}:
                self._members[key].engine_seconds += run.seconds
