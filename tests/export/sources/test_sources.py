"""What `--model` may stand for, and that it is found out without a network."""

import re
from pathlib import Path

import pytest

from dawn_export import ALIASES, SourceError
from dawn_export.cli import main
from dawn_export.sources.aliases import ASK_THE_CARD, alias_table
from dawn_export.sources.find import HubRepository, LocalFolder, find_source
from dawn_models import Told, family_named
from dawn_runtime import OptionError

NAMES = [
    *("dream", "dream-base", "dream-coder", "diffucoder", "diffucoder-instruct", "dreamon"),
    *("d3llm-dream", "d3llm-dream-coder", "dparallel-dream"),
    *("llada", "llada-base", "llada-1.5", "d3llm-llada", "dparallel-llada"),
    *("illada", "illada-base", "a2d-0.6b", "a2d-coder-0.5b", "a2d-0.6b-bd3lm"),
    *("a2d-coder-0.5b-bd3lm", "open-dcoder", "coda", "coda-base"),
    *("sdar-1.7b", "sdar-4b", "sdar-8b", "trado-4b", "trado-8b"),
    *("dream-reasoner", "dream-reasoner-base", "fast-dllm-v2-1.5b", "fast-dllm-v2-7b"),
    *("wedlm-7b", "wedlm-7b-base", "wedlm-8b", "wedlm-8b-base"),
    *("nemotron-3b", "nemotron-3b-base", "nemotron-8b", "nemotron-8b-base"),
]
LICENCES = (
    *("Apache-2.0", "MIT", "CC-BY-NC-4.0", "apple-amlr", "NVIDIA Nemotron Open Model"),
    ASK_THE_CARD,
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs each test in an empty working directory."""
    monkeypatch.chdir(tmp_path)


def test_every_alias_is_a_repository_of_a_family_we_read() -> None:
    assert list(ALIASES) == NAMES
    for name, alias in ALIASES.items():
        assert alias.name == name
        assert find_source(alias.repository) == HubRepository(alias.repository)
        assert family_named(alias.family).name == alias.family
        assert alias.licence in LICENCES


def test_a_name_is_its_repository() -> None:
    assert find_source("dream") == HubRepository("Dream-org/Dream-v0-Instruct-7B")
    assert find_source("llada-1.5", "v1") == HubRepository("GSAI-ML/LLaDA-1.5", "v1")


@pytest.mark.parametrize("name", ["dream", "GSAI-ML/LLaDA-1.5", "odd name!"])
def test_a_folder_goes_before_every_other_meaning(name: str) -> None:
    Path(name).mkdir(parents=True)
    assert find_source(name) == LocalFolder(Path(name))
    assert find_source(Path(name)).fetch(progress=False) == Path(name)


def test_a_folder_has_no_revisions() -> None:
    Path("dream").mkdir()
    with pytest.raises(
        OptionError, match="got revision 'v1' and the local folder dream; revisions"
    ):
        find_source("dream", "v1")


@pytest.mark.parametrize("model", ["dreem", "", "a/b/c", "/nowhere", "../up", "owner/na me", "ö/x"])
def test_what_is_none_of_them_is_refused_with_what_there_is(model: str) -> None:
    with pytest.raises(SourceError) as caught:
        find_source(model)
    assert str(caught.value) == (
        f"{model}: no such folder; expected a Hugging Face checkpoint folder, an id on the Hub "
        f"(OWNER/NAME) or one of {', '.join(NAMES)}"
    )


def test_a_path_is_never_anything_but_a_folder() -> None:
    with pytest.raises(SourceError, match="no such folder"):
        find_source(Path("GSAI-ML/LLaDA-1.5"))


def test_the_command_lists_the_names_and_needs_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--list-models"]) == 0
    out = capsys.readouterr().out
    assert out == alias_table() + "\n"
    heading, *rows = out.splitlines()
    columns = re.split(r" {2,}", heading)
    assert columns[:4] == ["name", "repository", "family", "size"]
    assert columns[4:] == ["licence", "attention", "decoding", "golden"]
    table = [re.split(r" {2,}", row) for row in rows]
    assert [row[0] for row in table] == NAMES
    found = {row[0]: row[2:] for row in table}
    assert found["dream"] == ["dream", "7B", "Apache-2.0", "full", "dawn", "logits, text"]
    assert found["a2d-0.6b"] == ["a2d-mdlm", "0.6B", ASK_THE_CARD, "full", "llada", "logits, text"]
    assert found["sdar-4b"] == ["sdar", "4B", "Apache-2.0", "block-causal", "sdar", "logits, text"]
    assert found["illada"][-1] == "-"


def test_a_release_says_what_its_files_do_not() -> None:
    told = find_source("a2d-0.6b-bd3lm").told_by(Told()).told
    assert told == Told(family="a2d-bd3lm")
    repository = find_source("JetLM/SDAR-4B-Chat").told_by(Told(mask_token_id=5)).told
    assert repository == Told("sdar", 5, usual_block=4)
    assert find_source("somebody/else").told_by(Told(family="coda")).told == Told("coda")
    assert find_source("coda").told_by(Told(family="sdar")).told == Told("sdar")


def test_a_revision_of_a_folder_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model").mkdir()
    assert main(["--model", "model", "--revision", "v1", "--output", "out"]) == 2
    assert "got revision 'v1' and the local folder model" in capsys.readouterr().err
