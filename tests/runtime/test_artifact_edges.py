"""Artifacts that are not what they seem: hostile manifests, unlisted files, links, caches."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Artifact, ArtifactError, Decoder
from dawn_runtime.artifact import MAX_MANIFEST_BYTES, read_manifest
from dawn_runtime.doctor.integrity import integrity_findings
from dawn_runtime.engine.ort import session as ort_session
from dawn_runtime.engine.tensorrt.plans import read_plans

Spoil = Callable[[Path], Any]


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "dawn.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def replaced(make: Callable[[Path], Any]) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / "dawn.json").unlink()
        make(folder / "dawn.json")

    return spoil


def sized(name: str, value: int) -> Spoil:
    return lambda folder: edit(folder, lambda document: document["dims"].update({name: value}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (replaced(os.mkfifo), r"dawn\.json: cannot be read \(is a pipe, expected a plain file\)"),
        (replaced(Path.mkdir), r"dawn\.json: cannot be read \(Is a directory\)"),
        (
            replaced(lambda path: path.symlink_to("/dev/zero")),
            r"dawn\.json: is a link to /dev/zero, outside the folder; copy the file in its place",
        ),
        (
            replaced(lambda path: path.write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))),
            "has more than 4194304 bytes",
        ),
        (replaced(lambda path: path.write_text("[" * 200_000)), "nested more than 100 levels"),
        (
            replaced(lambda path: path.write_text('{"family": "a", "family": "b"}')),
            "field 'family' appears twice",
        ),
        (
            replaced(lambda path: path.write_text('{"format_version": ' + "1" * 5000 + "}")),
            "an integer of 5000 digits",
        ),
        (sized("layers", 10**9), "'dims.layers' is 1000000000; expected an integer <= 4096"),
        (sized("hidden", 2**31), "'dims.hidden' is 2147483648; expected an integer <= "),
        (
            lambda folder: edit(folder, lambda d: d["decoding"].update(max_new_tokens=2**40)),
            "'decoding.max_new_tokens' is 1099511627776; expected an integer <= 16777216",
        ),
    ],
)
def test_a_hostile_manifest_is_refused_at_once(
    spoil: Spoil, message: str, artifact_folder: Path
) -> None:
    spoil(artifact_folder)
    with pytest.raises(ArtifactError, match=message) as caught:
        Artifact.open(artifact_folder)
    assert "\n" not in str(caught.value)


def test_a_manifest_of_a_windows_editor_is_read(artifact_folder: Path) -> None:
    path = artifact_folder / "dawn.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Artifact.open(artifact_folder).has("model.onnx")


@pytest.mark.parametrize("name", ["a/b", ".", "", "nul\0", "new\nline", "\ud800", "back\\slash"])
def test_a_name_that_is_no_name_of_a_file_is_refused(name: str, artifact_folder: Path) -> None:
    edit(artifact_folder, lambda d: d["files"].update({name: {"size": 1, "sha256": "0" * 64}}))
    with pytest.raises(ArtifactError, match="lies outside the folder or has no proper name"):
        Artifact.open(artifact_folder)


def put(name: str, content: str) -> Spoil:
    return lambda folder: (folder / name).write_text(content)


def unlist(name: str) -> Spoil:
    return lambda folder: edit(folder, lambda document: document["files"].pop(name))


def list_as_it_is(name: str, content: bytes) -> Spoil:
    """A file that the manifest lists rightly, and that is none of its kind."""

    def spoil(folder: Path) -> None:
        (folder / name).write_bytes(content)
        entry = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        edit(folder, lambda document: document["files"].update({name: entry}))

    return spoil


def pipe(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return spoil


FAULTS: list[tuple[Spoil, str]] = [
    (unlist("tokenizer.json"), r"tokenizer\.json: is there, but dawn\.json does not list it"),
    (unlist("chat_template.jinja"), r"chat_template\.jinja: is there, but dawn\.json does not"),
    (put("tokenizer_config.json", "{}"), r"tokenizer_config\.json: is there, but dawn\.json does"),
    (unlist("model.onnx.data"), r"dawn\.json lists no model\.onnx\.data; export again"),
    (unlist("model.onnx"), r"dawn\.json lists no model\.onnx; export again"),
    (pipe("model.onnx.data"), r"model\.onnx\.data: the file cannot be read \(is a pipe"),
    (list_as_it_is("tokenizer.json", b"{}"), r"tokenizer\.json: not a tokenizer"),
    (list_as_it_is("tokenizer_config.json", b"["), r"tokenizer_config\.json: not valid JSON"),
    (
        list_as_it_is("chat_template.jinja", b"\xff\xfea"),
        r"chat_template\.jinja: cannot be read \(it is UTF-16, expected UTF-8",
    ),
]


@pytest.mark.parametrize(("spoil", "message"), FAULTS)
def test_what_opening_refuses_the_doctor_finds(
    spoil: Spoil, message: str, artifact_folder: Path, decoder: Decoder
) -> None:
    artifact = Artifact.open(artifact_folder)
    spoil(artifact_folder)
    with pytest.raises(ArtifactError, match=message):
        Decoder.open(artifact_folder, engine=decoder._engine)
    manifest = json.dumps({**json.loads((artifact_folder / "dawn.json").read_text())})
    findings = integrity_findings(
        Artifact(artifact_folder, type(artifact.manifest).from_json(manifest))
    )
    problems = [finding.found for finding in findings if finding.level == "problem"]
    with pytest.raises(ArtifactError, match=message):
        raise ArtifactError(problems[0])


def test_the_doctor_reads_the_records_of_plans_and_hashes_the_plans(artifact_folder: Path) -> None:
    artifact = Artifact.open(artifact_folder)
    (artifact_folder / "a.engine").write_bytes(b"plan")
    levels = {f.topic: f.level for f in integrity_findings(artifact)}
    assert levels == {"files": "ok", "plans": "note"}
    (artifact_folder / "a.engine.json").write_text("{}")
    found = [f for f in integrity_findings(artifact) if f.topic == "plans"]
    assert [f.level for f in found] == ["problem"]
    assert "field 'record_version' is missing" in found[0].found
    (artifact_folder / "a.engine.json").unlink()
    os.mkfifo(artifact_folder / "a.engine.json")
    with pytest.raises(ArtifactError, match=r"a\.engine\.json: cannot be read \(is a pipe"):
        read_plans(artifact_folder)


def as_hub_cache(source: Path, cache: Path, *, real: tuple[str, ...] = ()) -> Path:
    """Lays a folder out as the cache of the Hub does; `real` names files that are no links."""
    repository = cache / "models--org--artifact"
    folder = repository / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for path in source.iterdir():
        blob = repository / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
        shutil.copyfile(path, folder / path.name if path.name in real else blob)
        if path.name not in real:
            (folder / path.name).symlink_to(Path("../../blobs") / blob.name)
    return folder


@pytest.mark.parametrize("real", [(), ("model.onnx",), ("model.onnx.data",)])
@pytest.mark.parametrize("strict", [False, True])
def test_an_artifact_in_the_cache_of_the_hub_decodes_the_same(
    real: tuple[str, ...],
    strict: bool,
    exported: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`strict` takes this release for one that compares names before it follows links."""
    import onnxruntime

    if strict:
        monkeypatch.setattr(ort_session, "_REFUSES_LINKS", (onnxruntime.__version__,))
    source = exported("dream")
    folder = as_hub_cache(source, tmp_path, real=real)
    results = []
    for place in (source, folder):
        with Decoder.open(place, engine="onnxruntime-cpu", threads=1, verify="full") as decoder:
            results.append(decoder.generate(input_ids=[1, 2, 3], max_new_tokens=8))
    np.testing.assert_array_equal(results[0].tokens, results[1].tokens)
    assert results[0].trace == results[1].trace
    levels = {finding.level for finding in integrity_findings(Artifact.open(folder))}
    assert levels == {"ok"}


