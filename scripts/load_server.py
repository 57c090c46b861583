"""Many clients of one server at once: statuses, times, and whether every answer is the right one.

    python scripts/load_server.py build/tiny-dream
    python scripts/load_server.py build/tiny-dream --clients 64 --seconds 60 --max-batch-size 8

Starts `dawn-serve` on a port that is free, after every question was answered alone, and lets each
client ask one question after the other over plain HTTP. A client that gets 429 waits as long as it
is told, at most a second, and asks again. Of an FP32 artifact every answer must be its single run;
of others answers that differ are counted. --clients 1 is what one client gets, to compare.

Standard output gets one line of JSON: answers, refusals, answers and tokens a second, p50 and p99
of the time from asking to the answer, memory of the server at the first quarter and at the end. The
exit status is 1 if anything but 200 and 429 came back, or an answer of an FP32 artifact differs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dawn_runtime import Decoder
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import Parser, count, print_json, run_command
from dawn_runtime.errors import DawnError

QUESTIONS = (
    "Sort ascending: 47 61 56 21",
    "Reverse this list: boat bee hat dog",
    "Sort ascending: 9 3 81 7",
    "Reverse this list: cat sun map",
)
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"policy": "threshold"},
    {"policy": "verify"},
    {"policy": "one-per-step", "cache": "dual"},
)
MOST_WAIT_S = 1.0


@dataclass
class Seen:
    """What the clients saw."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    differ: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, status: int, seconds: float, tokens: int, differs: bool) -> None:
        """Counts an answer or a refusal."""
        with self.lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            if status == 200:
                self.seconds.append(seconds)
                self.tokens += tokens
                self.differ += differs


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("load_server", "Many clients of one server at once.")
    parser.add_argument("artifact", type=Path, help="artifact folder")
    parser.add_argument("--clients", type=count, default=64, metavar="N")
    parser.add_argument("--seconds", type=count, default=60, metavar="N")
    parser.add_argument("--max-batch-size", type=count, default=8, metavar="N")
    parser.add_argument("--max-queued-requests", type=count, default=48, metavar="N")
    parser.add_argument("--max-tokens", type=count, default=32, metavar="N")
    parser.add_argument("--threads", type=count, default=2, metavar="N", help="of the engine")
    return parser


def _work(args: argparse.Namespace) -> None:
    expected = _alone(args)
    flags = {"threads": args.threads, "max-batch-size": args.max_batch_size}
    flags["max-queued-requests"] = args.max_queued_requests
    command = [
        sys.executable,
        "-c",
        "import sys; from dawn_serve.cli import main; sys.exit(main())",
    ]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    command += ["--port", "0", "--json", "--quiet", str(args.artifact)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = json.loads(server.stdout.readline())["url"].removeprefix("http://")
            report = _measure(args, address, expected, server.pid)
        finally:
            server.terminate()
    print_json(report)
    exact = read_manifest(args.artifact).precision == "fp32"
    odd = set(report["statuses"]) - {"200", "429"}
    if odd or (exact and report["answers_that_differ"]) or server.returncode:
        raise DawnError("something but 200 and 429 came back, or an answer is not its single run")


def _alone(args: argparse.Namespace) -> list[tuple[dict[str, Any], str]]:
    """Every question with every setting, and its answer."""
    with Decoder.open(args.artifact, threads=args.threads, literal_text=True) as decoder:
        found = []
        for question in QUESTIONS:
            messages = [{"role": "user", "content": question}]
            for settings in SETTINGS:
                body = {"messages": messages, "max_tokens": args.max_tokens, **settings}
                limit: Any = {"max_new_tokens": args.max_tokens, **settings}
                found.append((body, decoder.generate(messages=messages, **limit).text))
    return found


def _measure(
    args: argparse.Namespace, address: str, expected: list[tuple[dict[str, Any], str]], pid: int
) -> dict[str, Any]:
    seen, end = Seen(), time.monotonic() + args.seconds
    clients = [
        threading.Thread(target=_ask, args=(address, expected, n, end, seen))
        for n in range(args.clients)
    ]
    for client in clients:
        client.start()
    time.sleep(args.seconds / 4)
    early = _resident(pid)
    for client in clients:
        client.join()
    times = np.array(seen.seconds or [float("nan")])
    return {
        "clients": args.clients,
        "seconds": args.seconds,
        "statuses": {str(status): n for status, n in sorted(seen.statuses.items())},
        "answers_that_differ": seen.differ,
        "answers_a_second": round(len(seen.seconds) / args.seconds, 2),
        "tokens_a_second": round(seen.tokens / args.seconds, 1),
        "p50_seconds": round(float(np.percentile(times, 50)), 3),
        "p99_seconds": round(float(np.percentile(times, 99)), 3),
        "resident_mb": [round(early / 2**20, 1), round(_resident(pid) / 2**20, 1)],
    }


def _ask(
    address: str, expected: list[tuple[dict[str, Any], str]], number: int, end: float, seen: Seen
) -> None:
    """One client, until the time is over."""
    while time.monotonic() < end:
        body, answer = expected[number % len(expected)]
        number += 1
        begun = time.monotonic()
        connection = http.client.HTTPConnection(address, timeout=600)
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        reply = connection.getresponse()
        document, seconds = json.loads(reply.read()), time.monotonic() - begun
        connection.close()
        if reply.status != 200:
            seen.note(reply.status, seconds, 0, False)
            time.sleep(min(float(reply.headers.get("retry-after", 1)), MOST_WAIT_S))
            continue
        (choice,) = document["choices"]
        tokens = document["usage"]["completion_tokens"]
        seen.note(200, seconds, tokens, choice["message"]["content"] != answer)


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    sys.exit(main())
