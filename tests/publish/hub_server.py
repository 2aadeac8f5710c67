"""As much of the hub as an upload needs, on loopback: repositories, upload modes, large files, one commit at a time."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LARGE = (".safetensors", ".bin")
EMPTY = "a" * 40
COMMIT = "b" * 40
REPO = "someone/export"
SECRET = "hf_" + "PushMe" * 6
"""The token that a push shows."""


class Hub:
    """private: None while there is no repository. held: its files. large: by sha256. puts: uploads that came in whole,
    by sha256, and begun: how many were begun. seen: (method, path, Authorization) of every request."""

    def __init__(self, repo: str) -> None:
        hub = self
        self.repo = repo
        self.called = repo
        """What it names itself; another name if it was renamed."""
        self.held: dict[str, bytes] = {".gitattributes": b"*.safetensors filter=lfs\n"}
        self.ignores = ""
        """End of the names that it leaves out of a commit, without a word."""
        self.private: bool | None = None
        self.refuses = 0
        self.large: dict[str, bytes] = {}
        self.puts: dict[str, int] = {}
        self.begun = 0
        self.commits: list[dict[str, bytes]] = []
        self.seen: list[tuple[str, str, str]] = []
        self.verify: str | None = None
        """Address that uploads are to be confirmed at."""
        self.redirect: str | None = None
        """Address that questions are sent on to, those whose path holds `redirects`."""
        self.redirects = ""
        self.garbles = False
        """Whether it answers with a page for people."""
        self.hold_after = 10**9
        """Uploads after so many are read slowly, until `release` is set: time to kill the one who sends them."""
        self.holds_commits = False
        """Commits are made at once, and answered when `release` is set."""
        self.holding, self.release = threading.Event(), threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _note(self) -> None:
                hub.seen.append((self.command, self.path, self.headers.get("Authorization", "")))

            def do_GET(self) -> None:
                self._note()
                if hub.redirect is not None and hub.redirects in self.path:
                    self.send_response(307)
                    self.send_header("Location", hub.redirect + self.path)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self._told(hub.info(), hub.refuses or (200 if hub.private is not None else 404))

            def do_POST(self) -> None:
                self._note()
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                status, answer = hub.post(self.path.partition("?")[0], body)
                self._told(answer, status)

            def do_PUT(self) -> None:
                self._note()
                hub.begun += 1
                length = int(self.headers["Content-Length"])
                if hub.begun > hub.hold_after:
                    data = self.rfile.read(min(1000, length))
                    hub.holding.set()
                    hub.release.wait(60)
                    data += self.rfile.read(length - len(data))
                else:
                    data = self.rfile.read(length)
                if len(data) != length:
                    return  # it was cut off: a store keeps whole objects only
                digest = hashlib.sha256(data).hexdigest()
                if digest != self.path.rpartition("/")[2]:
                    self._told({"error": "not what was announced"}, 400)
                    return
                hub.large[digest] = data
                hub.puts[digest] = hub.puts.get(digest, 0) + 1
                self._told({})

            def _told(self, value: Any, status: int = 200) -> None:
                data = b"<html>" if hub.garbles else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    @property
    def tokens(self) -> set[str]:
        """What was shown with requests to change something, but for the objects themselves."""
        return {token for method, _, token in self.seen if method == "POST"}

    @property
    def head(self) -> str:
        return COMMIT if self.commits else EMPTY

    def info(self) -> dict[str, Any]:
        files = [_described(name, data) for name, data in self.held.items()]
        return {"id": self.called, "private": self.private, "sha": self.head, "siblings": files}

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        if self.refuses:
            return self.refuses, {"error": f"refused, said {body!r} with {self.tokens}"}
        if path == "/api/repos/create":
            if self.private is not None:
                return 409, {"error": "exists", "url": f"{self.url}/{self.repo}"}
            self.private = json.loads(body).get("private") or json.loads(body).get("visibility") == "private"
            return 200, {"url": f"{self.url}/{self.repo}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/confirmed":
            return 200, {}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(LARGE) else "regular" for name in names}
            return 200, {"files": [{"path": n, "uploadMode": modes[n], "shouldIgnore": False} for n in names]}
        if path.endswith("/objects/batch"):
            return 200, {"transfer": "basic", "objects": [self._object(one) for one in json.loads(body)["objects"]]}
        if "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            if lines[0]["value"].get("parentCommit", self.head) != self.head:
                return 412, {"error": "somebody else has made a commit"}
            return 200, self._commit(lines)
        return 404, {"error": path}

    def _object(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.large:
            return asked
        actions = {"upload": {"href": f"{self.url}/put/{asked['oid']}"}}
        if self.verify is not None:
            actions["verify"] = {"href": f"{self.verify}/confirmed"}
        return asked | {"actions": actions}

    def _commit(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                found[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                found[value["path"]] = self.large[value["oid"]]
        self.commits.append(found)
        self.held |= {name: data for name, data in found.items() if not self.ignores or not name.endswith(self.ignores)}
        if self.holds_commits:
            self.holding.set()
            self.release.wait(60)
        return {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.url}/{self.repo}/commit/{COMMIT}"}


def _described(name: str, data: bytes) -> dict[str, Any]:
    """A file as the hub lists it: large ones by the digest of their bytes, others by that of git."""
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
    found = {"rfilename": name, "size": len(data), "blobId": git}
    if not name.endswith(LARGE):
        return found
    return found | {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, by name."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@contextmanager
def serving(repo: str = REPO) -> Iterator[Hub]:
    """A hub that answers until the block ends."""
    hub = Hub(repo)
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        hub.server.shutdown()
        thread.join()
        hub.server.server_close()
