"""An adapter for drafts from the checkpoint to the text: one graph, two ways to run its rows."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from dawn_calibration.torch_engine import TorchEngine
from dawn_export import ExportOptions, export
from dawn_export.cli import main
from dawn_export.quantization.fingerprint import fingerprint
from dawn_export.verification import verify
from dawn_export.verification.computed_outputs import check_parity, reference
from dawn_models import Checkpoint, Told, load_transformer, make_transformer
from dawn_runtime import Decoder
from dawn_runtime.artifact import Artifact, read_manifest
from dawn_runtime.decoding import Batch, Causal, NoCache, Packer, RowState
from dawn_runtime.decoding.schemes import Autoregressive, LinearSpeculation
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from support.drafts import ANSWER, BLOCK, PROMPT, write_taught

WITHOUT = Told(no_draft_adapter=True)
CASES = [
    ("fp32", "fused"),
    ("int8", "fused"),
    ("int4", "fused"),
    ("fp16", "portable"),
]
FP32 = CASES[0]

Made = Callable[[tuple[str, str], bool], Path]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_taught(tmp_path_factory.mktemp("drafts") / "model")


@pytest.fixture(scope="module")
def made(taught: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Artifacts with the adapter and without it, exported when first asked for and verified."""
    root = tmp_path_factory.mktemp("artifacts")

    @cache
    def artifact(case: tuple[str, str], adapted: bool) -> Path:
        precision, dialect = case
        folder = root / f"{precision}-{dialect}-{adapted}"
        options = ExportOptions("cpu", precision, dialect, evidence_layers=2)
        told, checked = (None, "all") if adapted else (WITHOUT, None)
        export(taught, folder, options, told=told, verify=checked)
        return folder

    return artifact


def engine_of(folder: Path) -> OrtEngine:
    artifact = Artifact.open(folder)
    return OrtEngine(artifact.graph(), artifact.manifest, threads=1)


def whole(batch: int = 2, length: int = 9) -> StepInputs:
    ids = np.random.default_rng(3).integers(0, 38, (batch, length))
    every = np.tile(np.arange(length), (batch, 1))
    mask = np.tril(np.ones((batch, 1, length, length), dtype=bool))
    return StepInputs(ids, every, mask, every, every, want_logits=True, want_present=True)


def of_rows(*drafting: bool) -> np.ndarray:
    return np.tile(np.array(drafting)[:, None], (1, 9))


def test_one_input_more_and_two_weights_a_layer(made: Made) -> None:
    graphs = {}
    for adapted in (True, False):
        folder = made(FP32, adapted)
        graph = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph
        inputs = [one.name for one in graph.input]
        assert [spec.name for spec in read_manifest(folder).inputs] == inputs
        graphs[adapted] = (
            inputs,
            {n.name for n in graph.initializer if n.name.startswith("layers.")},
        )
    added = [set(more) - set(less) for more, less in zip(*graphs.values(), strict=True)]
    weights = {f"layers.{i}.draft_{name}.weight" for i in range(2) for name in "ab"}
    assert added == [{"draft_mask"}, weights]
    assert read_manifest(made(FP32, True)).step.drafts
    assert not read_manifest(made(FP32, False)).step.drafts
    assert '"draft_mask"' not in (made(FP32, False) / "dawn.json").read_text()


@pytest.mark.parametrize("case", CASES)
def test_verification_runs_rows_that_draft(made: Made, case: tuple[str, str]) -> None:
    """The export was verified, and fails where the drafting rows alone compute something else."""
    folder = made(case, True)
    text = (folder / "verification.json").read_text()
    assert '"drafting"' in text


def test_rows_draft_where_only_the_first_layers_can_be_run(
    taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "layers_that_fit", lambda config, free: 1)
    report = export(taught, tmp_path / "out", ExportOptions(evidence_layers=2), verify="sample")
    assert report.verification is not None
    found = report.verification.end_to_end
    assert found.layers == 1
    assert "drafting" in {one.case for one in found.differences}


