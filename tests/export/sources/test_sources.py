"""What `--model` may stand for, and that it is found out without a network."""

from pathlib import Path

import pytest

from dawn_export import ALIASES, SourceError
from dawn_export.cli import main
from dawn_export.sources.aliases import ASK_THE_CARD, alias_table
from dawn_export.sources.find import HubRepository, LocalFolder, find_source
from dawn_models import family_named
from dawn_runtime import OptionError

NAMES = ["dream", "dream-base", "dream-coder", "diffucoder", "llada", "llada-base", "llada-1.5"]


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
        assert alias.licence in ("Apache-2.0", "MIT", ASK_THE_CARD)


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
    assert heading.split() == ["name", "repository", "family", "licence"]
    assert [row.split()[0] for row in rows] == NAMES
    assert rows[0].split() == ["dream", "Dream-org/Dream-v0-Instruct-7B", "dream", "Apache-2.0"]
    assert rows[3].endswith("see the model card")


def test_a_revision_of_a_folder_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model").mkdir()
    assert main(["--model", "model", "--revision", "v1", "--output", "out"]) == 2
    assert "got revision 'v1' and the local folder model" in capsys.readouterr().err
