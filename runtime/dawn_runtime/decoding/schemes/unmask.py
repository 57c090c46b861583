"""Unmask: a policy chooses among the candidates of a window, step by step, and nothing is undone.

What most published rules are. The five parts are independent of each other:

    policy     which candidates are committed now
    window     which undecided positions are candidates, and what is in sight
    cache      what is computed anew, and whose keys are looked at as they are
    sampling   which token a candidate gets
    guards     what of the policy's choice has to wait

    Unmask(Threshold(0.9), Blocks(32), NoCache())
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from dawn_runtime.arrays import FloatArray, IntArray, inverse, read_only
from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.caches import Cache, FullPass, NoCache
from dawn_runtime.decoding.guidance import guided, unprompted
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.sampling import GREEDY, Sampling
from dawn_runtime.decoding.schemes.base import Scheme, only_looking_ahead
from dawn_runtime.decoding.schemes.plan import RowPlan, make_plan
from dawn_runtime.decoding.schemes.predictions import without_mask
from dawn_runtime.decoding.windows import Window
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import (
    Explanation,
    Guard,
    Kernel,
    KernelView,
    Needs,
    Policy,
    RowView,
    guarded,
)


@dataclass(frozen=True, slots=True, eq=False)
class Past:
    """What `Unmask` remembers of a row of length L.

    Attributes:
        policy: What `Policy.remember` returned.
        full: The last full pass, None if the row keeps nothing of it.
        confidence: float32 [L] the last prediction made at each position, NaN if there was none.
            None unless the policy needs predictions of known positions.
        key_means: float32 [L] mean attention that each position drew in the last full pass, 0 where
            it was not visible. None unless the policy needs the evidence of all rows.
    """

    policy: Any = None
    full: FullPass | None = None
    confidence: FloatArray | None = None
    key_means: FloatArray | None = None


_NO_PAST = Past()


@dataclass(frozen=True, slots=True)
class Unmask(Scheme):
    """Commits what a policy chooses, at least one candidate in each step.

    Attributes:
        policy: Chooses.
        window: Where.
        cache: What is computed for it.
        sampling: How tokens are drawn, and with how much guidance.
        guards: What they do not let through waits.

    Raises:
        OptionError: There is guidance and a cache.
    """

    name: ClassVar[str] = "unmask"

    policy: Policy
    window: Window
    cache: Cache
    sampling: Sampling = GREEDY
    guards: tuple[Guard, ...] = ()

    @property
    def needs(self) -> Needs:
        """What the policy, its guards and the cache read."""
        needs = self.policy.needs | self.cache.needs
        for guard in self.guards:
            needs |= guard.needs
        return needs

    def plan(self, row: RowState) -> RowPlan:
        """Plans the next step of an unfinished row."""
        past: Past = row.memory or _NO_PAST
        return make_plan(row, self.window, self.cache, self.needs, past.full)

    def check_together(self) -> None:
        """Refuses a cache of other models, and one beside guidance."""
        only_looking_ahead(f"policy {self.policy.name!r}", self.cache)
        self.check_guidance()

    def check_guidance(self) -> None:
        """Refuses to keep keys where each run has the row without its prompt too."""
        if self.sampling.guidance and self.cache.name != NoCache.name:
            raise OptionError(
                "guidance feeds the row without its prompt too, of which no keys are kept; set "
                f"cache to 'none', got {self.cache.name!r}"
            )

    def most_asks(self) -> int:
        """Returns the number of rows of a step: two with guidance."""
        return 2 if self.sampling.guidance else 1

    def evidence_rows(self, row: RowState) -> int:
        """Returns all of a full pass where the rule reads them."""
        return row.length if self.needs.evidence in ("all", "fed") else 0

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for one pass, full or cached, and with guidance for the same without the prompt."""
        needs, plan = self.needs, self.plan(row)
        predicting = np.maximum(plan.predicted - plan.shift, 0) if plan.shift else plan.predicted
        predict, evidence, store = plan.rows(predicting, plan.evidence, plan.stored)
        asked = Ask(
            tokens=row.ids[plan.fed],
            positions=plan.fed,
            sees=plan.sees,
            kept=plan.slots,
            predict=predict,
            evidence=evidence,
            store=store,
            logits=needs.logits or self.sampling.reads_logits or self.sampling.guidance > 0,
            entropy=needs.entropy,
            margin=needs.margin,
            note=plan,
        )
        return (asked, unprompted(row, asked)) if self.sampling.guidance else (asked,)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Lets the policy choose, and takes the most confident candidate if it chooses none."""
        answer = answers[0]
        if self.sampling.guidance:
            answer = guided(answer, answers[1], self.sampling.guidance)
        plan: RowPlan = answer.ask.note
        view, selected = self.view(row, answer), answer.selected
        if selected is None:
            chosen, linked = self.choice(view, row.mask_id)
        else:
            chosen, linked = plan.candidates[selected.chosen], selected.linked
        # Without a stored key there is nothing to keep slots for.
        forget = plan.layout is not None and not plan.stored.size
        return Decision(
            commit=chosen,
            tokens=view.tokens[chosen],
            confidence=view.confidence[chosen],
            keep=(0,),
            layout=nothing() if forget else plan.layout,
            memory=self.past(row, answer, view),
            linked=linked,
        )

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether every candidate is predicted to be the mask."""
        masks = answers[0].tokens == row.mask_id
        return bool(masks.any()) and bool(masks[_rows_of(answers[0].ask.note)].all())

    def kernel_view(self, row: RowState, ask: Ask) -> KernelView | None:
        """Returns what the kernel reads besides the run, if the policy has one."""
        needs = self.policy.needs
        kernel = self.policy.kernel(len(ask.kept) + len(ask.tokens))
        if kernel is None or ask.logits or needs.history or self.guards:
            return None
        if self.cache.needs.evidence != "none":  # which would stay on the device
            return None
        if kernel.graph:
            return _graph_view(row, ask.note, kernel) if needs.evidence == "all" else None
        none = np.zeros(0, dtype=np.float32)
        predictions = _rows_of(ask.note)
        return KernelView(
            kernel, row.mask_id, predictions, nothing(), nothing(), 0, nothing(), none
        )

    def view(self, row: RowState, answer: Answer) -> RowView:
        """Returns what the policy sees of a row.

        A prediction of the mask itself decides nothing; see `predictions`.

        Args:
            row: The row as it was asked for.
            answer: What came back.
        """
        plan: RowPlan = answer.ask.note
        past: Past = row.memory or _NO_PAST
        tokens = np.full(row.length, -1, dtype=np.int64)
        confidence = _last_known(row, past)
        tokens[plan.predicted], confidence[plan.predicted] = answer.tokens, answer.confidence
        if (answer.tokens == row.mask_id).any():
            self._without_mask(row, answer, tokens, confidence)
        view = RowView(
            candidates=read_only(plan.candidates),
            masked=row.masked,
            window=plan.window,
            tokens=read_only(tokens),
            confidence=read_only(confidence),
            attention=answer.attention,
            attention_rows=read_only(plan.evidence),
            attention_keys=read_only(
                np.concatenate([plan.attended, plan.fed]) if plan.attended.size else plan.fed
            ),
            step=row.step,
            predicted=read_only(plan.predicted),
            logits=answer.logits,
            decided=row.decided,
            memory=past.policy,
            last_key_means=None if plan.layout is not None else past.key_means,
            entropy=_by_position(answer.entropy, plan, row.length),
            margin=_by_position(answer.margin, plan, row.length),
            window_decided=int(np.count_nonzero(row.commit_step[slice(*plan.window)] >= 0)),
        )
        if self.sampling.reads_logits:
            view = self.sampling.apply(view, row.mask_id)
        # They are there if sampling or another row reads them.
        if view.logits is not None and not self.needs.logits:
            view = replace(view, logits=None)
        if self.policy.needs.history:
            view = replace(view, memory=self.policy.remember(view))
        return view

    def _without_mask(
        self, row: RowState, answer: Answer, tokens: IntArray, confidence: FloatArray
    ) -> None:
        """Writes 0 where the mask is predicted, and what comes next where nothing else is."""
        plan: RowPlan = answer.ask.note
        lost = row.masked & (tokens == row.mask_id)
        confidence[lost] = 0.0
        if not self.sampling.reads_logits and lost[plan.candidates].all():
            logits = None if answer.logits is None else answer.logits[_rows_of(plan)]
            tokens[plan.candidates], confidence[plan.candidates] = without_mask(
                tokens[plan.candidates], confidence[plan.candidates], logits, row.mask_id
            )

    def chosen(self, view: RowView, mask_id: int) -> IntArray:
        """Returns the positions that are committed, at least one; int64 [n].

        They are those of the policy's answer that are candidates and not predicted to be the mask;
        if there are none, the most confident such candidate, the lowest position on ties. Of them
        the guards let through what they allow, at least one; see `guarded`.

        Args:
            view: As from `view`.
            mask_id: Id of an undecided position.
        """
        return self.choice(view, mask_id)[0]

    def choice(self, view: RowView, mask_id: int) -> tuple[IntArray, bool]:
        """Returns the same, and whether the policy's graph had an edge."""
        chosen, real, linked = self._wanted(view, mask_id)
        return guarded(view, chosen, real, self.guards) if self.guards else chosen, linked

    def explain(self, row: RowState, answers: Sequence[Answer]) -> Explanation:
        """Tells what the policy tells, and what a guard holds back."""
        answer = answers[0]
        if self.sampling.guidance:
            answer = guided(answer, answers[1], self.sampling.guidance)
        view = self.view(row, answer)
        chosen, _ = self.choice(view, row.mask_id)
        own = self.policy.explain(view)
        fallback = {
            place: "best" for place in chosen.tolist() if own.reasons and place not in own.reasons
        }
        return replace(
            own,
            reasons={**own.reasons, **fallback},
            held=self._held(view, row.mask_id, chosen),
            window=view.window,
            positions=view.candidates,
            confidence=view.confidence[view.candidates],
        )

    def _held(self, view: RowView, mask_id: int, chosen: IntArray) -> dict[int, str]:
        """What the policy wanted and is not chosen, and the first guard that does not allow it."""
        if not self.guards:
            return {}
        wanted, _, _ = self._wanted(view, mask_id)
        held: dict[int, str] = {}
        for guard in self.guards:
            allowed = guard.allowed(view, wanted)
            for position in np.setdiff1d(wanted, np.union1d(allowed, chosen)).tolist():
                held.setdefault(position, guard.name)
        return held

    def _wanted(self, view: RowView, mask_id: int) -> tuple[IntArray, IntArray, bool]:
        """What the policy chooses, at least one; what it can be; whether its graph had an edge."""
        real: IntArray = view.candidates[view.tokens[view.candidates] != mask_id]
        answer, linked = self.policy.select_linked(view)
        answer = np.asarray(answer, dtype=np.int64)
        selected = np.zeros(len(view.masked), dtype=bool)
        selected[answer[(answer >= 0) & (answer < len(selected))]] = True
        chosen: IntArray = real[selected[real]]
        if not chosen.size:
            best = int(np.argmax(view.confidence[real]))
            chosen = real[best : best + 1]
        return chosen, real, linked

    def past(self, row: RowState, answer: Answer, view: RowView) -> Past:
        """Returns what the next step has to know of this one."""
        plan: RowPlan = answer.ask.note
        past: Past = row.memory or _NO_PAST
        needs = self.needs
        full, means = past.full, past.key_means
        if plan.layout is not None:
            full, means = None, None
            if plan.stored.size:
                full = FullPass(plan.window, row.decided, plan.hidden)
                means = _spread_means(row, answer, view) if needs.key_means else None
        if full is not None:
            seen = self.cache.watch(row, view, plan.attended, full)
            full = full if seen is full.seen else replace(full, seen=seen)
        keeps = full is not None and needs.known_predictions
        memory = view.memory if needs.history else None
        return Past(memory, full, view.confidence if keeps else None, means)


