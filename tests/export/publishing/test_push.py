"""Artifacts go to the Hub and come back: the real huggingface_hub against a hub on this machine."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import snapshot_download

from dawn_export import PushError, push
from dawn_export.cli import main
from dawn_export.publishing import push as module
from dawn_runtime import ArtifactError, Decoder, DependencyError, OptionError
from dawn_runtime.artifact import sha256_of
from support.hub_server import COMMIT, Hub, User, serving

SHIPPED = Path(__file__).parents[3] / "models" / "tiny-dream-int8"
ASKED = [{"role": "user", "content": "Sort ascending: 9 4 7"}]

# Of the upload that the hub on this machine understands, in huggingface_hub itself.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

USERS = {
    "writes": User("me", orgs=("team",)),
    "reads": User("me", role="read"),
    "fine": User("me", role="fineGrained"),
}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A copy of the shipped artifact, with something beside it that is nobody's business."""
    folder = Path(shutil.copytree(SHIPPED, tmp_path / "artifact"))
    (folder / "notes.txt").write_text("mine")
    return folder


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that huggingface_hub of this process talks to, with a token that may write."""
    with serving(Hub({}, users=USERS, store=tmp_path / "hub")) as served:
        set_endpoint(monkeypatch, served)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", "writes")
        yield served


def set_endpoint(patch: pytest.MonkeyPatch, hub: Hub) -> None:
    """As HF_ENDPOINT does, which is read when huggingface_hub is imported."""
    constants, files = huggingface_hub.constants, "/{repo_id}/resolve/{revision}/{filename}"
    patch.setattr(constants, "ENDPOINT", hub.endpoint)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + files)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_pushed_artifact_opens_by_its_name_and_decodes_as_before(
    artifact: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    settings = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dawn_export", "--artifact", artifact, "--push", "team/tiny"],
        env={**inherited, **settings, "HF_TOKEN": "writes"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"pushed 9 files to {hub.endpoint}/team/tiny (private, {hub.commits['team/tiny'][:8]})\n"
    )
    assert hub.private == {"team/tiny"}
    there = hub.folders["team/tiny"]
    assert names(there) == {*names(SHIPPED), "README.md", ".gitattributes"}
    assert hub.large, "the weights went as large files do"
    for name in (*names(SHIPPED), "README.md"):
        assert (there / name).read_bytes() == (artifact / name).read_bytes()
    card = (there / "README.md").read_text()
    assert "hf download team/tiny\ndawn-generate team/tiny --chat" in card

    snapshot_download(
        "team/tiny", cache_dir=tmp_path / "cache", endpoint=hub.endpoint, token="fine"
    )
    answers = []
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("team/tiny", SHIPPED):
        with Decoder.open(name, threads=1) as decoder:
            answers.append(decoder.generate(messages=ASKED, max_forwards=3).tokens.tolist())
    assert answers[0] == answers[1]


def test_an_artifact_takes_the_place_of_another_and_of_nothing_else(
    artifact: Path, hub: Hub
) -> None:
    push(artifact, "me/tiny", public=True)
    first, there = hub.commits["me/tiny"], hub.folders["me/tiny"]
    assert hub.private == set()
    (there / "picture.png").write_bytes(b"by hand, on the Hub")
    card = artifact / "README.md"
    card.write_text(card.read_text().replace("# dream", "Words of my own.\n\n# dream"))
    manifest = json.loads((artifact / "dawn.json").read_text())
    del manifest["files"]["generation_config.json"]
    (artifact / "dawn.json").write_text(json.dumps(manifest))

    pushed = push(str(artifact), "me/tiny", public=True)
    assert pushed.removed == ("generation_config.json",)
    assert (pushed.commit, pushed.private) == (hub.commits["me/tiny"], False)
    assert pushed.commit != first
    expected = {*names(SHIPPED), "README.md", "picture.png", ".gitattributes"}
    assert names(there) == expected - {"generation_config.json"}
    assert "Words of my own." in (there / "README.md").read_text()
    assert (there / "dawn.json").read_bytes() == (artifact / "dawn.json").read_bytes()
    hub.private.add("me/tiny")
    with pytest.raises(OptionError, match="--public: me/tiny is there already and is private"):
        push(artifact, "me/tiny", public=True)


def small_repository(hub: Hub, tmp_path: Path, name: str, *files: str) -> None:
    folder = tmp_path / name.replace("/", "-")
    folder.mkdir()
    for file in files:
        (folder / file).write_text("{}")
    hub.folders[name] = folder


Spoil = Callable[[pytest.MonkeyPatch, Hub, Path], object]


def no_token(patch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path) -> None:
    patch.delenv("HF_TOKEN")
    patch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))


def out_of_reach(patch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path) -> None:
    with serving(Hub({})) as gone:
        set_endpoint(patch, gone)


def token(name: str) -> Spoil:
    return lambda patch, hub, tmp_path: patch.setenv("HF_TOKEN", name)


def holding(*files: str) -> Spoil:
    return lambda patch, hub, tmp_path: small_repository(hub, tmp_path, "me/new", *files)


def locked(patch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path) -> None:
    small_repository(hub, tmp_path, "me/new")
    hub.locked = frozenset({"me/new"})


def failing(patch: pytest.MonkeyPatch, hub: Hub, tmp_path: Path) -> None:
    small_repository(hub, tmp_path, "me/new")
    hub.failing = frozenset({"me/new"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_token, r"no token; make one that may write at http://\S+/settings/tokens, then run"),
        (token("expired"), "the token is not accepted; make one that may write at http"),
        (token("reads"), "the token may only read; make one that may write at http"),
        (
            lambda patch, hub, _: patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True),
            "HF_HUB_OFFLINE keeps us from the Hub; unset it",
        ),
        (out_of_reach, r"the Hub cannot be reached \(ConnectError: .*\); check the network"),
        (locked, r"the token may not write there \(.*\); make one that may write at http"),
        (failing, r"the Hub refuses \(Stumbled\); try again later"),
        (holding("model.safetensors"), "holds model.safetensors and no dawn.json, so it is no art"),
        (holding("dawn.json"), "holds a dawn.json that this version does not read; name another"),
        (holding(".gitignore"), "holds .gitignore, which can keep files of an artifact out; remov"),
    ],
)
def test_what_stands_in_the_way_is_one_line_before_any_work(
    spoil: Spoil,
    message: str,
    hub: Hub,
    small: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoil(monkeypatch, hub, tmp_path)
    out = tmp_path / "out"
    assert main(["--model", str(small), "--output", str(out), "--push", "me/new"]) == 1
    printed, errors = capfd.readouterr()
    assert printed == ""
    (line,) = errors.splitlines()
    assert re.match(f"dawn-export: error: me/new: {message}", line), line
    assert not out.exists()
    assert not [request for request in hub.asked if request.startswith(("POST", "PUT"))]


def test_a_name_of_somebody_else_is_refused(hub: Hub, artifact: Path) -> None:
    message = "other/tiny: the token is of 'me', who is not 'other' and in no organisation of that"
    with pytest.raises(PushError, match=message):
        push(artifact, "other/tiny")


@pytest.mark.parametrize("name", ["tiny", "", "me/tiny/more", "me/", "/tiny", "me/ti ny", 7])
def test_what_is_no_name_is_refused(name: Any) -> None:
    with pytest.raises(OptionError, match=r"repository: got .*, expected OWNER/NAME"):
        push(SHIPPED, name)


def test_a_damaged_artifact_and_a_card_that_leads_elsewhere_stay_here(
    hub: Hub, artifact: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    (artifact / "README.md").unlink()
    (artifact / "README.md").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactError, match=r"README.md: is a link to .*/secret, outside"):
        push(artifact, "me/tiny")
    (artifact / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"config.json: the file is truncated"):
        push(artifact, "me/tiny")
    assert hub.folders == {}


def test_an_upload_that_breaks_off_and_a_repository_that_moves_are_one_line(
    hub: Hub, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(artifact, "me/tiny")
    written = module._write_card

    def meanwhile(*arguments: Any) -> None:
        written(*arguments)
        hub.commits["me/tiny"] = COMMIT

    monkeypatch.setattr(module, "_write_card", meanwhile)
    with pytest.raises(PushError, match="me/tiny: somebody else changed the repository meanwhile"):
        push(artifact, "me/tiny")

    def stumbling(*arguments: Any) -> None:
        hub.failing = frozenset({"me/tiny"})

    monkeypatch.setattr(module, "_write_card", stumbling)
    again = rf"run 'dawn-export --artifact {artifact} --push me/tiny' again"
    with pytest.raises(PushError, match=rf"me/tiny: the Hub refuses \(Stumbled\); {again}"):
        push(artifact, "me/tiny")


def results(artifact: Path, file: Path, **header: Any) -> Path:
    """What dawn-bench wrote about another artifact, as if it was about this one."""
    document = json.loads((SHIPPED.parents[1] / "docs/results/tiny-dream.json").read_text())
    known = {"build/tiny-dream": sha256_of(artifact / "dawn.json")}
    file.write_text(json.dumps({**document, "artifact_sha256": known, **header}))
    return file


def test_what_was_measured_goes_into_the_card_and_stays_there(
    hub: Hub, artifact: Path, tmp_path: Path
) -> None:
    file = results(artifact, tmp_path / "results.json")
    push(artifact, "me/tiny", results=file)
    push(artifact, "me/tiny")
    card = (hub.folders["me/tiny"] / "README.md").read_text()
    assert "Not measured: speed" not in card
    assert "Not measured: accuracy on public tasks" in card
    assert "`dawn-bench tiny-dream --policy threshold --policy dawn --cache none" in card
    assert "| threshold | none | 46.78 |" in card
    assert "AMD EPYC, x86_64, linux" in card
    assert "docs/results" not in card, "where it lay is nobody's business"


@pytest.mark.parametrize(
    "header", [{"artifact_sha256": {"build/tiny-dream": "0" * 64}}, {"artifact_sha256": None}]
)
def test_results_of_another_artifact_are_refused_before_anything_is_asked(
    header: dict[str, Any],
    hub: Hub,
    artifact: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = results(artifact, tmp_path / "results.json", **header)
    command = ["--artifact", str(artifact), "--push", "me/tiny", "--bench", str(file)]
    assert main(command) == 2
    assert "is not about" in capfd.readouterr().err
    assert hub.asked == []


def test_results_need_a_place_in_the_card(hub: Hub, artifact: Path, tmp_path: Path) -> None:
    (artifact / "README.md").write_text("All by hand.\n")
    with pytest.raises(OptionError, match=r"README.md has no place for it; put the lines <!-- daw"):
        push(artifact, "me/tiny", results=results(artifact, tmp_path / "results.json"))
    push(artifact, "me/tiny")
    assert (hub.folders["me/tiny"] / "README.md").read_text() == "All by hand.\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "x", "--output", "y", "--public"], "--public: goes with --push OWNER/NAME"),
        (["--artifact", "x", "--bench", "r"], "--bench: goes with --push OWNER/NAME"),
        (
            ["--model", "x", "--output", "y", "--push", "a/b", "--bench", "r"],
            "--bench: goes with --artifact: export first, then measure with dawn-bench, then push",
        ),
        (
            ["--artifact", "x"],
            "--artifact: goes with --target tensorrt or --push; got --target cpu",
        ),
        (["--artifact", "x", "--push", "a"], "--push: got 'a', expected OWNER/NAME"),
        (
            ["--artifact", "x", "--push", "a/b", "--precision", "int8"],
            "--precision: goes with --model; got --artifact, which is exported",
        ),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"dawn-export: error: {message}")


def test_without_huggingface_hub_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DependencyError, match=r"--push needs .*pip install 'dawn-edge\[export\]'"):
        push(SHIPPED, "me/tiny")
