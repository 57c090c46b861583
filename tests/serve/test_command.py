"""`dawn-serve` as it is started, stopped, and refused."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dawn_serve import cli
from support.gate import PATIENCE
from support.serving import Reply, Running

SHIPPED = Path(__file__).parent.parent.parent / "models" / "tiny-dream-int8"
CHAT = [{"role": "user", "content": "Sort ascending: 47 61 56 21"}]
LONG: dict[str, Any] = {"messages": CHAT, "max_tokens": 60, "policy": "one-per-step"}
LONG |= {"stop_at_eos": False, "stream": True}
LONGEST: dict[str, Any] = {**LONG, "max_tokens": 150}


@contextmanager
def started(*flags: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], Running]]:
    command = [
        sys.executable,
        "-c",
        "import sys; from dawn_serve.cli import main; sys.exit(main())",
    ]
    process = subprocess.Popen(
        [*command, str(SHIPPED), "--port", "0", "--json", "--threads", "1", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        said = json.loads(line)
        port = int(said["url"].rpartition(":")[2])
        yield process, Running(said["url"], ("127.0.0.1", port), None, None)  # type: ignore[arg-type]
    finally:
        process.kill()
        process.communicate()


def test_it_serves_until_it_is_told_to_stop_and_lets_answers_end() -> None:
    with started("--served-model-name", "small", DAWN_API_KEY="k") as (process, running):
        key = {"Authorization": "Bearer k"}
        assert running.ask("/v1/models").status == 401
        assert running.ask("/v1/models", headers=key).json["data"][0]["id"] == "small"
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(running.ask, "/v1/chat/completions", LONG, key)
            while b"dawn_running 1" not in running.ask("/metrics", headers=key).body:
                time.sleep(0.01)
            process.send_signal(signal.SIGTERM)
            events = begun.result(PATIENCE).events
        output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert output == ""
    assert events[-1][1] == "[DONE]"
    assert events[-2][1]["choices"][0]["finish_reason"] == "length"
    lines = [json.loads(line) for line in errors.splitlines() if line.startswith("{")]
    last = [line for line in lines if line["route"] == "/v1/chat/completions"][-1]
    assert (last["status"], last["answer_tokens"], last["finish"]) == (200, 60, ["length"])
    assert "Sort" not in errors


def test_at_the_end_of_its_grace_answers_end_with_what_there_is() -> None:
    with started("--grace", "0", "--quiet") as (process, running):
        with ThreadPoolExecutor(1) as pool:
            begun = pool.submit(running.ask, "/v1/chat/completions", LONG)
            while b"dawn_running 1" not in running.ask("/metrics").body:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            events = begun.result(PATIENCE).events
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    assert events[-2][1]["choices"][0]["finish_reason"] == "cancelled"


def counted(running: Running, text: str) -> None:
    """Waits until the metrics say so."""
    end = time.monotonic() + PATIENCE
    while text.encode() not in running.ask("/metrics").body:
        assert time.monotonic() < end
        time.sleep(0.01)


def finish_of(reply: Reply, stream: bool) -> str:
    """Why an answer ended; of a stream that was cut off there is none."""
    assert reply.status == 200
    if not stream:
        return str(reply.json["choices"][0]["finish_reason"])
    assert reply.events[-1][1] == "[DONE]"
    return str(reply.events[-2][1]["choices"][0]["finish_reason"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_under_load_with_a_full_queue_everyone_is_told(number: signal.Signals) -> None:
    flags = ("--max-batch-size", "2", "--max-queued-requests", "4", "--grace", "300")
    with started("--quiet", *flags) as (process, running), ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit(running.ask, "/v1/chat/completions", {**LONGEST, "stream": n % 2 == 0})
            for n in range(6)
        ]
        counted(running, "dawn_running 2")
        counted(running, "dawn_waiting 4")
        full = running.ask("/v1/chat/completions", LONGEST)
        assert (full.status, full.json["error"]["code"]) == (429, "busy")
        process.send_signal(number)
        replies = [one.result(PATIENCE) for one in asked]
        output, errors = process.communicate(timeout=PATIENCE)
        with pytest.raises(ConnectionError):
            running.ask("/health")
    assert (process.returncode, output, errors) == (0, "", "")
    ended = [finish_of(reply, n % 2 == 0) for n, reply in enumerate(replies) if reply.status == 200]
    assert ended == ["length"] * 2, "what was begun comes to its end"
    refused = [reply for reply in replies if reply.status != 200]
    assert [(one.status, one.json["error"]["code"]) for one in refused] == [(503, "stopping")] * 4
    assert all(one.headers["retry-after"] for one in refused)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_answers_with_what_there_is_and_tells_everyone(
    number: signal.Signals,
) -> None:
    with started("--max-batch-size", "4", "--quiet") as (process, running):
        with ThreadPoolExecutor(4) as pool:
            asked = [
                pool.submit(running.ask, "/v1/chat/completions", {**LONGEST, "stream": n % 2 == 0})
                for n in range(4)
            ]
            counted(running, "dawn_running 4")
            process.send_signal(number)
            time.sleep(0.2)  # two at once are one
            process.send_signal(number)
            replies = [one.result(PATIENCE) for one in asked]
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output, errors) == (0, "", "")
    assert {finish_of(reply, n % 2 == 0) for n, reply in enumerate(replies)} == {"cancelled"}


def test_a_server_that_is_killed_leaves_its_clients_with_an_error_and_its_port_free() -> None:
    with started("--quiet") as (process, running), ThreadPoolExecutor(1) as pool:
        begun = pool.submit(running.ask, "/v1/chat/completions", LONGEST)
        counted(running, "dawn_running 1")
        process.kill()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            begun.result(PATIENCE)
        process.communicate(timeout=PATIENCE)
        with socket.create_server(running.address):
            pass


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "70000"], "--port is 70000; expected an integer from 0 to 65535"),
        (["--max-batch-size", "0"], "--max-batch-size is 0; expected an integer from 1"),
        (["--queue-timeout", "0"], "--queue-timeout is 0.0; expected a number from 0.1"),
        (["--max-input-len", "-1"], "--max-input-len is -1"),
        (["--policy", "threshhold"], "did you mean 'threshold'"),
        (["--policy", "wino"], "this model predicts the next one"),
        (["--host", ""], "--host is ''"),
        (["--host", "no such host"], "cannot listen on no such host port 8000"),
        (["--api-key", "\xe9"], "--api-key is no printable ASCII"),
        (["--served-model-name", ""], "--served-model-name is ''"),
        (["--top-p", "0.5"], "need a temperature above 0"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_what_it_cannot_be_started_with_is_a_line(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([str(SHIPPED), *flags]) in (1, 2)
    errors = capsys.readouterr().err
    assert message in errors
    assert len(errors.splitlines()) == 1


def test_a_port_that_is_taken_and_an_artifact_that_is_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert cli.main([str(SHIPPED), "--port", port]) == 1
    assert f"cannot listen on 127.0.0.1 port {port}: " in capsys.readouterr().err
    assert cli.main([str(tmp_path)]) == 1
    assert "dawn-serve: error: " in capsys.readouterr().err