def _by_position(found: FloatArray | None, plan: RowPlan, length: int) -> FloatArray | None:
    """What was measured of the predictions, NaN where there are none; float32 [L]."""
    if found is None:
        return None
    spread = np.full(length, np.nan, dtype=np.float32)
    spread[plan.predicted] = found
    return read_only(spread)


def _rows_of(plan: RowPlan) -> IntArray:
    """Which of the predictions are those of the candidates."""
    return np.searchsorted(plan.predicted, plan.candidates)


def _spread_means(row: RowState, answer: Answer, view: RowView) -> FloatArray:
    """Mean attention that each position drew, 0 where it was not looked at; float32 [L]."""
    means, selected = np.zeros(row.length, dtype=np.float32), answer.selected
    means[view.attention_keys] = view.key_means() if selected is None else selected.key_means
    return read_only(means)


def _graph_view(row: RowState, plan: RowPlan, kernel: Kernel) -> KernelView:
    """What a rule that reads the attention of all rows needs, by key instead of by position."""
    past: Past = row.memory or _NO_PAST
    keys = np.concatenate([plan.attended, plan.fed])
    counts = ~row.masked
    counts[plan.window[1] :] = False
    known = np.where(counts, inverse(plan.predicted, row.length), -1)
    confidence = np.where(counts & (known < 0), _last_known(row, past), np.float32(np.nan))
    full = plan.layout is not None
    means = None if full or past.key_means is None else past.key_means[keys]
    return KernelView(
        kernel=kernel,
        mask_id=row.mask_id,
        predictions=_rows_of(plan),
        rows=inverse(plan.evidence, row.length)[plan.candidates],
        columns=inverse(keys, row.length)[plan.candidates],
        queries=len(plan.evidence),
        known=known[keys],
        confidence=confidence[keys],
        key_means=means,
        returns_means=full and bool(plan.stored.size),
    )


def _last_known(row: RowState, past: Past) -> FloatArray:
    """Confidence that is kept of known positions, NaN elsewhere; float32 [L], to be filled."""
    if past.confidence is None:
        return np.full(row.length, np.nan, dtype=np.float32)
    return np.where(row.masked, np.float32(np.nan), past.confidence)
