"""Engines: the shared checks, the fake ones, and ONNX Runtime on a hand-made graph."""

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel

from dawn_runtime import (
    Artifact,
    Engine,
    EngineError,
    OptionError,
    StepInputs,
    StepOutputs,
    interruption,
    open_engine,
)
from dawn_runtime.contract import input_specs, output_specs
from dawn_runtime.engine.checks import check_outputs, check_volumes
from dawn_runtime.engine.fake import FakeEngine, HashModel, ReplayEngine, fake_manifest
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.manifest import one_graph
from dawn_runtime.threads import Machine, decide

MANIFEST = fake_manifest(vocab_size=16, max_length=32)
# The toy graph below is one of before the third version of the manifest.
OLDER = replace(
    MANIFEST,
    tokens=replace(MANIFEST.tokens, forbidden=()),
    graphs=one_graph(measures=False),
)


def full_pass(ids: list[list[int]], **changes: Any) -> StepInputs:
    array = np.array(ids)
    batch, length = array.shape
    every = np.tile(np.arange(length), (batch, 1))
    mask = np.ones((batch, 1, length, length), dtype=bool)
    return replace(StepInputs(array, every, mask, every, every), **changes)


# Checks shared by all engines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_ids": np.array([[1, 16]])}, "input_ids runs from 1 to 16; expected .* 0 to 15"),
        ({"input_ids": np.array([[-1, 2]])}, "input_ids runs from -1 to 2"),
        ({"input_ids": np.array([1, 2])}, r"input_ids has shape \(2,\); expected two axes"),
        (
            {"position_ids": np.array([[0, 1]], dtype=np.int32)},
            r"position_ids is int32 \(1, 2\); expected int64 \[B, S\] = \(1, 2\)",
        ),
        ({"position_ids": np.array([[0, 32]])}, "position_ids runs from 0 to 32"),
        (
            {"attention_mask": np.ones((1, 2, 2), dtype=bool)},
            r"attention_mask is bool \(1, 2, 2\); expected bool \[B, 1, S, P\+S\] = \(1, 1, 2, 2\)",
        ),
        ({"logit_rows": np.array([[2]])}, "logit_rows runs from 2 to 2; expected values from 0"),
        ({"attention_rows": np.array([[-1]])}, "attention_rows runs from -1"),
        ({"past": (np.zeros((1, 1, 1, 2)),)}, "got 1 cached arrays; expected none or 2"),
        (
            {"past": (np.zeros((1, 1, 3, 2), np.float16),) * 2},
            r"attention_mask is bool \(1, 1, 2, 2\); .* = \(1, 1, 2, 5\)",
        ),
        (
            {
                "past": (np.zeros((1, 1, 3, 2), np.float16),) * 2,
                "attention_mask": np.ones((1, 1, 2, 5), dtype=bool),
            },
            "past_key.0 is float16 .* expected float32",
        ),
        (
            {
                "past": tuple(np.zeros((1, 1, 3, 2), kind) for kind in (np.float32, np.float16)),
                "attention_mask": np.ones((1, 1, 2, 5), dtype=bool),
            },
            "past_value.0 is float16 .* expected float32",
        ),
    ],
)
def test_inputs_that_break_the_contract_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=f"fake: {message}"):
        FakeEngine(MANIFEST).run(full_pass([[1, 2]], **changes))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tokens", lambda a: a.astype(np.int32), "output tokens is int32; expected int64"),
        ("tokens", lambda a: a + 16, "output tokens runs from .*; the model has ids from 0 to 15"),
        ("tokens", lambda a: a - 16, "output tokens runs from -"),
        ("confidence", lambda a: a.astype(np.float64), "confidence is float64; expected float32"),
        ("attention", lambda a: a.astype(np.float16), "attention is float16; expected float32"),
        (
            "attention",
            lambda a: a[..., :-1],
            r"attention has shape \(1, 2, 1\); expected \(1, 2, 2",
        ),
        ("logits", lambda a: a[..., :-1], r"logits has shape \(1, 2, 15\); expected \(1, 2, 16\)"),
        ("logits", lambda a: a.astype(np.float64), "logits is float64; expected float32"),
        ("logits", lambda a: a * np.float32(np.nan), "output logits holds NaN or infinity"),
        ("logits", lambda a: np.full_like(a, np.inf), "output logits holds NaN or infinity"),
        ("logits", lambda a: np.full_like(a, -np.inf), "output logits holds NaN or infinity"),
        ("logits", np.zeros_like, r"a number at an id that is never .* minus infinity at \[15\]"),
        ("entropy", lambda a: None, "entropy was asked for and did not come"),
        ("entropy", lambda a: a[:, :1], r"entropy has shape \(1, 1\); expected \(1, 2\)"),
        ("margin", lambda a: a * np.float32(np.nan), "output margin holds NaN or infinity"),
        ("margin", lambda a: a.astype(np.float64), "margin is float64; expected float32"),
        ("present", lambda a: a[:1], "got 1 keys and values; expected 2, two for each layer"),
        (
            "present",
            lambda a: (a[0], a[1][..., :1]),
            r"float32 \(1, 1, 2, 1\); expected float32 \(",
        ),
        (
            "present",
            lambda a: (a[0], a[1].astype("f8")),
            r"are float64 \(1, 1, 2, 2\); expected fl",
        ),
    ],
)
def test_outputs_that_break_the_contract_are_named(name: str, change: Any, message: str) -> None:
    wanted = ("logits", "present", "entropy", "margin")
    inputs = full_pass([[1, 2]], **{f"want_{output}": True for output in wanted})
    engine = FakeEngine(MANIFEST)
    outputs = engine.run(inputs)
    check_outputs(inputs, outputs, engine.describe())
    spoilt = replace(outputs, **{name: change(getattr(outputs, name))})
    with pytest.raises(EngineError, match=f"fake: .*{message}") as caught:
        check_outputs(inputs, spoilt, engine.describe())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((4, 4096, 0, 32, 4096), "has 4 x 32 x 4096 x 4096 = 2,147,483,648 attention weights"),
        ((1, 1024, 64512, 1, 1024), "has 1 x 32 x 1024 x 65536 = 2,147,483,648 attention weights"),
        (
            (4, 4096, 0, 4096, 0),
            "has 4 x 4096 x 152064 = 2,491,416,576 logits, at most 2,147,483,6",
        ),
        ((3, 4096, 0, 32, 4096), None),
        ((64, 4096, 0, 32, 0), None),
    ],
)
def test_a_step_with_more_numbers_than_kernels_count_is_refused_up_front(
    sizes: tuple[int, ...], message: str | None
) -> None:
    dims = replace(MANIFEST.dims, heads=32, vocab_size=152_064)
    step = dict(zip("BSPRQ", sizes, strict=True))
    info = FakeEngine(MANIFEST).describe()
    if message is None:
        check_volumes(info, dims, step)
        return
    with pytest.raises(EngineError, match=f"{message}.*fewer rows at once or shorter ones$"):
        check_volumes(info, dims, step)


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**12, 2**64, 1.5, True, "2"])
def test_a_number_of_threads_that_is_none_never_reaches_native_code(
    threads: Any, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match=r"threads is .*; expected"):
        OrtEngine(tmp_path / "model.onnx", MANIFEST, threads=threads)


