"""Checks of what goes into and comes out of an engine, shared by all of them.

`check_inputs` compares names, types, shapes and ranges with the step contract before the back end
sees them, so that every engine words a mistake alike; engines can switch it off. `check_outputs`
always runs: nothing is decided on NaN. `check_volumes` and `check_threads` keep numbers away from
native code that it takes without a word and cannot bear.
"""

from collections.abc import Mapping, Sequence
from math import isfinite, prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dawn_runtime import contract
from dawn_runtime.checks import check_integer
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.engine_info import EngineInfo
from dawn_runtime.errors import EngineError
from dawn_runtime.manifest import Dims

MOST_THREADS: Final = 1024
"""More are never faster, and starting very many exhausts the machine."""

_MOST_ELEMENTS: Final = 2**31 - 1
"""Of one array in a kernel on a GPU: ONNX Runtime's index with int32, TensorRT refuses more."""


def named_inputs(inputs: StepInputs, *, measures: bool, drafts: bool) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a step by their names in the graph, without absent cached ones.

    Args:
        inputs: The step.
        measures: Whether the graph has `dawn_runtime.contract.MEASURES`.
        drafts: Whether it has `dawn_runtime.contract.DRAFT_MASK`.
    """
    fixed = ("input_ids", "position_ids", "attention_mask", "logit_rows", "attention_rows")
    arrays = {name: getattr(inputs, name) for name in fixed}
    if measures:
        batch, rows = inputs.logit_rows.shape
        asked = np.zeros((batch, rows if inputs.want_entropy else 0), dtype=np.int64)
        if inputs.want_entropy:
            asked += np.arange(rows)
        arrays[contract.ENTROPY_ROWS] = asked
    if drafts:
        mask = inputs.draft_mask
        arrays[contract.DRAFT_MASK] = (
            np.zeros(inputs.input_ids.shape, dtype=np.bool_) if mask is None else mask
        )
    arrays.update(zip(contract.kv_names("past", len(inputs.past) // 2), inputs.past, strict=True))
    return arrays


def check_inputs(inputs: StepInputs, info: EngineInfo) -> dict[str, NDArray[Any]]:
    """Refuses inputs that break the step contract.

    Args:
        inputs: What is about to run.
        info: The engine that is about to run it.

    Returns:
        The arrays as from `named_inputs`.

    Raises:
        EngineError: An array has a wrong type or shape, or an id, position or row out of range.
    """
    if len(inputs.past) not in (0, 2 * info.layers):
        raise EngineError(
            f"{info.name}: got {len(inputs.past)} cached arrays; expected none or "
            f"{2 * info.layers}, a key and a value for each layer"
        )
    check_measures(inputs, info)
    _check_drafts(inputs, info)
    sizes = _sizes(inputs, info)
    has = {"measures": info.measures, "drafts": info.drafts}
    specs = contract.input_specs(info.layers, info.kv_heads, info.head_dim, info.kv_dtype, **has)
    arrays = named_inputs(inputs, **has)
    checked = len(arrays)
    if len({(array.dtype, array.shape) for array in inputs.past}) == 1:
        checked += 1 - len(inputs.past)  # all are right if the first is
    for spec in specs[:checked]:
        shape = tuple(sizes[dim] if isinstance(dim, str) else dim for dim in spec.shape)
        _check_array(info.name, spec, arrays[spec.name], shape)
    _check_range(info.name, "input_ids", inputs.input_ids, info.vocab_size)
    _check_range(info.name, "position_ids", inputs.position_ids, info.max_length)
    _check_range(info.name, "logit_rows", inputs.logit_rows, sizes["S"])
    _check_range(info.name, "attention_rows", inputs.attention_rows, sizes["S"])
    return arrays


def check_measures(inputs: StepInputs, info: EngineInfo) -> None:
    """Refuses to ask for entropy or margin where the graph has none.

    Raises:
        EngineError: It has none.
    """
    wanted = inputs.measures
    if wanted and not info.measures:
        raise EngineError(
            f"{info.name}: asked for {' and '.join(wanted)} of predictions, but the graph of this "
            "artifact returns none; export again, with --target cpu or --target cuda"
        )


def _check_drafts(inputs: StepInputs, info: EngineInfo) -> None:
    """Refuses to ask for an adapter that the graph does not have."""
    if inputs.draft_mask is not None and not info.drafts:
        raise EngineError(
            f"{info.name}: got a draft_mask, but the graph of this artifact has no adapter for "
            "drafts; leave it out"
        )


def check_rows(inputs: StepInputs, info: EngineInfo) -> None:
    """Refuses a step that predicts nothing on a graph from before version 3.

    Raises:
        EngineError: ONNX Runtime would fail in the middle of such a graph.
    """
    if inputs.logit_rows.shape[1] < info.least_rows:
        raise EngineError(
            f"{info.name}: got no logit_rows, but the graph of this artifact, made by an older "
            "version of dawn-edge, must predict something; export again"
        )


def check_outputs(inputs: StepInputs, outputs: StepOutputs, info: EngineInfo) -> None:
    """Refuses outputs of a wrong shape, and numbers that nothing can be decided on.

    Args:
        inputs: What was run.
        outputs: What came back.
        info: The engine that ran it.

    Raises:
        EngineError: A type or a shape differs from the contract, a token is not of the vocabulary,
            or a number is NaN or infinite.
    """
    batch, queries = inputs.attention_rows.shape
    keys = inputs.attention_mask.shape[-1]
    rows = inputs.logit_rows.shape
    expected = {"tokens": rows, "confidence": rows, "attention": (batch, queries, keys)}
    expected |= {"logits": (*rows, info.vocab_size)} if inputs.want_logits else {}
    expected |= dict.fromkeys(inputs.measures, rows)
    for name, shape in expected.items():
        _check_output(info, name, getattr(outputs, name), shape)
    check_tokens(info, outputs.tokens)
    if inputs.want_present:
        check_present(info, inputs, outputs.present)


def check_tokens(info: EngineInfo, tokens: NDArray[Any]) -> None:
    """Refuses predicted ids that the vocabulary does not have.

    Args:
        info: The engine that returned them.
        tokens: Of any shape.

    Raises:
        EngineError: There is one.
    """
    if _outside(tokens, info.vocab_size):
        raise EngineError(
            f"{info.name}: output tokens runs from {tokens.min()} to {tokens.max()}; the model has "
            f"ids from 0 to {info.vocab_size - 1}; check that the engine and the artifact belong "
            "together"
        )


def check_present(info: EngineInfo, inputs: StepInputs, present: Sequence[Any]) -> None:
    """Refuses keys and values of another number, shape or type, wherever they are.

    Args:
        info: The engine that returned them.
        inputs: What was run.
        present: What came back.

    Raises:
        EngineError: There are others.
    """
    batch, fed = inputs.input_ids.shape
    shape = (batch, info.kv_heads, fed, info.kv_width)
    if len(present) != 2 * info.layers:
        raise EngineError(
            f"{info.name}: got {len(present)} keys and values; expected "
            f"{2 * info.layers}, two for each layer"
        )
    for array in present:
        if array.shape != shape or array.dtype != info.kv_dtype:
            raise EngineError(
                f"{info.name}: keys or values are {array.dtype} {array.shape}; expected "
                f"{info.kv_dtype} {shape}"
            )


def check_volumes(info: EngineInfo, dims: Dims, sizes: Mapping[str, int]) -> None:
    """Refuses a step on a GPU with an array of more elements than kernels can count.

    Args:
        info: The engine that is about to run it.
        dims: Sizes of the model.
        sizes: B, S, P, R and Q of the step.

    Raises:
        EngineError: There is one.
    """
    if (line := too_large(dims, sizes)) is not None:
        raise EngineError(f"{info.name}: a step {line}; decode fewer rows at once or shorter ones")


def too_large(dims: Dims, sizes: Mapping[str, int]) -> str | None:
    """Says which array of a step has more elements than kernels on a GPU can count, if any.

    Args:
        dims: Sizes of the model.
        sizes: B, S, P, R and Q of the step.
    """
    batch, keys = sizes["B"], sizes["P"] + sizes["S"]
    volumes = {
        "attention weights in a layer": (batch, dims.heads, sizes["Q"], keys),
        "logits": (batch, sizes["R"], dims.vocab_size),
    }
    for name, shape in volumes.items():
        if prod(shape) > _MOST_ELEMENTS:
            lengths = " x ".join(map(str, shape))
            return f"has {lengths} = {prod(shape):,} {name}, at most {_MOST_ELEMENTS:,} can be had"
    return None


def most_evidence(dims: Dims) -> int:
    """Returns how many rows of attention times keys a step on a GPU may have, B Q (P+S).

    Args:
        dims: Sizes of the model.
    """
    return _MOST_ELEMENTS // dims.heads


def check_threads(threads: int | None) -> int | None:
    """Returns a number of CPU threads as a Python int, None as it is.

    Raises:
        OptionError: It is not an integer from 1 to `MOST_THREADS`.
    """
    if threads is None:
        return None
    return check_integer("engine", "threads", threads, minimum=1, maximum=MOST_THREADS)


def not_finite(info: EngineInfo, name: str) -> EngineError:
    """Returns the error for an output on which nothing can be decided.

    Args:
        info: The engine that returned it.
        name: Name of the output.
    """
    return EngineError(
        f"{info.name}: output {name} holds NaN or infinity; check the artifact with "
        "dawn-export --verify, or export it at a higher precision"
    )


def _check_output(
    info: EngineInfo, name: str, array: NDArray[Any] | None, shape: tuple[int, ...]
) -> None:
    """Refuses none, another shape, numbers that are not finite, and another type, in this order."""
    if array is None:
        verb = "were" if name == "logits" else "was"
        raise EngineError(f"{info.name}: {name} {verb} asked for and did not come")
    if array.shape != shape:
        raise EngineError(f"{info.name}: output {name} has shape {array.shape}; expected {shape}")
    if array.dtype.kind == "f":
        check_finite(info, name, array)
    if name == "logits":
        _check_barred(info, array)
    expected = "int64" if name == "tokens" else "float32"
    if array.dtype != expected:
        raise EngineError(f"{info.name}: output {name} is {array.dtype}; expected {expected}")


def _check_barred(info: EngineInfo, logits: NDArray[Any]) -> None:
    """Refuses logits by which an id could be predicted that never is."""
    if (logits[..., list(info.forbidden)] != -np.inf).any():
        raise EngineError(
            f"{info.name}: output logits has a number at an id that is never predicted; expected "
            f"minus infinity at {list(info.forbidden)}"
        )


def check_finite(info: EngineInfo, name: str, array: NDArray[Any]) -> None:
    """Refuses NaN and infinity, but for the logits of ids that are never predicted.

    Args:
        info: The engine that returned them.
        name: Name of the output.
        array: The output, or a part of it; logits [..., V].

    Raises:
        EngineError: There is one, or a forbidden id could be predicted.
    """
    if not all(map(_is_finite, _usable(info, name, array))):
        raise not_finite(info, name)


def _is_finite(array: NDArray[Any]) -> bool:
    """One sum finds a NaN or an infinity as well as a look at every number, without a copy."""
    return isfinite(array.sum())


def _usable(info: EngineInfo, name: str, array: NDArray[Any]) -> list[NDArray[Any]]:
    """The parts of an output that must be finite: logits between those of forbidden ids."""
    if name != "logits":
        return [array]
    ends = [*info.forbidden, info.vocab_size]
    begins = [0, *(number + 1 for number in info.forbidden)]
    return [array[..., begin:end] for begin, end in zip(begins, ends, strict=True)]


def _sizes(inputs: StepInputs, info: EngineInfo) -> dict[str, int]:
    """Binds the dynamic axes to the sizes of this step."""
    for name in ("input_ids", "logit_rows", "attention_rows"):
        if getattr(inputs, name).ndim != 2:
            shape = getattr(inputs, name).shape
            raise EngineError(f"{info.name}: {name} has shape {shape}; expected two axes")
    batch, fed = inputs.input_ids.shape
    past = inputs.past[0].shape[2] if inputs.past and inputs.past[0].ndim == 4 else 0
    return {
        "B": batch,
        "S": fed,
        "P": past,
        "R": inputs.logit_rows.shape[1],
        "Q": inputs.attention_rows.shape[1],
        "E": inputs.logit_rows.shape[1] if inputs.want_entropy else 0,
        "P+S": past + fed,
    }


def _check_array(
    engine: str, spec: contract.TensorSpec, array: NDArray[Any], shape: tuple[int, ...]
) -> None:
    if array.dtype != spec.dtype or array.shape != shape:
        symbols = ", ".join(map(str, spec.shape))
        raise EngineError(
            f"{engine}: {spec.name} is {array.dtype} {array.shape}; "
            f"expected {spec.dtype} [{symbols}] = {shape}"
        )


def _check_range(engine: str, name: str, array: NDArray[Any], limit: int) -> None:
    if _outside(array, limit):
        raise EngineError(
            f"{engine}: {name} runs from {array.min()} to {array.max()}; "
            f"expected values from 0 to {limit - 1}"
        )


def _outside(numbers: NDArray[Any], limit: int) -> bool:
    """Whether one of some int64 is below 0, or not below a limit."""
    # Read as unsigned, numbers below 0 are the largest: one look instead of two.
    return bool(numbers.size) and bool(numbers.view(np.uint64).max() >= limit)
