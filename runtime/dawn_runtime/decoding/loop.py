"""The decode loop: a pure step under a thin loop, with the guard rails of every policy.

Whatever a policy answers, a row commits only masked positions of its window, at least one in each
step, and never a given position or the mask itself; see `dawn_runtime.decoding.rails`. Rows are
independent: each is planned, viewed and advanced on its own, and leaves the batch when it is
finished. In one step full passes run together, and so do cached ones.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dawn_runtime.arrays import KvArray, read_only
from dawn_runtime.decoding.caches import Cache
from dawn_runtime.decoding.kv import Kept, KvStore
from dawn_runtime.decoding.packing import Packer
from dawn_runtime.decoding.plan import RowPlan, make_plan
from dawn_runtime.decoding.rails import choose, some_row_is_stuck, unstuck
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.sampling import GREEDY, Sampling
from dawn_runtime.decoding.windows import Window
from dawn_runtime.engine.checks import check_outputs
from dawn_runtime.engine.device import KvMemory, ResidentEngine
from dawn_runtime.engine.exclusive import exclusive
from dawn_runtime.engine.protocol import Engine, StepInputs, StepOutputs
from dawn_runtime.errors import DawnError
from dawn_runtime.policies import Needs, Policy, RowView


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
        forwards: Runs of the engine so far; one that is repeated for its logits counts once.
        engine_seconds: Time spent inside the engine so far.
        kv: Keys and values kept between steps, None as long as no row keeps any. The memory is
            handed on from state to state and written in place, so only the newest can be stepped.
    """

    rows: tuple[RowState, ...]
    rules: tuple[Rules, ...]
    forwards: int = 0
    engine_seconds: float = 0.0
    kv: KvMemory | None = None

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
    with exclusive(engine):
        return _step(engine, packer, state)


def _step(engine: Engine, packer: Packer, state: DecodeState) -> DecodeState:
    plans = {index: _plan(state, index, packer) for index in state.active}
    store = _store(engine, packer, state, plans)
    resident = store is not None and not isinstance(store, KvStore)
    runs = []
    for full in (False, True):
        group = {index: plan for index, plan in plans.items() if (plan.layout is not None) == full}
        if group:
            past = () if full or store is None else store.read(tuple(group))
            runs.append(_run(engine, packer, state, group, past, resident=resident))
    rows = list(state.rows)
    for run in runs:
        for place, (index, plan) in enumerate(run.plans.items()):
            row, rules = rows[index], state.rules[index]
            view = packer.view(row, plan, run.outputs, place, run.slots)
            if rules.sampling.is_greedy:
                view = unstuck(view, packer.mask_id)
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


def _store(
    engine: Engine, packer: Packer, state: DecodeState, plans: dict[int, RowPlan]
) -> KvMemory | None:
    """Returns the memory for this step, made when a row first keeps something."""
    store = state.kv
    if store is None:
        if not any(plan.stored.size for plan in plans.values()):
            return None
        longest = packer.aligned(max(row.length for row in state.rows))
        if isinstance(engine, ResidentEngine):
            store = engine.kv_memory(len(state.rows), longest)
        else:
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
    *,
    resident: bool,
) -> _Run:
    """Runs the engine on some rows of the batch, all in a full pass or all in a cached one."""
    rows = [state.rows[index] for index in plans]
    # For every predicted position: the contract has one list of rows for tokens, confidence and
    # logits. A policy that looks at known positions (DAWN: its anchors) gets their logits besides
    # when tokens are drawn; a second run for the masked ones alone would cost far more.
    want_logits = any(state.rules[index].want_logits for index in plans)
    inputs = packer.pack(
        rows, list(plans.values()), past, want_logits=want_logits, resident=resident
    )
    started = time.perf_counter()
    outputs = _checked_run(engine, inputs)
    if outputs.logits is None and some_row_is_stuck(list(plans.values()), outputs, packer.mask_id):
        # The same run again, whole, so that keys that stay on a device are where they were.
        outputs = _checked_run(engine, replace(inputs, want_logits=True))
    seconds = time.perf_counter() - started
    slots, width = past[0].shape[2] if past else 0, inputs.input_ids.shape[1]
    return _Run(plans, outputs, slots, width, seconds)


def _checked_run(engine: Engine, inputs: StepInputs) -> StepOutputs:
    outputs = engine.run(inputs)
    check_outputs(inputs, outputs, engine.describe())
    return outputs


def _save(store: KvMemory, packer: Packer, rows: Sequence[RowState], runs: Sequence[_Run]) -> None:
    """Writes the keys that unfinished rows keep of a step into the memory."""
    plans = {index: plan for run in runs for index, plan in run.plans.items()}
    kept = {index: row.kept for index, row in enumerate(rows) if row.kept is not None}
    rewritten = [index for index in store.rows if plans[index].layout is not None]
    fullest = max((len(entry.positions) for entry in kept.values()), default=0)
    store.reserve(packer.aligned(fullest), rewritten)
    for run in runs:
        for place, (index, plan) in enumerate(run.plans.items()):
            if index in kept and plan.stored.size:
                slots = kept[index].slots(plan.stored)
                fed = packer.fed_rows(plan, plan.stored, run.width)
                store.write(index, slots, run.outputs.present, place, fed)


def _advance(row: RowState, plan: RowPlan, policy: Policy, view: RowView, mask_id: int) -> RowState:
    """Lets the policy choose on the rails, and commits."""
    if not policy.needs.logits:  # they are there if sampling or another row reads them
        view = replace(view, logits=None)
    if policy.needs.history:
        view = replace(view, memory=policy.remember(view))
    chosen = choose(policy, view, mask_id)
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