# Fake engines


def test_fake_engines_are_engines() -> None:
    assert isinstance(FakeEngine(MANIFEST), Engine)
    assert isinstance(ReplayEngine(MANIFEST, []), Engine)


def test_fake_outputs_follow_the_contract() -> None:
    inputs = full_pass([[1, 2, 3], [4, 5, 6]], want_logits=True, want_present=True)
    found = FakeEngine(MANIFEST).run(inputs)
    assert found.logits is not None
    assert (found.tokens.dtype, found.confidence.dtype) == (np.int64, np.float32)
    np.testing.assert_array_equal(found.tokens, found.logits.argmax(axis=-1))
    shares = np.exp(found.logits) / np.exp(found.logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found.confidence, shares.max(axis=-1), rtol=1e-5)
    np.testing.assert_allclose(found.attention.sum(axis=-1), 1, rtol=1e-5)
    assert [array.shape for array in found.present] == [(2, 1, 3, 2)] * 2


def test_fake_leaves_out_what_is_not_wanted() -> None:
    found = FakeEngine(MANIFEST).run(full_pass([[1, 2]]))
    assert found.logits is None
    assert found.present == ()


def test_fake_confidences_spread_over_the_whole_range() -> None:
    found = FakeEngine(MANIFEST).run(full_pass([list(range(16)) * 2])).confidence
    assert found.min() < 0.3
    assert 0.1 < (found >= 0.9).mean() < 0.6