def test_a_graph_that_ignores_its_mask_is_found(made: Made, taught: Path, tmp_path: Path) -> None:
    folder, checkpoint = made(FP32, True), Checkpoint.open(taught)
    manifest = read_manifest(folder)
    model = onnx.load(str(folder / "model.onnx"))
    cast = next(node for node in model.graph.node if "draft_mask" in node.input)
    never = onnx.helper.make_node("Xor", ["draft_mask", "draft_mask"], ["never"])
    cast.input[list(cast.input).index("draft_mask")] = "never"
    model.graph.node.insert(0, never)
    onnx.save(model, str(tmp_path / "model.onnx"))
    (tmp_path / "model.onnx.data").touch()
    found = check_parity(tmp_path / "model.onnx", manifest, checkpoint)
    assert {one.case for one in found if not one.accepted} == {"drafting"}


@pytest.mark.parametrize("case", CASES)
def test_without_drafts_every_bit_is_that_of_the_graph_without_an_adapter(
    made: Made, case: tuple[str, str]
) -> None:
    plain = engine_of(made(case, False)).run(whole())
    engine = engine_of(made(case, True))
    mixed = engine.run(replace(whole(), draft_mask=of_rows(True, False)))
    for found, rows in (
        (engine.run(whole()), slice(0, 2)),
        (engine.run(replace(whole(), draft_mask=of_rows(False, False))), slice(0, 2)),
        (mixed, slice(1, 2)),
    ):
        for name in ("tokens", "confidence", "attention", "logits"):
            np.testing.assert_array_equal(getattr(found, name)[rows], getattr(plain, name)[rows])
        for one, other in zip(found.present, plain.present, strict=True):
            np.testing.assert_array_equal(one[rows], other[rows])
    assert np.abs(mixed.confidence[0] - plain.confidence[0]).max() > 0.01


def test_a_row_that_drafts_computes_with_merged_weights(made: Made, taught: Path) -> None:
    checkpoint = Checkpoint.open(taught)
    weights = {name: tensor.float() for name, tensor in checkpoint}
    for i in range(2):
        a, b = (weights.pop(f"layers.{i}.draft_{name}.weight") for name in "ab")
        weights[f"layers.{i}.o_proj.weight"] = weights[f"layers.{i}.o_proj.weight"] + 4 * b @ a
    merged = make_transformer(replace(checkpoint.config, draft=None), weights)
    expected = reference(merged, whole(), 2)
    found = engine_of(made(FP32, True)).run(replace(whole(), draft_mask=of_rows(False, True)))
    for name in ("confidence", "attention"):
        ours, theirs = (getattr(one, name)[1] for one in (found, expected))
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert found.logits is not None
    assert expected.logits is not None
    np.testing.assert_allclose(found.logits[1], expected.logits[1], atol=1e-4)
    for one, other in zip(found.present, expected.present, strict=True):
        np.testing.assert_allclose(one[1], other[1], atol=1e-4)


@pytest.mark.parametrize("cached", ["causal", "none"])
@pytest.mark.parametrize("case", [FP32, ("int8", "fused")])
def test_the_text_is_that_of_greedy_decoding_and_the_adapter_saves_runs(
    made: Made, case: tuple[str, str], cached: str
) -> None:
    runs = {}
    for adapted in (True, False):
        decoder = Decoder.open(made(case, adapted), threads=1)
        asked = {"input_ids": PROMPT, "max_new_tokens": ANSWER, "cache": cached}
        greedy = decoder.generate(policy="autoregressive", **asked)
        found = decoder.generate(policy="linear-speculation", **asked)
        assert found.tokens.tolist() == greedy.tokens.tolist()
        assert greedy.forwards == ANSWER
        runs[adapted] = found.forwards, greedy.tokens.tolist()
    assert runs[True][1] == runs[False][1]
    assert runs[True][0] <= runs[False][0] - 4


def test_either_cache_drafts_alike(made: Made) -> None:
    """Text that is fed anew beside a draft is text, not a part of the draft."""
    decoder = Decoder.open(made(FP32, True), threads=1)
    runs = [
        decoder.generate(
            input_ids=PROMPT, max_new_tokens=ANSWER, policy="linear-speculation", cache=cached
        ).forwards
        for cached in ("causal", "none")
    ]
    assert runs[0] == runs[1]


