"""`dawn.json`: round trip, and one clear line for everything that can be wrong with it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from dawn_runtime import ArtifactError, Manifest, OptionError, contract
from dawn_runtime.contract import TensorSpec
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.manifest import FORMAT_VERSION, DecodingDefaults, FileEntry, Graph, Origin


@pytest.fixture
def document() -> dict[str, Any]:
    manifest = replace(
        fake_manifest(),
        decoding=DecodingDefaults("dawn", {"tau_edge": 0.07, "tau_high": 0.9}),
        files={"model.onnx": FileEntry(4, "0" * 64)},
    )
    found: dict[str, Any] = json.loads(manifest.to_json())
    return found


def older(document: dict[str, Any], version: int) -> dict[str, Any]:
    """The same as an older format had it: one graph, no entropy, no forbidden ids."""
    step = document["graphs"]["step"]
    new = ("entropy_rows", "entropy", "margin")
    tables = {
        name: [spec for spec in step[name] if spec["name"] not in new]
        for name in ("inputs", "outputs")
    }
    kept = {key: value for key, value in document.items() if key != "graphs"}
    tokens = {key: value for key, value in document["tokens"].items() if key != "forbidden"}
    return {**kept, **tables, "tokens": tokens, "format_version": version}


def read(document: Any) -> Manifest:
    return Manifest.from_json(json.dumps(document))


def test_manifest_survives_a_round_trip(document: dict[str, Any]) -> None:
    manifest = read(document)
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert manifest.decoding.options["tau_edge"] == 0.07


def test_origin_is_there_for_downloads_alone(document: dict[str, Any]) -> None:
    assert read(document).origin is None
    assert "origin" not in document
    document["origin"] = {"repository": "org/dream", "commit": "0123456789" * 4}
    manifest = read(document)
    assert manifest.origin == Origin("org/dream", "0123456789" * 4)
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (None, "field 'origin' is null; expected an object"),
        ({"repository": "a/b"}, "field 'origin.commit' is missing"),
        ({"repository": "", "commit": "0" * 40}, "field 'origin.repository' is ''; expected a non"),
        ({"repository": "a/b", "commit": "main"}, "field 'origin.commit' is invalid; expected 40"),
        ({"repository": "a/b", "commit": "0" * 40, "by": 1}, "field 'origin.by' is unknown"),
    ],
)
def test_a_malformed_origin_is_named(origin: Any, message: str, document: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match=message):
        read({**document, "origin": origin})


@pytest.mark.parametrize("target", contract.TARGETS)
def test_the_target_is_kept(target: str, document: dict[str, Any]) -> None:
    assert "target" not in document
    manifest = read({**document, "target": target})
    assert manifest.target == target
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_an_older_file_says_no_target(document: dict[str, Any]) -> None:
    assert read(document).target is None
    document = older(document, 1)
    del document["activations"]
    assert read(document).target is None


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, "field 'target' is null; expected a non-empty string"),
        ("", "field 'target' is ''; expected a non-empty string"),
        (["cpu"], "field 'target' is a list of 1; expected a non-empty string"),
        ("CPU", r"field 'target' is invalid; use one of \('cpu', 'cuda', 'tensorrt'\)"),
        ("npu", "field 'target' is invalid"),
    ],
)
def test_a_target_that_is_none_is_named(
    target: Any, message: str, document: dict[str, Any]
) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        read({**document, "target": target})
    assert "\n" not in str(caught.value)


def test_graph_table_is_the_step_contract() -> None:
    manifest = fake_manifest(vocab_size=10)
    assert [spec.name for spec in manifest.inputs] == [
        "input_ids",
        "position_ids",
        "attention_mask",
        "logit_rows",
        "attention_rows",
        "entropy_rows",
        "past_key.0",
        "past_value.0",
    ]
    outputs = {spec.name: spec for spec in manifest.outputs}
    assert list(outputs) == [
        "tokens",
        "confidence",
        "attention",
        "logits",
        "entropy",
        "margin",
        "present_key.0",
        "present_value.0",
    ]
    assert outputs["logits"].shape == ("B", "R", 10)
    assert outputs["attention"].shape == ("B", "Q", "P+S")
    assert contract.kv_names("past", 2) == (
        "past_key.0",
        "past_value.0",
        "past_key.1",
        "past_value.1",
    )


def test_cached_keys_follow_the_activations() -> None:
    assert (
        replace(fake_manifest(), precision="fp16", activations="fp16").inputs[-1].dtype == "float16"
    )
    with pytest.raises(OptionError, match="activations 'fp7' are unknown; use one of: fp32, fp16"):
        contract.activation_dtype("fp7")


def test_newer_format_is_refused_before_anything_else_is_read() -> None:
    with pytest.raises(ArtifactError, match=r"format version 4 is newer than 3.*update dawn-edge"):
        read({"format_version": 4})


def test_version_1_had_activations_of_the_precision(document: dict[str, Any]) -> None:
    del document["activations"]
    old = read({key: v for key, v in older(document, 1).items() if key != "activations"})
    assert (old.activations, old.format_version) == ("fp32", FORMAT_VERSION)
    with pytest.raises(ArtifactError, match="'activations' is missing; export again"):
        read(document)


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_file_has_one_graph_that_measures_and_bars_nothing(
    version: int, document: dict[str, Any]
) -> None:
    old = older(document, version)
    if version == 1:
        del old["activations"]
    manifest = read(old)
    assert manifest.step == Graph("model.onnx", "model.onnx.data", measures=False)
    assert list(manifest.graphs) == ["step"]
    assert manifest.tokens.forbidden == ()
    names = {spec.name for spec in (*manifest.inputs, *manifest.outputs)}
    assert not names & {"entropy_rows", "entropy", "margin"}
    assert read(json.loads(manifest.to_json())) == manifest, "what it becomes when it is written"


@pytest.mark.parametrize("name", ["graphs", "tokens"])
def test_an_older_file_has_nothing_of_version_3(name: str, document: dict[str, Any]) -> None:
    old = {**older(document, 2), name: document[name]}
    with pytest.raises(ArtifactError, match=r"field .(graphs|tokens\.forbidden). is unknown"):
        read(old)


def test_forbidden_ids_must_be_listed_from_version_3_on(document: dict[str, Any]) -> None:
    del document["tokens"]["forbidden"]
    with pytest.raises(ArtifactError, match=r"field 'tokens\.forbidden' is missing"):
        read(document)


def test_a_second_graph_is_kept_as_it_is(document: dict[str, Any]) -> None:
    table = [{"name": "pixels", "dtype": "float32", "shape": ["N", 3, 8]}]
    other = {"file": "vision.onnx", "data": "vision.data", "inputs": table, "outputs": table}
    document["graphs"]["vision"] = other
    manifest = read(document)
    assert manifest.graphs["vision"].inputs == (TensorSpec("pixels", "float32", ("N", 3, 8)),)
    assert json.loads(manifest.to_json())["graphs"]["vision"] == other


def test_what_keys_are_kept_as_is_told_by_their_dtype_and_nothing_else(
    document: dict[str, Any],
) -> None:
    manifest = replace(read(document), kv="int8")
    written = json.loads(manifest.to_json())
    assert written["kv_dtype"] == "uint8"
    assert written.keys() == document.keys(), "older versions refuse the dtype, not a field"
    past = next(s for s in written["graphs"]["step"]["inputs"] if s["name"] == "past_key.0")
    width = contract.kv_width(manifest.dims.head_dim, "uint8")
    assert (past["dtype"], past["shape"][-1]) == ("uint8", width)
    assert read(written) == manifest


def test_keys_are_kept_as_one_of_two_things() -> None:
    with pytest.raises(
        ArtifactError, match=r"field 'kv' is invalid; use one of \('float', 'int8'\)"
    ):
        replace(fake_manifest(), kv="int4")


@pytest.mark.parametrize("precision", ["int8", "int8-weights", "int4"])
def test_integers_go_with_any_activations(precision: str) -> None:
    manifest = replace(fake_manifest(), precision=precision, activations="fp16")
    assert manifest.kv_dtype == "float16"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("family", None, "field 'family' is null; expected a non-empty string"),
        ("family", "", "field 'family' is ''"),
        ("format_version", "1", "field 'format_version' is '1'; expected an integer >= 1"),
        ("format_version", True, "field 'format_version' is True"),
        ("dims.layers", 0, "field 'dims.layers' is 0; expected an integer >= 1"),
        ("dims.layers", 1.5, "field 'dims.layers' is 1.5"),
        ("dims.kv_heads", 3, "field 'dims.kv_heads' is invalid; it must divide dims.heads"),
        ("dims", [], "field 'dims' is a list of 0; expected an object"),
        ("tokens.mask", 64, "field 'tokens' is invalid; ids must be < vocab_size"),
        ("tokens.eos", [1, "2"], r"field 'tokens.eos\[1\]' is '2'; expected an integer"),
        ("tokens.eos", 7, "field 'tokens.eos' is 7; expected a list"),
        ("tokens.pad", -1, "field 'tokens.pad' is -1"),
        ("prediction_shift", 2, "field 'prediction_shift' is invalid; expected 0 or 1"),
        ("evidence_layers", [], "field 'evidence_layers' is invalid"),
        ("evidence_layers", [1], "field 'evidence_layers' is invalid"),
        ("dialect", "slang", "field 'dialect' is invalid"),
        ("precision", "fp8", "field 'precision' is invalid"),
        ("precision", "fp16", "field 'activations' is invalid"),
        ("activations", "int8", "field 'activations' is invalid"),
        ("kv_dtype", "float16", "field 'kv_dtype' is 'float16'; expected 'float32'"),
        ("kv_dtype", "uint8", "field 'graphs.step.inputs' differs from the step contract"),
        ("kv_dtype", "int8", "field 'kv_dtype' is 'int8'; expected 'float32'"),
        ("graphs.step.inputs", [], "field 'graphs.step.inputs' differs from the step contract"),
        ("graphs", {}, "field 'graphs' is invalid; expected a graph 'step'"),
        ("graphs.step.file", "../model.onnx", "field 'graphs.step' is invalid; expected two names"),
        ("graphs.step.data", "/etc/passwd", "field 'graphs.step' is invalid; expected two names"),
        ("graphs.step.data", "model.onnx", "field 'graphs.step' is invalid; expected two names"),
        ("graphs.step.file", "dawn.json", "field 'graphs.step' is invalid; expected two names"),
        ("graphs.step.kind", "step", "field 'graphs.step.kind' is unknown"),
        ("tokens.forbidden", [64], "field 'tokens.forbidden' is invalid; expected ascending ids"),
        ("tokens.forbidden", [3], "field 'tokens.forbidden' is invalid"),
        ("tokens.forbidden", [62, 63], "field 'tokens.forbidden' is invalid"),
        ("tokens.forbidden", [63, 63], "field 'tokens.forbidden' is invalid"),
        ("tokens.forbidden", "63", "field 'tokens.forbidden' is '63'; expected a list"),
        ("decoding.options", {"x": None}, "field 'decoding.options.x' is null; expected a number"),
        ("decoding.options", {"x": float("nan")}, "expected a finite number"),
        ("decoding.block_length", 0, "field 'decoding.block_length' is 0"),
        ("files", {"a": {"size": 1}}, "field 'files.a.sha256' is missing"),
        ("files", {"a": {"size": 1, "sha256": "xyz"}}, "field 'files.a' is invalid; sha256"),
        ("surprise", 1, "field 'surprise' is unknown"),
    ],
)
def test_wrong_field_is_named(
    document: dict[str, Any], path: str, value: Any, message: str
) -> None:
    *parents, name = path.split(".")
    target = document
    for parent in parents:
        target = target[parent]
    target[name] = value
    with pytest.raises(ArtifactError, match=message) as caught:
        read(document)
    assert str(caught.value).startswith("dawn.json: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(json.loads(fake_manifest().to_json())))
def test_missing_field_is_named(document: dict[str, Any], name: str) -> None:
    del document[name]
    with pytest.raises(ArtifactError, match=f"field '{name}' is missing"):
        read(document)


def test_changed_graph_table_names_the_tensor(document: dict[str, Any]) -> None:
    document["graphs"]["step"]["outputs"][1]["dtype"] = "float16"
    with pytest.raises(ArtifactError, match=r"differs from the step contract .* at confidence"):
        read(document)


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"'])
def test_text_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ArtifactError, match=r"dawn\.json: (not valid JSON|holds )"):
        Manifest.from_json(text)