def test_fake_with_everything_cached_equals_no_cache_in_any_order() -> None:
    engine = FakeEngine(MANIFEST)
    whole = full_pass([[3, 1, 4, 1, 5, 9]], want_present=True)
    expected = engine.run(whole)
    order = np.array([2, 0, 3, 1])
    cached = StepInputs(
        input_ids=whole.input_ids[:, 4:],
        position_ids=whole.position_ids[:, 4:],
        attention_mask=np.ones((1, 1, 2, 6), dtype=bool),
        logit_rows=np.array([[0, 1]]),
        attention_rows=np.array([[1]]),
        past=tuple(array[:, :, order] for array in expected.present),
    )
    found = engine.run(cached)
    np.testing.assert_array_equal(found.tokens, expected.tokens[:, 4:])
    np.testing.assert_array_equal(found.confidence, expected.confidence[:, 4:])
    np.testing.assert_array_equal(found.attention[0, 0], expected.attention[0, 5, [*order, 4, 5]])


def test_another_seed_is_another_model() -> None:
    runs = [
        FakeEngine(MANIFEST, HashModel(16, seed)).run(full_pass([[1, 2, 3, 4, 5]])).tokens.tolist()
        for seed in (0, 0, 1)
    ]
    assert runs[0] == runs[1] != runs[2]


def test_fake_refuses_keys_that_cannot_hold_a_token() -> None:
    narrow = replace(MANIFEST, dims=replace(MANIFEST.dims, head_dim=1))
    for manifest in (narrow, replace(MANIFEST, precision="fp16", activations="fp16")):
        with pytest.raises(EngineError, match="expected float32 and a width of at least 2"):
            FakeEngine(manifest)


def test_replay_gives_back_what_was_prepared_and_remembers_inputs() -> None:
    prepared = FakeEngine(MANIFEST).run(full_pass([[1, 2]]))
    engine = ReplayEngine(MANIFEST, [prepared])
    inputs = full_pass([[1, 2]])
    assert engine.run(inputs) is prepared
    assert engine.seen == [inputs]
    with pytest.raises(EngineError, match="no output was prepared for run 2"):
        engine.run(inputs)


def test_an_engine_predicts_nothing_where_nothing_is_asked() -> None:
    none = np.zeros((1, 0), dtype=np.int64)
    wanted = {f"want_{name}": True for name in ("logits", "present", "entropy", "margin")}
    inputs = full_pass([[1, 2]], logit_rows=none, **wanted)
    engine = FakeEngine(MANIFEST)
    found = engine.run(inputs)
    check_outputs(inputs, found, engine.describe())
    assert found.tokens.shape == found.confidence.shape == (1, 0)
    assert len(found.present) == 2


def test_the_fake_engine_measures_its_logits_and_bars_the_mask() -> None:
    rows = np.arange(8)[None]
    found = FakeEngine(MANIFEST).run(
        full_pass([list(range(8))], want_logits=True, want_entropy=True, want_margin=True)
    )
    assert found.logits is not None
    assert np.isneginf(found.logits[..., 15]).all()
    shares = np.exp(found.logits[..., :15].astype(np.float64))
    shares /= shares.sum(axis=-1, keepdims=True)
    entropy = -(shares * np.log(shares)).sum(axis=-1)
    np.testing.assert_allclose(found.entropy, entropy, atol=1e-6)
    ordered = np.sort(found.logits, axis=-1)
    np.testing.assert_array_equal(found.margin, ordered[..., -1] - ordered[..., -2])
    np.testing.assert_allclose(found.confidence, shares.max(axis=-1), rtol=1e-5)
    assert found.tokens.shape == rows.shape


@pytest.mark.parametrize("name", ["entropy", "margin"])
def test_an_engine_of_an_older_graph_says_that_it_measures_nothing(name: str) -> None:
    with pytest.raises(EngineError, match=f"fake: asked for {name} of predictions, but the graph"):
        FakeEngine(OLDER).run(full_pass([[1, 2]], **{f"want_{name}": True}))


# ONNX Runtime


