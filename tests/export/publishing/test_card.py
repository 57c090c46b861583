"""The card beside an artifact: only what is known, what is not known said so, and it can be run."""

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dawn_export import ExportOptions, SourceError, export
from dawn_export.cli import main
from dawn_export.publishing.card import (
    MEASURED,
    RUN,
    card_of,
    how_to_run,
    read_card,
    shortened,
    with_section,
)
from dawn_export.publishing.licence import Licence, licence_of
from dawn_export.report import Verification
from dawn_runtime import Artifact, Decoder
from dawn_runtime.doctor.integrity import integrity_findings
from dawn_runtime.manifest import Manifest, Origin

SHIPPED = Path(__file__).parents[3] / "models" / "tiny-dream-int8"
TWO_LAYERS = ExportOptions(evidence_layers=2)
UNKNOWN = Licence({}, "nobody said")


@cache
def opened() -> Artifact:
    return Artifact.open(SHIPPED)


@pytest.fixture
def manifest() -> Manifest:
    return opened().manifest


def front(card: str) -> dict[str, Any]:
    """The front matter of a card, as the Hub reads it."""
    assert card.startswith("---\n")
    read = yaml.safe_load(card.split("---\n", 2)[1])
    assert isinstance(read, dict)
    return read


@pytest.mark.usefixtures("traced")
def test_a_card_lies_beside_every_artifact_and_the_manifest_does_not_vouch_for_it(
    small: Path, tmp_path: Path
) -> None:
    report = export(small, tmp_path / "out", TWO_LAYERS, verify="all")
    card, made = (tmp_path / "out" / "README.md"), Artifact.open(tmp_path / "out", verify="full")
    text = card.read_text()
    assert front(text) == {
        "library_name": "dawn-edge",
        "pipeline_tag": "text-generation",
        "tags": ["diffusion-language-model", "onnx", "dream", "fp32"],
    }
    assert report.verification is not None
    assert report.verification.text() in text
    assert "not known: the checkpoint does not state it in a model card" in text
    assert "a checkpoint in a local folder, whose origin is not recorded" in text
    for missing in ("speed, memory and energy", "accuracy on public tasks"):
        assert f"Not measured: {missing}" in text
    assert "README.md" not in made.manifest.files
    assert not [one for one in integrity_findings(made) if "README" in str(one)]

    card.write_text(text + "Words of my own.\n")
    Artifact.open(tmp_path / "out", verify="full")
    export(small, tmp_path / "out", TWO_LAYERS, force=True)
    again = card.read_text()
    assert "Words of my own" not in again
    assert "Not compared: it was exported without `--verify`." in again


@pytest.mark.usefixtures("traced")
def test_the_licence_is_what_the_card_of_the_checkpoint_says(small: Path, tmp_path: Path) -> None:
    (small / "LICENSE").write_text("terms")
    (small / "README.md").write_text(
        "---\nlicense: other\nlicense_name: of-the-house\nlicense_link: https://x.org\n---\n# Hi\n"
    )
    export(small, tmp_path / "out", TWO_LAYERS)
    card = (tmp_path / "out" / "README.md").read_text()
    said = {"license": "other", "license_name": "of-the-house", "license_link": "https://x.org"}
    assert said.items() <= front(card).items()
    line = "of-the-house, https://x.org (by the model card of the checkpoint); LICENSE beside this"
    assert f"| licence of the checkpoint | {line} card |" in card


@pytest.mark.parametrize(
    ("repository", "fields"),
    [
        ("GSAI-ML/LLaDA-8B-Instruct", {"license": "mit"}),
        (
            "nvidia/Nemotron-Labs-Diffusion-3B",
            {"license": "other", "license_name": "NVIDIA Nemotron Open Model"},
        ),
        ("Dream-org/Dream-v0-Base-7B", {}),
        ("somebody/else", {}),
        (None, {}),
    ],
)
def test_without_a_card_it_is_what_the_release_was_seen_to_state(
    repository: str | None, fields: dict[str, str], tmp_path: Path
) -> None:
    origin = None if repository is None else Origin(repository, "0" * 40)
    assert dict(licence_of(tmp_path, origin).fields) == fields


