"""An artifact as a package of onnx-genai: its small graphs, its workflow, and what runs it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime import InferenceSession

from dawn_export import ExportOptions, SourceError, export
from dawn_export.genai.graphs import CANVAS, COMMIT, FEED, canvas, commit
from dawn_export.genai.workflow import METADATA_FILE
from dawn_runtime import Artifact, Decoder
from dawn_runtime.errors import OptionError
from support.checkpoints import write_checkpoint
from support.families import tame

MODELS = Path(__file__).parents[2] / "models"
OPTIONS = ExportOptions(evidence_layers=2, onnx_genai=True)
LENGTH = 12


def session(model: Any) -> InferenceSession:
    return InferenceSession(model if isinstance(model, str) else model.SerializeToString())


def run(graph: InferenceSession, **inputs: Any) -> dict[str, Any]:
    outputs = [output.name for output in graph.get_outputs()]
    return dict(zip(outputs, graph.run(outputs, inputs), strict=True))


@pytest.fixture(scope="module", params=["dream", "llada"])
def artifact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    source = write_checkpoint(place / "source", request.param, tame, eos_token_id=7)
    export(source, place / "out", OPTIONS)
    return place / "out"


def decoded(folder: Path, prompt: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    """What the workflow computes, step by step; returns the new tokens of every sequence."""
    graphs = {name: session(str(folder / f"{name}.onnx")) for name in (CANVAS, FEED, COMMIT)}
    step = session(str(folder / "model.onnx"))
    many = np.array([length])
    state = run(graphs[CANVAS], prompt=prompt, length=many)
    for count in range(1, length + 1):
        fed = run(graphs[FEED], tokens=state["tokens"])
        past = fed.pop("past")
        keys = {i.name: past for i in step.get_inputs() if i.name.startswith("past_")}
        out = run(step, input_ids=state["tokens"], **fed, **keys)
        made = run(
            graphs[COMMIT],
            **state,
            proposed=out["tokens"],
            confidence=out["confidence"],
            length=many,
        )
        state = {"tokens": made["next_tokens"], "masked": made["next_masked"]}
        assert made["more"].tolist() == [count < length]
    assert not state["masked"].any()
    new: np.ndarray[Any, Any] = state["tokens"][:, prompt.shape[1] :]
    return new


def test_the_graphs_decode_as_our_runtime_does_one_token_a_step(artifact: Path) -> None:
    prompt = np.random.default_rng(0).integers(0, 30, (2, 9))
    block = Artifact.open(artifact).manifest.decoding.block_length
    found = decoded(artifact, prompt, LENGTH)
    with Decoder.open(artifact) as decoder:
        for row, new in zip(prompt.tolist(), found.tolist(), strict=True):
            result = decoder.generate(
                input_ids=row,
                max_new_tokens=LENGTH,
                policy="one-per-step",
                cache="none",
                block_length=min(block, LENGTH),
                stop_at_eos=False,
            )
            assert new == result.tokens.tolist()


def test_a_block_is_finished_before_the_next_one_begins() -> None:
    graph = session(commit(2, ()))
    tokens = np.array([[1, 2, 9, 9, 9, 9], [1, 2, 3, 4, 9, 9]])
    made = run(
        graph,
        tokens=tokens,
        masked=tokens == 9,
        proposed=np.array([[10, 11, 12, 13, 14, 15]] * 2),
        confidence=np.array([[0.9, 0.9, 0.1, 0.2, 0.8, 0.3]] * 2, dtype=np.float32),
        length=np.array([4]),
    )
    assert made["next_tokens"].tolist() == [[1, 2, 9, 13, 9, 9], [1, 2, 3, 4, 14, 9]]
    assert made["next_masked"].tolist() == [
        [False, False, True, False, True, True],
        [False, False, False, False, False, True],
    ]
    assert made["answer"].tolist() == [[9, 13, 9, 9], [3, 4, 14, 9]]
    assert made["more"].tolist() == [True]


def test_what_stands_behind_the_end_is_shown_as_the_end_and_kept_for_the_model() -> None:
    tokens = np.array([[1, 5, 9, 8], [1, 2, 9, 4]])
    made = run(
        session(commit(8, (7, 5))),
        tokens=tokens,
        masked=tokens == 9,
        proposed=np.full((2, 4), 3),
        confidence=np.ones((2, 4), dtype=np.float32),
        length=np.array([3]),
    )
    assert made["next_tokens"].tolist() == [[1, 5, 3, 8], [1, 2, 3, 4]]
    assert made["answer"].tolist() == [[7, 7, 7], [2, 3, 4]]
    assert made["more"].tolist() == [False]


def test_a_mask_in_the_prompt_is_given_and_stays() -> None:
    made = run(session(canvas(9)), prompt=np.array([[9, 1]]), length=np.array([2]))
    assert made["tokens"].tolist() == [[9, 1, 9, 9]]
    assert made["masked"].tolist() == [[False, False, True, True]]


def test_the_workflow_names_files_of_the_artifact_and_their_ports(artifact: Path) -> None:
    files = Artifact.open(artifact, verify="full").manifest.files
    assert {METADATA_FILE, *(f"{name}.onnx" for name in (CANVAS, FEED, COMMIT))} <= set(files)
    workflow = json.loads((artifact / METADATA_FILE).read_text())["pipeline"]["workflow"]
    (loop,) = workflow["steps"]
    assert not set(workflow["state"]) & set(workflow["outputs"])  # one name, one value
    known = {*workflow["inputs"], *workflow["state"]}
    for step in [*loop["setup"], *loop["steps"]]:
        if step["kind"] == "emit":
            assert step["value"] in known
            continue
        file = workflow["components"][step["component"]]["implementation"]["artifact"]
        graph = onnx.load(artifact / file, load_external_data=False).graph
        assert set(step["inputs"]) == {value.name for value in graph.input}
        assert set(step["outputs"]) <= {value.name for value in graph.output}
        assert set(step["inputs"].values()) <= known
        known |= set(step["outputs"].values())
    for cell in loop["carried"]:
        assert cell["cell"] in workflow["state"]
        assert cell["next"] in known
    assert {state["initializer"] for state in workflow["state"].values()} <= known


@pytest.mark.parametrize(
    "options",
    [
        {"target": "tensorrt", "precision": "fp16"},
        {"target": "cuda", "precision": "bf16"},
        {"kv": "int8"},
    ],
)
def test_targets_that_it_cannot_run_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(OptionError, match=r"onnx genai: it runs .* leave --onnx-genai out"):
        ExportOptions(onnx_genai=True, **options)


def test_models_that_look_back_alone_are_refused(tmp_path: Path) -> None:
    source = write_checkpoint(tmp_path / "source", "sdar")
    with pytest.raises((OptionError, SourceError), match="attends block-causal, expected one that"):
        export(source, tmp_path / "out", OPTIONS)
    assert not (tmp_path / "out").exists()


@pytest.mark.onnx_genai
@pytest.mark.parametrize("name", ["tiny-llada", "tiny-dream"])
def test_onnx_genai_gives_the_text_that_our_runtime_gives(name: str, tmp_path: Path) -> None:
    import onnx_genai

    export(MODELS / name, tmp_path / "out", ExportOptions(onnx_genai=True))
    engine = onnx_genai.Engine.from_dir(tmp_path / "out")
    with Decoder.open(tmp_path / "out") as decoder:
        for question in ("Sort: 47 3 12", "What is 3 + 4?"):
            assert decoder.chat is not None
            chat = decoder.chat.render([{"role": "user", "content": question}])
            found = engine.generate(chat, max_tokens=32)
            expected = decoder.generate(
                chat, max_new_tokens=32, policy="one-per-step", cache="none", block_length=32
            )
            assert expected.text
            assert found.text == expected.text
