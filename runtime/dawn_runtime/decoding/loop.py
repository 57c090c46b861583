"""The decode loop: a pure step under a thin loop, with the guard rails of every policy.

Whatever a policy answers, a row commits only masked positions of its window, at least one in each
step, and never a given position. Rows are independent: each is planned, viewed and advanced on its
own, and leaves the batch when it is finished.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dawn_runtime.decoding.cache import Cache, RowPlan
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.state import RowState
from dawn_runtime.decoding.window import Window
from dawn_runtime.engine.checks import check_outputs
from dawn_runtime.engine.protocol import Engine
from dawn_runtime.errors import DawnError, OptionError
from dawn_runtime.policies import Policy, RowView


@dataclass(frozen=True, slots=True)
class Rules:
    """How a row is decoded: three choices independent of each other."""

    policy: Policy
    window: Window
    cache: Cache


@dataclass(frozen=True, slots=True, eq=False)
class DecodeState:
    """All rows of a batch.

    Attributes:
        rows: The sequences; finished ones stay here but are no longer fed.
        rules: How each of them is decoded.
        forwards: Runs of the engine so far.
        engine_seconds: Time spent inside the engine so far.
    """

    rows: tuple[RowState, ...]
    rules: tuple[Rules, ...]
    forwards: int = 0
    engine_seconds: float = 0.0

    @property
    def active(self) -> tuple[int, ...]:
        """Numbers of the rows that are not finished."""
        return tuple(index for index, row in enumerate(self.rows) if not row.finished)


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
    """Runs the engine once and returns the state with every unfinished row one step further.

    A function of its arguments alone, apart from the clock.

    Raises:
        EngineError: The engine failed or returned NaN or infinity.
    """
    active = state.active
    rows = [state.rows[index] for index in active]
    rules = [state.rules[index] for index in active]
    plans = [_plan(row, rule) for row, rule in zip(rows, rules, strict=True)]
    want_logits = any(rule.policy.needs.logits for rule in rules)
    inputs = packer.pack(rows, plans, want_logits=want_logits)
    started = time.perf_counter()
    outputs = engine.run(inputs)
    seconds = time.perf_counter() - started
    check_outputs(inputs, outputs, engine.describe())
    advanced = list(state.rows)
    for slot, index in enumerate(active):
        view = packer.view(rows[slot], plans[slot], outputs, slot)
        advanced[index] = _advance(rows[slot], rules[slot].policy, view)
    return replace(
        state,
        rows=tuple(advanced),
        forwards=state.forwards + 1,
        engine_seconds=state.engine_seconds + seconds,
    )


def _plan(row: RowState, rules: Rules) -> RowPlan:
    plan = rules.cache.plan(row, rules.window.span(row), rules.policy.needs)
    if not plan.candidates.size:
        raise OptionError(
            f"window {rules.window.name!r} spans {plan.window}, where nothing is undecided; "
            "a window must hold an undecided position of every unfinished row"
        )
    return plan


def _advance(row: RowState, policy: Policy, view: RowView) -> RowState:
    """Lets the policy choose, keeps what is allowed, and commits at least one position."""
    if not policy.needs.logits:  # they are there if another row of the batch needs them
        view = replace(view, logits=None)
    if policy.needs.history:
        view = replace(view, memory=policy.remember(view))
    allowed = np.isin(view.candidates, policy.select(view))
    chosen = view.candidates[allowed] if allowed.any() else view.most_confident()
    after = row.commit(chosen, view.tokens[chosen], view.confidence[chosen])
    return replace(after, memory=None if after.finished else view.memory)
