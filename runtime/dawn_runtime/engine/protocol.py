"""The seam between decoding and hardware: what an engine is given and what it gives back.

An engine runs the graph described in `dawn_runtime.contract`. NumPy arrays go in and come out; the
engine never sees a policy, a cache or a window, only tokens, positions and a mask. Anything with
the three methods of `Engine` will do.

Arrays belong to whoever made them: an engine must not write to its inputs, and the caller may keep
the outputs, which later runs must not change.

Threads may share any engine. Decoding lets one of them take a step at a time, see
`dawn_runtime.engine.exclusive`; only with an engine whose class has `concurrent = True`, such as
`onnxruntime-cpu`, do several run at once. Closing waits for the step that another thread is taking;
what is to run afterwards is an `EngineError`.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray, KvArray
from dawn_runtime.contract import MEASURES
from dawn_runtime.engine_info import EngineInfo


@dataclass(frozen=True, slots=True, eq=False)
class StepInputs:
    """One run of the graph; letters as in `dawn_runtime.contract`.

    Attributes:
        input_ids: int64 [B, S] tokens fed.
        position_ids: int64 [B, S] their positions.
        attention_mask: bool [B, 1, S, P+S] True where the query may look; every query must see at
            least one key, padding included, or its softmax is NaN.
        logit_rows: int64 [B, R] rows of S that predict; R = 0 in a step that only makes keys.
        attention_rows: int64 [B, Q] rows of S whose evidence is wanted.
        past: Cached keys and values, each [B, Hkv, P, D], as key.0, value.0, key.1, ...; empty
            means P = 0.
        want_logits: Whether `StepOutputs.logits` is filled.
        want_present: Whether `StepOutputs.present` is filled.
        want_entropy: Whether `StepOutputs.entropy` is filled.
        want_margin: Whether `StepOutputs.margin` is filled.
        resident: Whether `past` comes from the engine's own memory for keys, and `present` is for
            it; see `dawn_runtime.engine.device.ResidentEngine`.
        draft_mask: bool [B, S] rows to which the adapter for drafts is added; None is none.
    """

    input_ids: IntArray
    position_ids: IntArray
    attention_mask: BoolArray
    logit_rows: IntArray
    attention_rows: IntArray
    past: tuple[KvArray, ...] = ()
    want_logits: bool = False
    want_present: bool = False
    resident: bool = False
    want_entropy: bool = False
    want_margin: bool = False
    draft_mask: BoolArray | None = None

    @property
    def measures(self) -> tuple[str, ...]:
        """Which of `dawn_runtime.contract.MEASURES` are wanted, in that order."""
        asked = {"entropy": self.want_entropy, "margin": self.want_margin}
        return tuple(name for name in MEASURES if asked[name])


@dataclass(frozen=True, slots=True, eq=False)
class StepOutputs:
    """Result of one run.

    Attributes:
        tokens: int64 [B, R] most probable tokens.
        confidence: float32 [B, R] their probabilities in the model's own distribution.
        attention: float32 [B, Q, P+S] evidence rows, cached keys first.
        logits: float32 [B, R, V], minus infinity at `EngineInfo.forbidden`; None unless wanted.
        present: Keys and values of the fed tokens, each [B, Hkv, S, D], in the order of
            `StepInputs.past`; empty unless wanted.
        entropy: float32 [B, R] of the model's own distributions, in nats; None unless wanted.
        margin: float32 [B, R] how far the second best logit is below the best; None unless wanted.
    """

    tokens: IntArray
    confidence: FloatArray
    attention: FloatArray
    logits: FloatArray | None = None
    present: tuple[KvArray, ...] = ()
    entropy: FloatArray | None = None
    margin: FloatArray | None = None


@runtime_checkable
class Engine(Protocol):
    """Runs the step graph on some device."""

    def describe(self) -> EngineInfo:
        """Returns what this engine runs; cheap, and the same at every call."""

    def run(self, inputs: StepInputs) -> StepOutputs:
        """Runs the graph once.

        Raises:
            EngineError: The inputs break the contract or the back end failed.
        """

    def close(self) -> None:
        """Frees the device; the engine cannot run afterwards. Closing twice is allowed."""
