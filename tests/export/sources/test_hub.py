"""Downloads: the real huggingface_hub against a hub on this machine, and against none."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dawn_export import ExportOptions, export
from dawn_export.sources.find import find_source
from dawn_export.sources.hub import download
from dawn_models import Checkpoint
from dawn_runtime import Artifact
from dawn_runtime.errors import DependencyError
from dawn_runtime.manifest import Origin
from support.checkpoints import write_adapter, write_checkpoint, write_sharded
from support.hub_server import COMMIT, Hub, serving
from support.qwen2 import write_qwen2_files

FETCH = """
import json, shutil, sys
from dawn_export.sources.find import find_source
from dawn_runtime.errors import DawnError
for request in map(json.loads, sys.argv[1:]):
    print("---", file=sys.stderr)
    progress = request.pop("progress", False)
    free = request.pop("free", 10**12)
    shutil.disk_usage = lambda _: shutil._ntuple_diskusage(free, 0, free)
    try:
        print(json.dumps([str(find_source(**request).fetch(progress=progress)), None]))
    except DawnError as error:
        print(json.dumps([None, f"{type(error).__name__}: {error}"]))
"""


def fetch(
    cache: Path, endpoint: str, *requests: dict[str, Any], **environment: str
) -> tuple[list[tuple[str | None, str]], list[str]]:
    """Fetches in a process of its own, as the library reads its environment when it is imported.

    Returns:
        For each request the folder or the error, and for each what went to standard error.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    finished = subprocess.run(
        [sys.executable, "-c", FETCH, *map(json.dumps, requests)],
        env={**inherited, "HF_HOME": str(cache), "HF_ENDPOINT": endpoint, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    results = [tuple(json.loads(line)) for line in finished.stdout.splitlines()]
    return results, finished.stderr.split("---\n")[1:]


@pytest.fixture
def hub(small: Path, tmp_path: Path) -> Hub:
    """`org/dream` is whole, the others each lack something."""
    write_qwen2_files(small)
    (small / "tokenization_dream.py").write_text("raise SystemExit('never run')")
    (small / "pytorch_model.bin").write_bytes(b"pickle")
    (small / "original").mkdir()
    (small / "original" / "model.safetensors").write_bytes(b"another format")
    pickled = write_checkpoint(tmp_path / "pickled", "llada")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    foreign = write_sharded(tmp_path / "foreign")
    (foreign / "config.json").write_text('{"model_type": "gpt2"}')
    whole = dict.fromkeys(("org/dream", "org/gated", "org/failing"), small)
    folders = {**whole, "org/pickled": pickled, "org/foreign": foreign}
    return Hub(folders, gated=frozenset({"org/gated"}), failing=frozenset({"org/failing"}))


@pytest.mark.usefixtures("traced")
def test_a_repository_is_fetched_once_and_exported_through_the_links_of_the_cache(
    hub: Hub, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    with serving(hub):
        quiet = {"model": "org/dream"}
        shown = {"model": "org/dream", "revision": COMMIT, "progress": True}
        ((folder, _), again), errors = fetch(cache, hub.endpoint, quiet, shown)
    assert errors[0] == ""
    assert "Fetching 4 files: 100%" in errors[1]
    assert folder is not None
    assert again == (folder, None)
    names = [
        "config.json",
        "merges.txt",
        "model.safetensors",
        "tokenizer_config.json",
        "vocab.json",
    ]
    assert sorted(hub.served) == names
    snapshot = Path(folder)
    assert snapshot.name == COMMIT
    assert sorted(path.name for path in snapshot.iterdir()) == names
    assert all(path.is_symlink() for path in snapshot.iterdir())
    export(snapshot, tmp_path / "out", ExportOptions(evidence_layers=2))
    assert all(path.is_file() for path in (tmp_path / "out").iterdir())
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    Artifact.open(tmp_path / "out", verify="full")

    # The server is gone: what is cached serves, what is not is one line.
    cached, absent = {"model": "org/dream"}, {"model": "org/pickled"}
    (found, missing), _ = fetch(cache, hub.endpoint, cached, absent, HF_HUB_OFFLINE="1")
    assert found[0] == folder
    assert missing[1] == (
        "SourceError: org/pickled: no such local folder, not complete in the local cache, and "
        "HF_HUB_OFFLINE keeps us from the Hub; unset it, or give a local folder"
    )


def test_an_adapter_for_drafts_comes_with_the_model_and_no_other_folder(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "nemotron", "nemotron")
    write_adapter(folder)
    for name in ("linear_spec_lora/README.md", "original/adapter_model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("of no use")
    base = write_checkpoint(tmp_path / "base", "nemotron")
    with serving(Hub({"org/nemotron": folder, "org/base": base})) as hub:
        requests = {"model": "org/nemotron"}, {"model": "org/base"}
        results, _ = fetch(tmp_path / "cache", hub.endpoint, *requests)
    (found, first), (plain, second) = results
    assert (first, second) == (None, None)
    assert found is not None
    assert plain is not None
    adapter, both = ["adapter_config.json", "adapter_model.safetensors"], ["config.json"] * 2
    assert sorted(hub.served) == [*adapter, *both, *["model.safetensors"] * 2]
    # Through the links of the cache, which lead to its blobs.
    assert (Path(found) / "linear_spec_lora" / "adapter_model.safetensors").is_symlink()
    assert Checkpoint.open(found).config.draft is not None
    assert Checkpoint.open(plain).config.draft is None


def test_every_refusal_of_the_hub_is_one_line_that_says_what_to_do(
    hub: Hub, tmp_path: Path
) -> None:
    cases = {
        "org/unknown": "neither a local folder nor a repository that the Hub shows us; check the",
        "org/gated": "the repository is gated; accept its terms at http://.*/org/gated, then",
        "org/foreign": r"/.*/config.json: field 'model_type': got \"gpt2\", expected",
        "org/pickled": "no .safetensors in this revision or in its cached copy; only safetensors",
        "org/a--b": "neither a local folder nor an id of the Hub; expected OWNER/NAME with letters",
        "org/failing": r"no such local folder, and the Hub cannot be reached \(HfHub.*500.*\) for",
    }
    requests: list[dict[str, Any]] = [{"model": name} for name in cases]
    requests.append({"model": "org/dream", "revision": "v9"})
    with serving(hub):
        results, errors = fetch(tmp_path / "cache", hub.endpoint, *requests)
    assert not any(errors)
    patterns = [f"{name}: {text}" for name, text in cases.items()]
    patterns.append(
        "org/dream: it has no revision 'v9'; choose one of those that http://.*/tree/main"
    )
    for (folder, message), pattern in zip(results, patterns, strict=True):
        assert folder is None
        assert re.match(f"SourceError: {pattern}", message), message
        assert len(message.splitlines()) == 1
    assert not {"model-00001-of-00002.safetensors", "pytorch_model.bin"} & set(hub.served)


def test_a_download_that_does_not_fit_the_disk_is_refused_before_it_begins(
    hub: Hub, small: Path, tmp_path: Path
) -> None:
    weights = (small / "model.safetensors").stat().st_size
    texts = sum((small / name).stat().st_size for name in ("config.json", "vocab.json"))
    requests = [{"model": "org/dream", "free": free} for free in (texts, weights - 1, weights)]
    with serving(hub):
        (no_texts, no_weights, cached), _ = fetch(tmp_path / "cache", hub.endpoint, *requests)
        again, _ = fetch(tmp_path / "cache", hub.endpoint, {"model": "org/dream", "free": 0})
    for refused in (no_texts, no_weights):
        assert re.match(
            r"SourceError: org/dream: the download takes 0.00 GB and 0.00 GB are free there; free "
            r"0.00 GB in /.*/cache/hub, or set HF_HOME to another disk$",
            refused[1],
        )
    assert cached[0] == again[0][0] is not None, "what is in the cache needs no room"
    assert hub.served.count("model.safetensors") == 1


def test_the_commit_is_the_origin(tmp_path: Path) -> None:
    source = find_source("org/dream", "main")
    assert source.origin(tmp_path / "snapshots" / COMMIT) == Origin("org/dream", COMMIT)
    assert find_source(tmp_path).origin(tmp_path) is None


def test_a_hub_out_of_reach_is_one_line(tmp_path: Path) -> None:
    with serving(Hub({})) as gone:
        endpoint = gone.endpoint
    ((folder, message),), _ = fetch(tmp_path / "cache", endpoint, {"model": "models/nope"})
    assert folder is None
    assert message.startswith(
        "SourceError: models/nope: no such local folder, and the Hub cannot be reached (ConnectErr"
    )
    assert message.endswith("for what the local cache lacks; check the spelling and the network")


def test_without_huggingface_hub_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(
        DependencyError, match=r"org/x: .* pip install 'dawn-edge\[export\]', or give"
    ):
        download("org/x", None, ["*.json"], progress=False)