def contract_graph() -> onnx.ModelProto:
    """A graph that honours the contract: logits look up the token, attention is uniform.

    Keys and values are the position, so that what is fed can be read back.
    """
    manifest = OLDER
    dims = manifest.dims
    table = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    constants = {
        "table": table,
        "last": np.array([-1]),
        "one": np.array([1]),
        "key_axes": np.array([1, 3]),
        "width": np.array([1, 1, 1, 2]),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["all_logits"]),
        helper.make_node("GatherND", ["all_logits", "rows"], ["logits"], batch_dims=1),
        helper.make_node("Unsqueeze", ["logit_rows", "last"], ["rows"]),
        helper.make_node("ArgMax", ["logits"], ["tokens"], axis=-1, keepdims=0),
        helper.make_node("ReduceMax", ["logits", "last"], ["best"], keepdims=0),
        helper.make_node("ReduceLogSumExp", ["logits", "last"], ["norm"], keepdims=0),
        helper.make_node("Sub", ["best", "norm"], ["log_confidence"]),
        helper.make_node("Exp", ["log_confidence"], ["confidence"]),
        helper.make_node("Cast", ["attention_mask"], ["visible"], to=TensorProto.FLOAT),
        helper.make_node("Squeeze", ["visible", "one"], ["visible2d"]),
        helper.make_node("Unsqueeze", ["attention_rows", "last"], ["evidence_rows"]),
        helper.make_node("GatherND", ["visible2d", "evidence_rows"], ["seen"], batch_dims=1),
        helper.make_node("ReduceSum", ["seen", "last"], ["count"], keepdims=1),
        helper.make_node("Div", ["seen", "count"], ["attention"]),
        helper.make_node("Cast", ["position_ids"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floats", "key_axes"], ["narrow"]),
        helper.make_node("Expand", ["narrow", "width"], ["present_key.0"]),
        helper.make_node("Identity", ["present_key.0"], ["present_value.0"]),
    ]
    nodes[1], nodes[2] = nodes[2], nodes[1]

    def values(specs: Any) -> list[onnx.ValueInfoProto]:
        return [
            helper.make_tensor_value_info(
                spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape
            )
            for spec in specs
        ]

    sizes = (dims.layers, dims.kv_heads, dims.head_dim, manifest.kv_dtype)
    graph = helper.make_graph(
        nodes,
        "contract",
        values(input_specs(*sizes, measures=False)),
        values(output_specs(*sizes, dims.vocab_size, measures=False)),
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture
def graph_path(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(contract_graph(), path)
    return path


def test_onnxruntime_runs_the_contract(graph_path: Path) -> None:
    engine = OrtEngine(graph_path, OLDER, threads=1)
    assert isinstance(engine, Engine)
    assert engine.describe().name == "onnxruntime-cpu"
    inputs = full_pass([[1, 2, 3], [4, 5, 6]], attention_rows=np.zeros((2, 0), dtype=np.int64))
    found = engine.run(inputs)
    assert found.tokens.shape == found.confidence.shape == (2, 3)
    assert (found.tokens.dtype, found.confidence.dtype) == (np.int64, np.float32)
    assert found.attention.shape == (2, 0, 3)
    assert found.logits is None
    assert found.present == ()


def test_onnxruntime_keeps_no_memory_for_shapes_it_has_met(graph_path: Path) -> None:
    options = OrtEngine(graph_path, OLDER, threads=1)._session.get_session_options()
    assert not options.enable_mem_pattern


def test_onnxruntime_runs_on_the_threads_that_were_chosen(
    graph_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = decide(Machine(8, 8, 8, quota=3), weights=10**9)
    monkeypatch.setattr("dawn_runtime.engine.ort.cpu.choose_threads", lambda dims, wanted: chosen)
    engine = OrtEngine(graph_path, OLDER)
    options = engine._session.get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert engine.describe().threads is chosen


class Pressed:
    """A session in whose middle the signal comes."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def run(self, *arguments: Any) -> Any:
        (stop,) = interruption._stops
        stop()
        return self._session.run(*arguments)


def test_onnxruntime_ends_a_run_that_is_stopped(graph_path: Path) -> None:
    engine = OrtEngine(graph_path, OLDER)
    session = engine._session
    engine._session = Pressed(session)
    with pytest.raises(EngineError, match="terminate"):
        engine.run(full_pass([[1, 2, 3]]))
    engine._session = session
    assert engine.run(full_pass([[1, 2, 3]])).tokens.shape == (1, 3)


def test_threads_may_spin_where_the_machine_is_free(
    graph_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = decide(Machine(8, 8, 8), weights=10**9)
    monkeypatch.setattr("dawn_runtime.engine.ort.cpu.choose_threads", lambda dims, wanted: chosen)
    options = OrtEngine(graph_path, OLDER)._session.get_session_options()
    with pytest.raises(RuntimeError, match="allow_spinning"):  # nothing is said, so they may
        options.get_session_config_entry("session.intra_op.allow_spinning")


def test_low_memory_leaves_weights_where_they_are_and_changes_no_result(graph_path: Path) -> None:
    engine = OrtEngine(graph_path, OLDER, threads=1, low_memory=True)
    options = engine._session.get_session_options()
    assert options.graph_optimization_level == GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    assert options.get_session_config_entry("session.disable_prepacking") == "1"
    assert not options.enable_cpu_mem_arena
    inputs = full_pass([[1, 2, 3]])
    usual = OrtEngine(graph_path, OLDER, threads=1).run(inputs)
    np.testing.assert_array_equal(engine.run(inputs).tokens, usual.tokens)


def test_onnxruntime_returns_logits_and_keys_on_request(graph_path: Path) -> None:
    engine = OrtEngine(graph_path, OLDER, threads=1)
    found = engine.run(full_pass([[1, 2, 3]], want_logits=True, want_present=True))
    assert found.logits is not None
    np.testing.assert_array_equal(found.tokens, found.logits.argmax(axis=-1))
    assert [array.shape for array in found.present] == [(1, 1, 3, 2)] * 2
    assert found.present[0][0, 0, :, 0].tolist() == [0, 1, 2]


def test_an_older_graph_must_predict_something(graph_path: Path) -> None:
    none = np.zeros((1, 0), dtype=np.int64)
    with pytest.raises(EngineError, match=r"got no logit_rows, but the graph .* export again"):
        OrtEngine(graph_path, OLDER, threads=1).run(full_pass([[1, 2]], logit_rows=none))


def test_onnxruntime_takes_cached_keys(graph_path: Path) -> None:
    engine = OrtEngine(graph_path, OLDER, threads=1)
    inputs = full_pass(
        [[1, 2]],
        past=(np.zeros((1, 1, 3, 2), dtype=np.float32),) * 2,
        attention_mask=np.ones((1, 1, 2, 5), dtype=bool),
    )
    found = engine.run(inputs)
    np.testing.assert_allclose(found.attention, np.full((1, 2, 5), 0.2), rtol=1e-6)


def test_onnxruntime_checks_inputs_unless_told_otherwise(graph_path: Path) -> None:
    wrong = full_pass([[1, 99]])
    with pytest.raises(EngineError, match="input_ids runs from 1 to 99"):
        OrtEngine(graph_path, OLDER, threads=1).run(wrong)
    unchecked = OrtEngine(graph_path, OLDER, threads=1, check=False)
    with pytest.raises(EngineError, match="onnxruntime-cpu: cannot run the graph: ") as caught:
        unchecked.run(wrong)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is not None


def test_closed_engine_says_so(graph_path: Path) -> None:
    engine = OrtEngine(graph_path, OLDER, threads=1)
    engine.close()
    engine.close()
    with pytest.raises(EngineError, match="the engine is closed; open the artifact again"):
        engine.run(full_pass([[1]]))


def test_file_that_is_no_graph_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(EngineError, match=r"cannot load model\.onnx: ") as caught:
        OrtEngine(tmp_path / "model.onnx", MANIFEST)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "kind",
    [
        *("Fail", "InvalidArgument", "NoSuchFile", "InvalidGraph", "RuntimeError", "ValueError"),
        *("MemoryError", "TypeError", "OSError", "SystemError", "Exception"),
    ],
)
def test_every_error_out_of_onnxruntime_is_translated(
    kind: str, graph_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    error = getattr(state, kind, None) or getattr(builtins, kind)

    class Broken:
        def run(self, *_: Any) -> StepOutputs:
            raise error("first line\nsecond line")

    engine = OrtEngine(graph_path, OLDER, threads=1)
    monkeypatch.setattr(engine, "_session", Broken())
    with pytest.raises(EngineError, match="cannot run the graph: first line second line"):
        engine.run(full_pass([[1]]))


def test_unknown_engine_lists_what_there_is(artifact_folder: Path) -> None:
    artifact = Artifact.open(artifact_folder)
    with pytest.raises(OptionError, match="unknown engine: 'tpu'; known: auto, onnxruntime-cpu"):
        open_engine(artifact, "tpu")
    with pytest.raises(OptionError, match="engine: threads is 0; expected an integer from 1 to"):
        open_engine(artifact, threads=0)
    with pytest.raises(EngineError, match=r"cannot load model\.onnx"):
        open_engine(artifact, threads=1)


def test_what_a_step_is_checked_by_is_made_once() -> None:
    assert input_specs(2, 2, 8, "float32") is input_specs(2, 2, 8, "float32")
