"""A Hugging Face Hub of a few folders: as much of its protocol as a download speaks."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server serves.

    Attributes:
        folders: id of a repository -> its files; it has one commit and the branch `main`.
        gated: ids of repositories that list their files and do not give them.
        failing: ids of repositories at which the server stumbles.
        served: paths of the files that were given out.
        endpoint: address, for HF_ENDPOINT.
    """

    folders: dict[str, Path]
    gated: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    served: list[str] = field(default_factory=list)
    endpoint: str = ""


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serves on a free port of this machine, until the block ends."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        yield hub
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Keeps standard error clean."""

    def _answer(self) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        is_api = parts[:2] == ["api", "models"]
        owner, name, verb, *rest = [*(parts[2:] if is_api else parts), "", "", ""]
        repository = f"{owner}/{name}"
        if repository not in self.hub.folders:
            self._error(404, "RepoNotFound")
        elif repository in self.hub.failing:
            self._error(500, "Stumbled")
        elif rest[0] not in ("main", COMMIT):
            self._error(404, "RevisionNotFound")
        elif is_api:
            self._describe(repository, verb)
        elif repository in self.hub.gated:
            self._error(403, "GatedRepo")
        else:
            self._give(self.hub.folders[repository] / "/".join(rest[1:]).rstrip("/"))

    def _describe(self, repository: str, verb: str) -> None:
        paths = sorted(p for p in self.hub.folders[repository].rglob("*") if p.is_file())
        names = [str(path.relative_to(self.hub.folders[repository])) for path in paths]
        if verb == "tree":
            entries = [
                {"type": "file", "path": name, "size": path.stat().st_size, "oid": _etag(path)}
                for name, path in zip(names, paths, strict=True)
            ]
            self._json(entries)
        else:
            siblings = [{"rfilename": name} for name in names]
            self._json({"id": repository, "sha": COMMIT, "siblings": siblings})

    def _give(self, path: Path) -> None:
        content = path.read_bytes()
        headers = {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": COMMIT}
        if self.command == "GET":
            self.hub.served.append(path.name)
        self._send(200, content, headers)

    def _json(self, document: Any) -> None:
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
