"""`scripts/load_server.py`, shortly."""

import json
from pathlib import Path

import pytest

SHIPPED = Path(__file__).parent.parent.parent / "models" / "tiny-dream-int8"


def test_clients_that_ask_at_once_get_answers_or_are_told_to_wait(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import load_server

    bounds = ["--max-batch-size", "1", "--max-queued-requests", "1", "--threads", "1"]
    command = ["load_server", str(SHIPPED), "--clients", "4", "--seconds", "1", *bounds]
    monkeypatch.setattr("sys.argv", command)
    assert load_server.main() == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["statuses"]) <= {"200", "429"}
    assert report["statuses"]["200"] > 0
    assert report["p50_seconds"] <= report["p99_seconds"]
