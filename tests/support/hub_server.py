"""A Hugging Face Hub of a few folders: as much of its protocol as downloads and uploads speak.

Uploads are those of the older protocol, of Git's large files: of what huggingface_hub speaks, the
one that a few lines can stand in for (`HF_HUB_DISABLE_XET=1`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

COMMIT = "0123456789abcdef0123456789abcdef01234567"

LARGE_BYTES = 100_000
"""From this size on a file goes where the large ones go; on the real Hub it is ten megabytes."""


@dataclass(frozen=True)
class User:
    """Whose a token is, and what it may do."""

    name: str
    role: str = "write"
    orgs: tuple[str, ...] = ()


@dataclass
class Hub:
    """What the server serves.

    Attributes:
        folders: id of a repository -> its files; it has the branch `main`.
        gated: ids of repositories that list their files and do not give them.
        failing: ids of repositories at which the server stumbles.
        locked: ids of repositories that nobody may write to.
        private: ids of repositories that are seen with a token alone.
        users: token -> whose it is.
        store: where repositories are made that are pushed; None makes none.
        commits: id of a repository -> its newest commit, if that is not `COMMIT`.
        served: paths of the files that were given out.
        asked: what was asked for, verb and path.
        large: SHA-256 -> content that was uploaded for a commit to come.
        endpoint: address, for HF_ENDPOINT.
    """

    folders: dict[str, Path]
    gated: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    locked: frozenset[str] = frozenset()
    private: set[str] = field(default_factory=set)
    users: Mapping[str, User] = field(default_factory=dict)
    store: Path | None = None
    commits: dict[str, str] = field(default_factory=dict)
    served: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    endpoint: str = ""

    def commit_of(self, repository: str) -> str:
        """The newest commit of a repository."""
        return self.commits.get(repository, COMMIT)


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

    def do_POST(self) -> None:
        self._take()

    def do_PUT(self) -> None:
        self._take()

    def log_message(self, *_: object) -> None:
        """Keeps standard error clean."""

    @property
    def _user(self) -> User | None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return self.hub.users.get(token)

    def _visible(self, repository: str) -> bool:
        known = repository in self.hub.folders
        return known and (repository not in self.hub.private or self._user is not None)

    def _answer(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "whoami-v2"]:
            self._tell_who()
            return
        is_api = parts[:2] == ["api", "models"]
        owner, name, verb, *rest = [*(parts[2:] if is_api else parts), "", "", ""]
        repository = f"{owner}/{name}"
        if not self._visible(repository):
            self._error(404, "RepoNotFound")
        elif repository in self.hub.failing:
            self._error(500, "Stumbled")
        elif is_api and verb == "auth-check":
            self._check_writing(repository)
        elif is_api and verb == "":
            self._describe(repository, verb)
        elif rest[0] not in ("main", self.hub.commit_of(repository)):
            self._error(404, "RevisionNotFound")
        elif is_api:
            self._describe(repository, verb)
        elif repository in self.hub.gated:
            self._error(403, "GatedRepo")
        else:
            self._give(repository, "/".join(rest[1:]).rstrip("/"))

    def _tell_who(self) -> None:
        user = self._user
        if user is None:
            self._error(401, "Unauthorized")
            return
        orgs = [{"name": one} for one in user.orgs]
        auth = {"accessToken": {"role": user.role}}
        self._json({"type": "user", "name": user.name, "orgs": orgs, "auth": auth})

    def _check_writing(self, repository: str) -> None:
        if self._may_write(repository):
            self._json({})
        else:
            self._error(403, "Forbidden")

    def _may_write(self, repository: str) -> bool:
        owner, user = repository.partition("/")[0], self._user
        member = user is not None and owner in (user.name, *user.orgs) and user.role != "read"
        return member and repository not in self.hub.locked

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
            private = repository in self.hub.private
            sha = self.hub.commit_of(repository)
            self._json({"id": repository, "sha": sha, "siblings": siblings, "private": private})

    def _give(self, repository: str, name: str) -> None:
        path = self.hub.folders[repository] / name
        if not path.is_file():
            self._error(404, "EntryNotFound")
            return
        content = path.read_bytes()
        headers = {"ETag": f'"{_etag(path)}"', "X-Repo-Commit": self.hub.commit_of(repository)}
        if self.command == "GET":
            self.hub.served.append(path.name)
        self._send(200, content, headers)

    # What is uploaded

    def _take(self) -> None:
        self.hub.asked.append(f"{self.command} {self.path}")
        body = self._body()
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "validate-yaml"]:
            self._validate(json.loads(body)["content"])
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts[0] == "large":
            self._keep(parts[1], body)
        elif parts[2:] == ["info", "lfs", "objects", "batch"]:
            self._batch(json.loads(body), f"{parts[0]}/{parts[1].removesuffix('.git')}")
        elif parts[:2] == ["api", "models"] and parts[4] in ("preupload", "commit"):
            self._change(f"{parts[2]}/{parts[3]}", parts[4], body)
        else:
            self._error(404, "Unknown")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _validate(self, card: str) -> None:
        front = card.split("---\n", 2)[1] if card.startswith("---\n") else "{}"
        assert isinstance(yaml.safe_load(front), dict)
        self._json({"errors": [], "warnings": []})

    def _create(self, wanted: Mapping[str, Any]) -> None:
        owner = wanted["organization"] or (self._user.name if self._user else "")
        repository = f"{owner}/{wanted['name']}"
        if repository in self.hub.folders:
            self._error(409, "Conflict")
        elif not self._may_write(repository) or self.hub.store is None:
            self._error(403, "Forbidden")
        else:
            folder = self.hub.store / owner / wanted["name"]
            folder.mkdir(parents=True)
            (folder / ".gitattributes").write_text("*.onnx filter=lfs\n")
            self.hub.folders[repository] = folder
            if wanted.get("visibility") == "private":
                self.hub.private.add(repository)
            self._json({"url": f"{self.hub.endpoint}/{repository}"})

    def _batch(self, wanted: Mapping[str, Any], repository: str) -> None:
        assert self._may_write(repository)
        found = [
            {**one, "actions": {"upload": {"href": f"{self.hub.endpoint}/large/{one['oid']}"}}}
            for one in wanted["objects"]
        ]
        self._json({"transfer": "basic", "objects": found})

    def _keep(self, oid: str, content: bytes) -> None:
        assert hashlib.sha256(content).hexdigest() == oid
        self.hub.large[oid] = content
        self._json({})

    def _change(self, repository: str, verb: str, body: bytes) -> None:
        if not self._may_write(repository):
            self._error(403, "Forbidden")
        elif repository in self.hub.failing:
            self._error(400, "Stumbled")  # at 500 a client would try again for long
        elif verb == "preupload":
            sizes = [(one["path"], one["size"]) for one in json.loads(body)["files"]]
            modes = ["lfs" if size >= LARGE_BYTES else "regular" for _, size in sizes]
            names = [name for name, _ in sizes]
            told = zip(names, modes, strict=True)
            files = [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in told]
            self._json({"files": files})
        else:
            self._commit(repository, [json.loads(line) for line in body.splitlines()])

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        folder, (head, *changes) = self.hub.folders[repository], lines
        if head["value"].get("parentCommit") not in (None, self.hub.commit_of(repository)):
            self._error(412, "Precondition")
            return
        for change in changes:
            kind, value = change["key"], change["value"]
            path = folder / value["path"]
            if kind == "file":
                path.write_bytes(base64.b64decode(value["content"]))
            elif kind == "lfsFile":
                path.write_bytes(self.hub.large[value["oid"]])
            else:
                assert kind == "deletedFile"
                path.unlink()
        told = json.dumps([self.hub.commit_of(repository), lines]).encode()
        commit = hashlib.sha1(told, usedforsecurity=False).hexdigest()
        self.hub.commits[repository] = commit
        url = f"{self.hub.endpoint}/{repository}/commit/{commit}"
        self._json({"success": True, "commitUrl": url, "commitOid": commit})

    def _json(self, document: Any) -> None:
        self._send(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()
