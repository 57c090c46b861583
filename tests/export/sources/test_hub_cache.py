"""Artifacts in the cache of the Hub: a layout that huggingface_hub itself makes."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from dawn_calibration.thresholds.defaults import check_changeable
from dawn_runtime import Artifact, ArtifactError, Decoder
from dawn_runtime.cli.generate import main as generate
from dawn_runtime.doctor import examination
from dawn_runtime.hub_cache import cache_folder
from support.hub_server import COMMIT, Hub, serving

SHIPPED = Path(__file__).parent.parent.parent.parent / "models" / "tiny-dream-int8"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one artifact in it, downloaded from a hub of this machine."""
    place = tmp_path / "hub"
    with serving(Hub({"org/tiny": SHIPPED})) as hub:
        snapshot_download("org/tiny", cache_dir=place, endpoint=hub.endpoint)
    monkeypatch.setenv("HF_HUB_CACHE", str(place))
    monkeypatch.chdir(tmp_path)
    return place


def test_an_artifact_of_the_cache_opens_by_its_name(cache: Path) -> None:
    snapshot = cache / "models--org--tiny" / "snapshots" / COMMIT
    assert (snapshot / "model.onnx").is_symlink()
    prompt = [{"role": "user", "content": "Sort ascending: 9 4 7"}]
    answers = []
    for name in ("org/tiny", SHIPPED):
        with Decoder.open(name, threads=1) as decoder:
            answers.append(decoder.generate(messages=prompt, max_forwards=3).tokens.tolist())
    assert answers[0] == answers[1]
    for name in ("org/tiny@main", f"org/tiny@{COMMIT}", snapshot.parent.parent, snapshot):
        assert Artifact.open(name).folder == snapshot


@pytest.mark.usefixtures("cache")
def test_commands_that_read_take_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate(["org/tiny", "--chat", "Sort ascending: 47 61 56 21", "--threads", "1"]) == 0
    assert capsys.readouterr().out.split() == ["21", "47", "56", "61"]
    artifact, findings = examination._open(Path("org/tiny"))
    assert artifact is not None
    assert not findings
    with pytest.raises(ArtifactError, match="no such folder"):  # what writes stays out of the cache
        check_changeable(Path("org/tiny"))


def test_a_folder_of_that_name_goes_first(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "org" / "tiny")
    assert Artifact.open("org/tiny").folder == Path("org/tiny")


def test_a_link_that_leaves_the_cache_is_refused(cache: Path, tmp_path: Path) -> None:
    weights = cache / "models--org--tiny" / "snapshots" / COMMIT / "model.onnx.data"
    weights.unlink()
    weights.symlink_to(SHIPPED / "model.onnx.data")  # the right bytes in the wrong place
    with pytest.raises(ArtifactError, match=r"data: is a link to .*outside the folder"):
        Artifact.open("org/tiny")
    other = cache / "models--org--other" / "blobs"
    other.mkdir(parents=True)
    shutil.copy(SHIPPED / "model.onnx.data", other / "weights")
    weights.unlink()
    weights.symlink_to(other / "weights")  # the cache of another repository
    with pytest.raises(ArtifactError, match="outside the folder"):
        Artifact.open("org/tiny")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("org/none", "no such folder, and no repository in the cache .*'hf download org/none'"),
        ("org/tiny@v2", "revision 'v2' is not in the cache .*--revision v2"),
        (f"org/tiny@{'0' * 40}", "is not in the cache"),
        ("org/tiny@a/../main", "is not in the cache"),
        ("nowhere", "no such folder; make an artifact"),
        ("../org/tiny", "no such folder; make an artifact"),
    ],
)
def test_what_is_not_there_is_one_line(cache: Path, name: str, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        Artifact.open(name)


def test_a_branch_that_leads_elsewhere_is_no_branch(cache: Path) -> None:
    (cache / "models--org--tiny" / "refs" / "main").write_text("../../../elsewhere")
    with pytest.raises(ArtifactError, match="revision 'main' is not in the cache"):
        Artifact.open("org/tiny")


def test_the_cache_is_where_the_tools_of_the_hub_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path.home() / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/h")
    assert cache_folder() == Path("/h/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/c")
    assert cache_folder() == Path("/c")