def test_a_link_to_another_place_is_refused_with_the_reason(
    artifact_folder: Path, tmp_path: Path
) -> None:
    (artifact_folder / "model.onnx.data").rename(tmp_path / "weights")
    (artifact_folder / "model.onnx.data").symlink_to(tmp_path / "weights")
    with pytest.raises(ArtifactError, match=r"data: is a link to .*weights, outside the folder"):
        Artifact.open(artifact_folder)


@pytest.mark.parametrize(
    ("place", "named"),
    [(b"nodel.onnx.data", "nodel.onnx.data"), (b"/etc/passwd", "/etc/passwd"), (b"x" * 300, "")],
)
def test_a_graph_takes_weights_from_listed_files_alone(
    artifact_folder: Path, place: bytes, named: str
) -> None:
    size = bytes([len(place)]) if len(place) < 128 else b"\xac\x02"
    graph = artifact_folder / "model.onnx"
    whole = graph.read_bytes()

    def weights_from(entry: bytes) -> None:
        content = whole + b"\x0a\x08location" + entry
        graph.write_bytes(content)
        recorded = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        edit(artifact_folder, lambda document: document["files"].update({"model.onnx": recorded}))

    weights_from(b"\x12\x0fmodel.onnx.data")
    Artifact.open(artifact_folder)
    weights_from(b"\x12" + size + place)
    with pytest.raises(ArtifactError, match=f"takes weights from '{named}', which dawn.json does"):
        Artifact.open(artifact_folder)
    findings = integrity_findings(Artifact(artifact_folder, read_manifest(artifact_folder)))
    assert any("takes weights from" in str(finding) for finding in findings)
