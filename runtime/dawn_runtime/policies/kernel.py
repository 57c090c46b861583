"""What the kernel on a GPU knows of a rule and of a row, and what it chose.

`dawn_runtime/cuda/choose.cu` applies a rule to what a run of the engine left on the device, so that
attention stays there. A policy that it can stand in for says so in `Policy.kernel`: the rules that
the kernel knows are numbers, no types.
"""

from dataclasses import dataclass

from dawn_runtime.arrays import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class Kernel:
    """A rule as numbers; see `Dawn` for what they mean.

    Attributes:
        tau_high: Least confidence at which a candidate is committed whatever else holds.
        graph: Whether dependencies are looked at. If not, the other numbers mean nothing.
        union: Whether all chosen candidates are settled, `Dawn.adjacency`.
        tau_sink: As in `Dawn`, scaled to the number of keys.
        tau_edge: As in `Dawn`, scaled likewise.
        tau_induce: As in `Dawn`.
        tau_low: As in `Dawn`.
        tau_anchor: As in `Dawn`.
    """

    tau_high: float
    graph: bool = False
    union: bool = False
    tau_sink: float = 0.0
    tau_edge: float = 0.0
    tau_induce: float = 0.0
    tau_low: float = 0.0
    tau_anchor: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class KernelView:
    """What the kernel sees of one row besides the outputs of the run; the twin of `RowView`.

    n candidates, R predictions, Q rows of attention and K keys as in `RowView`. A rule without a
    graph reads the predictions alone; the other arrays are then empty.

    Attributes:
        kernel: The rule.
        mask_id: Token that is never chosen; where it is predicted the confidence counts as 0.
        predictions: int64 [n] which of the R predictions is that of each candidate; candidates
            ascend by position.
        rows: int64 [n] which of the Q rows of attention is that of each candidate.
        columns: int64 [n] at which of the K keys each candidate itself is.
        queries: Q, rows of attention that are this row's own.
        known: int64 [K] which of the R predictions is that of the key's position; -1 unless the
            position is known, before the window's end and predicted in this step.
        confidence: float32 [K] confidence of an earlier step at such positions that are not
            predicted in this one, NaN elsewhere.
        key_means: float32 [K] mean attention of each key in the last full pass; None if it is that
            over the Q rows of this step.
        returns_means: Whether the means of this step are wanted back.
    """

    kernel: Kernel
    mask_id: int
    predictions: IntArray
    rows: IntArray
    columns: IntArray
    queries: int
    known: IntArray
    confidence: FloatArray
    key_means: FloatArray | None = None
    returns_means: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """What the kernel chose for one row.

    Attributes:
        chosen: bool [n] whether each candidate is committed; none is if the mask is predicted at
            all of them.
        key_means: float32 [K] as from `RowView.key_means`, None unless wanted.
        linked: As from `Policy.select_linked`.
    """

    chosen: BoolArray
    key_means: FloatArray | None = None
    linked: bool = True
