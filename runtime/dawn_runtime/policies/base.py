"""What a decoding policy is: it sees one row of the batch and names the positions to commit.

A policy is a frozen dataclass whose fields are its options. It declares what it needs, gets exactly
that in a read-only `RowView`, and returns positions. It never sees the batch, so rows cannot
influence each other, and it never writes: the loop keeps only masked positions of the window and
commits at least one.

To add a policy: one file with a class decorated by `@POLICIES.register`, and one import in
`dawn_runtime.policies`. A policy that the kernel on a GPU can stand in for says so in `kernel`.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Final, Literal

import numpy as np

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import Options
from dawn_runtime.policies import graph
from dawn_runtime.policies.explanation import Explanation
from dawn_runtime.policies.kernel import Kernel
from dawn_runtime.registry import Registry


@dataclass(frozen=True, slots=True)
class Needs:
    """What a policy reads besides the predictions at its candidates.

    Attributes:
        known_predictions: Predictions also at the known positions before the window's end, the
            prompt included. Where a cached step predicts none, the confidence last computed.
        evidence: Attention rows: `none`, those of the `candidates`, or `all`: in a full pass those
            of every visible position, in a cached step those of the candidates and the means over
            all rows of the last full pass. `fed` is `all` with those of everything that a cached
            step feeds.
        later_predictions: Predictions also at the undecided positions after the window, where the
            cache strategy computes them.
        logits: The full logits of every predicted position.
        entropy: The entropy of every prediction; much less to fetch than logits.
        margin: How far the second best logit of every prediction is below the best.
        history: What `Policy.remember` kept of the steps before.
    """

    known_predictions: bool = False
    evidence: Literal["none", "candidates", "all", "fed"] = "none"
    later_predictions: bool = False
    logits: bool = False
    history: bool = False
    entropy: bool = False
    margin: bool = False

    @property
    def key_means(self) -> bool:
        """Whether the mean attention that each key drew in the last full pass is read."""
        return self.evidence in {"all", "fed"}

    def __or__(self, other: "Needs") -> "Needs":
        """Returns what two parts of a rule read together."""
        if other is READS_NOTHING or other == READS_NOTHING:
            return self
        order = ("none", "candidates", "all", "fed")
        evidence = max(self.evidence, other.evidence, key=order.index)
        flags = {
            field.name: getattr(self, field.name) or getattr(other, field.name)
            for field in fields(self)
            if field.name != "evidence"
        }
        return Needs(evidence=evidence, **flags)


READS_NOTHING: Final = Needs()
"""What a part of a rule needs that looks at the predictions of its candidates alone."""


@dataclass(frozen=True, slots=True, eq=False)
class RowView:
    """One row of the batch after a run of the engine; all arrays refuse writing.

    L is the length of the row, n the number of candidates, Q and K the attention rows and keys of
    this step. Arrays of length L are indexed by position.

    Attributes:
        candidates: int64 [n] masked positions of the window, ascending; only these can be chosen.
        masked: bool [L] positions not decided yet.
        window: First position of the window and the one after its last.
        tokens: int64 [L] predicted tokens, -1 where nothing was predicted.
        confidence: float32 [L] their probabilities, 0 where the mask itself is predicted for an
            undecided position, NaN where nothing was predicted. At known
            positions it may be that of an earlier step; see `Needs.known_predictions`.
        attention: float32 [Q, K] attention evidence, each row summing to 1 over its keys.
        attention_rows: int64 [Q] positions of the rows.
        attention_keys: int64 [K] positions of the keys.
        step: Number of steps this row has taken before this one.
        predicted: int64 [N] positions of the rows of `logits`.
        logits: float32 [N, V] if the policy needs them, else None.
        decided: Number of positions decided before this step, the given ones not counted.
        memory: What `Policy.remember` returned last, if the policy needs history. Before this
            step's call that is the answer of the step before, None in the first step; in `select`
            it is the answer of this step.
        last_key_means: float32 [L] mean attention that each position drew in the last full pass;
            None if this step is one, or if the policy does not need the evidence of all rows.
        entropy: float32 [L] of the model's own distributions, in nats, NaN where nothing was
            predicted; None unless the policy needs it.
        margin: float32 [L] how far the second best logit is below the best, likewise.
        window_decided: How many of `decided` lie in the window.
    """

    candidates: IntArray
    masked: BoolArray
    window: tuple[int, int]
    tokens: IntArray
    confidence: FloatArray
    attention: FloatArray
    attention_rows: IntArray
    attention_keys: IntArray
    step: int
    predicted: IntArray
    logits: FloatArray | None = None
    decided: int = 0
    memory: Any = None
    last_key_means: FloatArray | None = None
    entropy: FloatArray | None = None
    margin: FloatArray | None = None
    window_decided: int = 0

    def key_means(self) -> FloatArray:
        """Returns the mean attention each key drew over all rows in the last full pass, [K]."""
        if self.last_key_means is None:
            return graph.key_means(self.attention)
        return self.last_key_means[self.attention_keys]

    def measured(self, name: Literal["entropy", "margin"]) -> FloatArray:
        """Returns the entropy or the margin, float32 [L].

        Args:
            name: Which.

        Raises:
            OptionError: It is not there, because whoever reads it does not need it.
        """
        found: FloatArray | None = getattr(self, name)
        if found is None:
            raise OptionError(f"the view of a row has no {name}; say so in the needs of the rule")
        return found

    def most_confident(self) -> IntArray:
        """Returns the candidate of highest confidence (lowest position on ties) as int64 [1]."""
        best = int(np.argmax(self.confidence[self.candidates]))
        return self.candidates[best : best + 1]


class Policy(Options, ABC):
    """Which masked positions to commit now.

    Subclasses are frozen dataclasses; their fields are options, declared by
    `dawn_runtime.option_fields.option` and checked when one is made. Equal inputs give equal
    answers: a policy holds no state and draws no random numbers. What a rule has to know of earlier
    steps it returns from `remember`; each row carries its own.

    Attributes:
        name: Name in the registry.
        usual_window: Window that goes with it where none is named, with options or without.
        usual_cache: The same for the cache.
    """

    __slots__ = ()

    kind: ClassVar[str] = "policy"
    name: ClassVar[str]
    usual_window: ClassVar[str] = "blocks"
    usual_cache: ClassVar[str] = "none"

    @property
    def needs(self) -> Needs:
        """What the policy reads: an attribute of the class, or a property if it goes by options."""
        return READS_NOTHING

    def __init_subclass__(cls, **options: Any) -> None:
        """A subclass that chooses otherwise has no kernel and no reasons, unless it has its own."""
        super().__init_subclass__(**options)
        if "select" in vars(cls) and "kernel" not in vars(cls):
            cls.kernel = Policy.kernel  # type: ignore[method-assign]
        if "select" in vars(cls) and "select_linked" not in vars(cls):
            cls.select_linked = Policy.select_linked  # type: ignore[method-assign]
        own = {"select", "select_linked"} & set(vars(cls))
        if own and "explain" not in vars(cls):
            cls.explain = Policy.explain  # type: ignore[method-assign]

    @abstractmethod
    def select(self, view: RowView) -> IntArray:
        """Chooses positions to commit; called only while the view has candidates.

        Args:
            view: The row after this step's run of the engine.

        Returns:
            Positions, in any order. The loop drops what is not a candidate or is predicted to be
            the mask, and commits the most confident other candidate if nothing is left.
        """

    def select_linked(self, view: RowView) -> tuple[IntArray, bool]:
        """Chooses as `select` does, and tells whether the rule's graph had an edge.

        A rule without a graph tells nothing: it has had all that it looks at.

        Args:
            view: The row after this step's run of the engine.
        """
        return self.select(view), True

    def explain(self, view: RowView) -> Explanation:
        """Tells why `select` chooses what it chooses; asked only where somebody records.

        A rule that does not tell has chosen, and no more is known. Of what it returns `held`,
        `window`, `positions` and `confidence` are not its own to say.

        Args:
            view: The row after this step's run of the engine.
        """
        return Explanation()

    def remember(self, view: RowView) -> Any:
        """Returns what later steps have to know of this one; called before `select`.

        Called only for policies that need history. The answer must not be changed afterwards, nor
        may `view.memory`, the answer of the step before.

        Args:
            view: The row after this step's run of the engine.
        """
        return view.memory

    def kernel(self, keys: int) -> Kernel | None:
        """Returns the numbers with which the kernel on a GPU chooses as `select` does, bit for bit.

        None if there are none; then evidence comes to the host, and `select` chooses there.

        Args:
            keys: Number of keys K that each row of the step looks at, >= 1.
        """
        return None

    def doubt(self, keys: int) -> str | None:
        """Returns why the rule cannot do at some length what it is for, None where it can.

        Args:
            keys: Number of keys that each row of a step looks at, >= 1.
        """
        return None

    def unlinked(self, steps: int) -> str | None:
        """Returns what is to be said of an answer in whose steps no graph had an edge.

        Args:
            steps: How many steps it took, >= 1.
        """
        return None

    def short_form(self) -> "Policy | None":
        """Returns the plain rule to use when few tokens are wanted, None to stay with this one."""
        return None

    def options(self) -> dict[str, Any]:
        """Returns the options by name."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]  # subclasses are dataclasses


POLICIES: Registry[Policy] = Registry("policy", Policy)
"""All policies by name."""