@pytest.mark.parametrize("cache_of", [Causal, NoCache])
def test_rows_in_other_phases_do_not_disturb_each_other(
    made: Made, cache_of: type[Causal | NoCache]
) -> None:
    """They join one step after the other: while some draft, others verify or are read."""
    engine = engine_of(made(FP32, True))
    prompts = [PROMPT, [7, 1], PROMPT, [5, 30, 2, 9], [7, 1]]
    schemes = [LinearSpeculation(BLOCK, cache_of()) for _ in prompts]
    schemes[-1] = Autoregressive(cache_of())  # type: ignore[call-overload]  # another scheme

    def alone(number: int) -> RowState:
        return together([number])[0]

    def together(numbers: list[int]) -> list[RowState]:
        packer = Packer.for_engine(0, engine.describe())
        batch, keys = Batch(engine, packer, max_rows=5, max_tokens=200), []
        for number in numbers:
            row = RowState.begin(np.array(prompts[number]), ANSWER, 39)
            keys.append(batch.admit(row, schemes[number]))
            batch.step()
        while batch.active:
            batch.step()
        return [batch.leave(key) for key in keys]

    for number, found in enumerate(together(list(range(5)))):
        expected = alone(number)
        assert found.ids.tolist() == expected.ids.tolist()
        assert found.step == expected.step
        np.testing.assert_array_equal(found.commit_step, expected.commit_step)


def test_kept_keys_are_those_of_the_text(made: Made) -> None:
    """The cached keys of every position equal those of one causal run over the text."""
    engine = engine_of(made(FP32, True))
    batch = Batch(engine, Packer.for_engine(0, engine.describe()), max_rows=1, max_tokens=40)
    seen: list[StepInputs] = []
    run = engine.run

    def watched(inputs: StepInputs) -> StepOutputs:
        # Copied: the memory of keys is written to after the step.
        seen.append(replace(inputs, past=tuple(array.copy() for array in inputs.past)))
        return run(inputs)

    engine.run = watched  # type: ignore[method-assign]
    key = batch.admit(RowState.begin(np.array(PROMPT), ANSWER, 39), LinearSpeculation(BLOCK))
    while batch.active:
        batch.step()
    ids = batch.row(key).ids
    rows, mask = np.arange(len(ids))[None], np.tri(len(ids), dtype=bool)[None, None]
    text = run(StepInputs(ids[None], rows, mask, rows, rows[:, :0], want_present=True)).present
    drafted = [inputs for inputs in seen if inputs.draft_mask is not None]
    assert 0 < len(drafted) < len(seen)
    for inputs in seen:
        begin = int(inputs.position_ids[0, 0])
        for kept, expected in zip(inputs.past, text, strict=bool(inputs.past)):
            slots = inputs.attention_mask[0, 0, 0, : kept.shape[2]]
            assert slots.sum() == begin
            found = kept[:, :, slots]
            np.testing.assert_allclose(found, expected[:, :, :begin], atol=1e-4)


def test_torch_drafts_as_the_graph_does(made: Made, taught: Path) -> None:
    manifest = read_manifest(made(FP32, True))
    engine = TorchEngine(load_transformer(Checkpoint.open(taught)), manifest)
    decoders = [Decoder(manifest, engine), Decoder.open(made(FP32, True), threads=1)]
    asked = {"input_ids": PROMPT, "max_new_tokens": ANSWER, "policy": "linear-speculation"}
    ours, theirs = (decoder.generate(**asked) for decoder in decoders)
    assert ours.tokens.tolist() == theirs.tokens.tolist()
    assert ours.forwards == theirs.forwards


def test_other_ways_to_decode_never_draft(made: Made) -> None:
    """Without it and with it they say the same in as many runs."""
    for policy in ("threshold", "autoregressive", "wedlm"):
        found = [
            Decoder.open(made(FP32, adapted), threads=1).generate(
                input_ids=PROMPT, max_new_tokens=8, policy=policy
            )
            for adapted in (True, False)
        ]
        assert found[0].tokens.tolist() == found[1].tokens.tolist()
        assert found[0].forwards == found[1].forwards


def test_a_calibration_serves_both(taught: Path) -> None:
    assert fingerprint(Checkpoint.open(taught)) == fingerprint(Checkpoint.open(taught, WITHOUT))


def test_the_command_leaves_it_out(
    taught: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(taught), "--output", str(tmp_path / "out"), "--evidence-layers", "2"]
    assert main([*words, "--no-draft-adapter", "--quiet"]) == 0
    assert not read_manifest(tmp_path / "out").step.drafts
    words = ["--artifact", str(tmp_path / "out"), "--target", "tensorrt", "--no-draft-adapter"]
    assert main(words) == 2
    assert "--no-draft-adapter: goes with --model" in capsys.readouterr().err