@pytest.mark.parametrize(
    ("text", "warned"),
    [
        ("---\nlicense: [a\n---\n", True),
        ("---\nlicense: [mit, x]\n---\n", False),
        (f"---\nlicense: {'x' * 999}\n---\n", False),
        ("---\nlicense_name: alone\n---\n", False),
        ("# no front matter\n", False),
        ("---\n- a list\n---\n", True),
    ],
)
def test_what_a_card_does_not_say_is_not_guessed(text: str, warned: bool, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(text)
    found = licence_of(tmp_path, None)
    assert found.fields == {}
    assert (found.warning is not None) == warned
    assert not warned or "README.md: its front matter is not read (" in str(found.warning)


def test_a_card_that_links_out_of_the_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "secret").write_text("---\nlicense: mit\n---\n")
    (tmp_path / "checkpoint" / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(SourceError, match=r"README.md: links to .*secret, outside its folder"):
        licence_of(tmp_path / "checkpoint", None)


def test_where_it_comes_from_and_what_was_measured_are_told(manifest: Manifest) -> None:
    origin = Origin("Dream-org/Dream-v0-Instruct-7B", "1" * 40)
    card = card_of(SHIPPED, replace(manifest, origin=origin), Licence({"license": "mit"}, "x"))
    assert {**front(card), "tags": 0} == {
        "license": "mit",
        "base_model": origin.repository,
        "base_model_relation": "quantized",
        "library_name": "dawn-edge",
        "pipeline_tag": "text-generation",
        "tags": 0,
    }
    assert "# Dream-v0-Instruct-7B, int8, for dawn-edge" in card
    assert f"(https://huggingface.co/{origin.repository}) at commit `{'1' * 40}`" in card
    recorded = manifest.decoding.measured
    assert (recorded is not None) == ("was chosen before the export" in card)
    assert recorded is None or recorded.line() in card


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_a_licence_is_called_the_card_keeps_its_form(name: str, source: str) -> None:
    fields = {"license": "other", "license_name": name}
    card = card_of(SHIPPED, opened().manifest, Licence(fields, source))
    assert front(card)["license"] == "other"
    assert front(card)["license_name"] == name or not name.isprintable()
    table = card.split("## What it is\n\n")[1].split("\n\n## ")[0]
    assert len(table.splitlines()) == 13


def test_the_lines_that_run_it_run_it(manifest: Manifest) -> None:
    for files in (manifest.files, {}):
        lines = how_to_run(replace(manifest, files=files), None).splitlines()[1:-1]
        assert lines[:2] == ["pip install 'dawn-edge[cpu]'", "# FOLDER: where this card lies"]
        text = lines[2].replace("FOLDER", str(SHIPPED)).replace('"..."', '"Sort ascending: 9 4 7"')
        words = shlex.split(text)
        assert words[0] == ("dawn-generate" if files else "python")
        module = ["-m", "dawn_runtime", "generate"] if files else []
        command = [sys.executable, *module, *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_an_artifact_on_the_hub_is_fetched_and_a_plan_is_built_beside_it(
    manifest: Manifest,
) -> None:
    assert how_to_run(manifest, "me/it").splitlines()[2:4] == [
        "hf download me/it",
        'dawn-generate me/it --chat "..."',
    ]
    lines = how_to_run(replace(manifest, target="tensorrt"), "me/it").splitlines()
    assert lines[1:5] == [
        "pip install 'dawn-edge[tensorrt]'",
        "hf download me/it --local-dir FOLDER",
        "dawn-export --artifact FOLDER --target tensorrt    # on the device",
        'dawn-generate FOLDER --chat "..."',
    ]


def test_sections_are_written_anew_and_nothing_else(manifest: Manifest) -> None:
    card = card_of(SHIPPED, manifest, UNKNOWN)
    for name in (RUN, MEASURED):
        written = with_section(card, name, "new \\1 text")
        assert written is not None
        assert written != card
        assert with_section(written, name, "new \\1 text") == written
        begin, end = f"<!-- dawn-export: {name} -->", "<!-- end of dawn-export -->"
        assert written.split(begin)[0] == card.split(begin)[0]
        assert written.split(begin)[1].split(end)[0] == "\n\nnew \\1 text\n\n"
        assert written.split(begin)[1].split(end, 1)[1] == card.split(begin)[1].split(end, 1)[1]
    assert with_section("by hand", RUN, "x") is None


def test_a_report_is_what_it_was(small: Path, tmp_path: Path) -> None:
    report = export(small, tmp_path / "out", TWO_LAYERS, verify="sample").verification
    assert report is not None
    text = (tmp_path / "out" / "verification.json").read_text()
    document = json.loads(text)
    del document["dawn_edge_version"]
    assert Verification.from_json(json.dumps(document)) == report
    with pytest.raises(ValueError, match="no report of a verification"):
        Verification.from_json("{}")


def test_paths_of_a_command_are_shortened() -> None:
    words = ["dawn-bench", "/home/me/build/x", "--output=/home/me/r.json", "--set", "a=0.5", "/"]
    assert shortened(words) == ["dawn-bench", "x", "--output=r.json", "--set", "a=0.5", "/"]


def test_a_card_may_be_missing(tmp_path: Path) -> None:
    assert read_card(tmp_path) is None


@pytest.mark.usefixtures("traced")
def test_a_card_that_cannot_be_read_is_a_warning(
    small: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (small / "README.md").write_text("---\nlicense: [a\n---\n")
    command = ["--model", str(small), "--output", str(tmp_path / "out"), "--evidence-layers", "2"]
    assert main(command) == 0
    assert "dawn-export: warning: " in (errors := capfd.readouterr().err)
    assert "README.md: its front matter is not read" in errors
    with Decoder.open(tmp_path / "out", threads=1) as decoder:
        assert decoder.manifest.family == "dream"
