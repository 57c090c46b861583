"""A job on a cluster of this machine with two workers, one of which is killed."""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.cli.generate import main

ARTIFACT = Path(__file__).parents[3] / "models" / "tiny-dream-int8"
LINES = 80


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    lines: list[dict[str, Any]] = [
        {"prompt": "dog hat " * (n % 5 + 1), "id": n} for n in range(LINES)
    ]
    lines[7] = {"prompt": 7, "id": 7}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def answers(target: Path) -> list[dict[str, Any]]:
    documents = map(json.loads, target.read_text().splitlines())
    return [{k: v for k, v in one.items() if not k.endswith("seconds")} for one in documents]


def ours(pid: str, below: int) -> bool:
    """Whether a process descends from one."""
    while pid not in ("0", "1"):
        if pid == str(below):
            return True
        pid = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return False


def kill_a_worker(target: Path, killed: list[int]) -> None:
    """Waits for the first answers, then ends an actor in the middle of its work."""
    while not (target.exists() and b"\n" in target.read_bytes()):
        time.sleep(0.005)
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            title = (place / "cmdline").read_bytes()
            if b"MapWorker" in title and ours(place.name, os.getpid()):
                os.kill(int(place.name), signal.SIGKILL)
                killed.append(int(place.name))
                return


@pytest.mark.filterwarnings("default")  # those of Ray are not ours
def test_a_job_on_a_cluster_is_the_job_of_one_process_though_a_worker_dies(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    expected, target = tmp_path / "expected.jsonl", tmp_path / "out.jsonl"
    command = [str(ARTIFACT), "--input", str(source), "--quiet", "--max-new-tokens", "6"]
    command += ["--policy", "one-per-step", "--no-stop-at-eos", "--batch", "2"]
    assert main([*command, "--output", str(expected), "--threads", "1"]) == 1
    killed: list[int] = []
    killer = threading.Thread(target=kill_a_worker, args=(target, killed), daemon=True)
    killer.start()
    assert main([*command, "--output", str(target), "--ray", "local"]) == 1
    killer.join()
    assert killed, "or nothing is shown"
    assert answers(target) == answers(expected)
    assert "error" in answers(target)[7]


def test_without_ray_one_line_says_what_installs_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name="ray")

    monkeypatch.setattr("dawn_runtime.jobs.on_ray.import_module", missing)
    target = tmp_path / "out.jsonl"
    command = [str(ARTIFACT), "--input", str(source), "--output", str(target), "--ray", "local"]
    assert main(command) == 1
    err = capsys.readouterr().err
    assert "--ray needs ray, which is not installed; pip install 'dawn-edge[ray]'" in err
    assert not target.exists()
