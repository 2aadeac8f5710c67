"""A hub on 127.0.0.1: enough of the protocol for huggingface_hub, `datasets` and trackyard, with planned faults.

In a test: `with LoopbackHub() as hub: hub.add_repository("owner/name", {"data.parquet": ...})`, then pass `hub.url` as
the endpoint. As a process of its own, serving D/<owner>/<name>/... until it is ended:

    python -m tests.loopback.hub --directory D

Large files are redirected to a second port that stands for the CDN: another origin, which must never see a token.
hf-xet is not spoken; huggingface_hub then takes plain HTTP.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.loopback.hub_faults import Fault, Faults
from tests.loopback.hub_repositories import Repository, commit_of, git_sha1, is_large, sha256

__all__ = ["Fault", "LoopbackHub", "Request"]

_VERBS = "revision|tree|auth-check|refs|paths-info"
_NAME = rf"[^/]+(?:/(?!(?:{_VERBS}|resolve)(?:/|$))[^/]+)?"
API = re.compile(rf"/api/(?P<kind>dataset|model)s/(?P<repo>{_NAME})(?:/(?P<verb>{_VERBS})(?:/(?P<rest>.*))?)?")
RESOLVE = re.compile(rf"/(?P<datasets>datasets/)?(?P<repo>{_NAME})/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
CDN = re.compile(r"/cdn/(?P<digest>[0-9a-f]{64})/(?P<resource>.+)")
PIECE = 1 << 16
SIGNATURE = "signed-for-this-login-only"
"""Part of every address at the CDN. Whoever knows the address may read: it belongs in no message."""


@dataclass(kw_only=True)
class Request:
    """One request, and how it was answered so far.

    resource: "<owner>/<name>/<path>" for a file at either port, else "<verb> <owner>/<name>" with the verbs info, tree,
    auth-check, refs, paths-info. sent: bytes of the body. token: whether one came with it.
    """

    method: str
    cdn: bool
    byte_range: str | None
    token: bool
    resource: str = "unknown"
    status: int = 0
    sent: int = 0


class LoopbackHub:
    """The server and its repositories. page: entries per page of /tree. bytes_per_s: limits each body."""

    def __init__(self, *, page: int = 1000, bytes_per_s: float | None = None) -> None:
        self.page, self.bytes_per_s = page, bytes_per_s
        self.faults = Faults()
        self.next_page_at: str | None = None
        """Where a hub of ill will lets its lists go on, in place of its own address."""
        self.closing = threading.Event()
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self._log: list[Request] = []
        self._lock = threading.Lock()
        self._servers = [_Server(self, cdn=False), _Server(self, cdn=True)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def cdn_url(self) -> str:
        return f"http://127.0.0.1:{self._servers[1].server_port}"

    def __enter__(self) -> LoopbackHub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add_repository(
        self,
        repo: str,
        files: Mapping[str, bytes],
        *,
        commit: str | None = None,
        branch: str = "main",
        kind: str = "dataset",
        gated: bool = False,
        private: bool = False,
        token: str | None = None,
        stated: Mapping[str, bytes] | None = None,
    ) -> str:
        """Add a commit to a repository, which is made if there is none, and move `branch` to it; returns the commit.

        gated: files only with `token`. private: nothing without it. stated: bytes by path that the lists describe,
        where they shall contradict what is sent.
        """
        held = self.repositories.setdefault((kind, repo), Repository(repo, kind))
        commit = commit or commit_of(files)
        held.commits[commit] = dict(files)
        held.branches[branch] = commit
        held.gated, held.private, held.token = gated, private, token
        held.stated.update(stated or {})
        self.blobs |= {sha256(data): data for data in files.values()}
        return commit

    def add_directory(self, directory: Path) -> None:
        """Serve <owner>/<name>/... below `directory`, each as it is now."""
        for repo in sorted(directory.glob("*/*/")):
            files = {str(p.relative_to(repo)): p.read_bytes() for p in sorted(repo.rglob("*")) if p.is_file()}
            self.add_repository(f"{repo.parent.name}/{repo.name}", files)

    @property
    def log(self) -> list[Request]:
        """Every request, in order."""
        with self._lock:
            return list(self._log)

    def note(self, request: Request) -> None:
        with self._lock:
            self._log.append(request)

    def forget_log(self) -> None:
        with self._lock:
            self._log.clear()

    def counts(self, method: str | None = None) -> Counter[str]:
        """Requests by resource."""
        return Counter(r.resource for r in self.log if method in (None, r.method))

    def bytes_sent(self, resource: str | None = None) -> int:
        """Bytes of bodies, of files and of lists."""
        return sum(r.sent for r in self.log if resource in (None, r.resource))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, hub: LoopbackHub, *, cdn: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub, self.cdn = hub, cdn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed in the middle of an answer is what the tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer with a body costs a delayed acknowledgement, 40 ms
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are in `LoopbackHub.log`."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    @property
    def hub(self) -> LoopbackHub:
        return self.server.hub

    def _answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.noted = Request(
            method=self.command,
            cdn=self.server.cdn,
            byte_range=self.headers.get("Range"),
            token="Authorization" in self.headers,
        )
        self.hub.note(self.noted)
        self._route()

    def _route(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        if self.server.cdn:
            if (found := CDN.fullmatch(path)) and found["digest"] in self.hub.blobs:
                self.noted.resource = found["resource"]
                if not self._wrong():
                    self._send_file(self.hub.blobs[found["digest"]], {"ETag": f'"{found["digest"]}"'})
                return
        elif found := API.fullmatch(path):
            self.noted.resource = f"{(found['verb'] or 'info').replace('revision', 'info')} {found['repo']}"
            if not self._wrong():
                self._api(found, {name: values[0] for name, values in parse_qs(parts.query).items()})
            return
        elif found := RESOLVE.fullmatch(path):
            self.noted.resource = f"{found['repo']}/{found['path']}"
            if not self._wrong():
                self._resolve(found, hops=parts.query)
            return
        self._send(404, b"not found\n", {"Content-Type": "text/plain"})

    # Faults of an answer

    def _wrong(self) -> bool:
        """Do what is planned for this request; False if nothing is."""
        fault = self.hub.faults.take(self.noted.resource, self.command, body=False)
        if fault is None:
            return False
        here = self.path.partition("?")[0]
        if fault.kind == "status":
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            self._send(fault.status, b'{"error":"planned"}', headers)
        elif fault.kind == "hang":
            self.hub.closing.wait(fault.seconds)
            self.close_connection = True
        elif fault.kind == "html":
            self._send(200, b"<html><body>Please log in to the network</body></html>", {"Content-Type": "text/html"})
        else:
            self._send(307, b"", {"Location": here if fault.kind == "loop" else f"{here}?hop=1"})
        return True

    # The protocol

    def _api(self, found: re.Match[str], query: dict[str, str]) -> None:
        held = self.hub.repositories.get((found["kind"], found["repo"]))
        if held is None or not self._may_see(held):
            self._refuse(404 if self._token() else 401, "RepoNotFound", "Repository not found")
            return
        verb, rest = found["verb"], found["rest"] or ""
        if verb == "auth-check":
            if self._may_read(held):
                self._send(200, b"OK", {"Content-Type": "text/plain"})
            return
        if verb == "refs":
            branches = [
                {"name": name, "ref": f"refs/heads/{name}", "targetCommit": commit}
                for name, commit in held.branches.items()
            ]
            self._send_json({"branches": branches, "tags": [], "converts": []})
            return
        revision, _, below = rest.partition("/")
        commit = held.resolve(unquote(revision) or "main")
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif verb == "tree":
            self._tree(held, commit, below, query)
        elif verb == "paths-info":
            asked = json.loads(self.body)["paths"] if self.body[:1] == b"{" else parse_qs(self.body.decode())["paths"]
            everything = held.tree(commit, "", recursive=True)
            self._send_json([entry for entry in everything if entry["path"] in asked])
        else:
            self._send_json(held.info(commit, blobs=query.get("blobs", "").lower() == "true"))

    def _tree(self, held: Repository, commit: str, below: str, query: dict[str, str]) -> None:
        entries = held.tree(commit, below, recursive=query.get("recursive", "").lower() == "true")
        if below and not entries:
            self._refuse(404, "EntryNotFound", f"{below} does not exist")
            return
        start = int(query.get("cursor", "0"))
        headers = {}
        if start + self.hub.page < len(entries):
            address = f"{self.hub.next_page_at or self.hub.url}{self.path.partition('?')[0]}"
            following = f"{address}?recursive={query.get('recursive', 'false')}&cursor={start + self.hub.page}"
            headers["Link"] = f'<{following}>; rel="next"'
        self._send_json(entries[start : start + self.hub.page], headers)

    def _resolve(self, found: re.Match[str], *, hops: str) -> None:
        held = self.hub.repositories.get(("dataset" if found["datasets"] else "model", found["repo"]))
        if held is None or not self._may_see(held):
            self._refuse(404 if self._token() else 401, "RepoNotFound", "Repository not found")
            return
        if not self._may_read(held):
            return
        commit = held.resolve(found["revision"])
        if commit is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {found['revision']}")
            return
        data = held.commits[commit].get(found["path"])
        if data is None:
            self._refuse(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        elif is_large(found["path"], data):
            headers = {
                "X-Repo-Commit": commit,
                "X-Linked-ETag": f'"{sha256(data)}"',
                "X-Linked-Size": str(len(data)),
                "ETag": f'"{git_sha1(data)}"',
                "Location": f"{self.hub.cdn_url}/cdn/{sha256(data)}/{quote(self.noted.resource)}?signature={SIGNATURE}",
            }
            self._send(302, b"", headers)
        else:
            self._send_file(data, {"X-Repo-Commit": commit, "ETag": f'"{git_sha1(data)}"'})

    def _token(self) -> str | None:
        return self.headers.get("Authorization", "").removeprefix("Bearer ") or None

    def _may_see(self, held: Repository) -> bool:
        return not held.private or (held.token is not None and self._token() == held.token)

    def _may_read(self, held: Repository) -> bool:
        """False after the refusal was sent. Tokens that begin with "hf_" belong to accounts, others are invalid."""
        if not held.gated or (held.token is not None and self._token() == held.token):
            return True
        token = self._token()
        if token is not None and not token.startswith("hf_"):
            self._refuse(401, None, "Invalid credentials in Authorization header")
        else:
            # The real hub answers so, and a careless one repeats what it was sent.
            self._refuse(403 if token else 401, "GatedRepo", f"Access to {held.repo} is restricted. You sent {token}.")
        return False

    # Answers

    def _refuse(self, status: int, code: str | None, message: str, headers: Mapping[str, str] | None = None) -> None:
        said = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **(headers or {})}
        self._send(status, json.dumps({"error": message}).encode(), said)

    def _send_json(self, value: Any, headers: Mapping[str, str] | None = None) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def _start(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.noted.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _send(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self._start(status, len(data), headers)
        if self.command != "HEAD":
            self._write(data)

    def _send_file(self, data: bytes, headers: Mapping[str, str]) -> None:
        """A file or the asked range of it, with what is planned for its body."""
        first, last, status = 0, len(data) - 1, 200
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last, status = int(found[1]), min(int(found[2] or last), last), 206
            if first > last:
                self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        body = data[first : last + 1]
        if self.command == "HEAD":
            self._start(status, len(body), headers)
            return
        fault = self.hub.faults.take(self.noted.resource, self.command, body=True)
        if fault is not None and fault.kind == "corrupt":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]
            fault = None
        self._start(status, len(body), headers)
        if fault is None:
            self._write(body)
            return
        self._write(body[: len(body) // 2])
        self.wfile.flush()
        if fault.kind == "stall":
            self.hub.closing.wait(fault.seconds)
        elif fault.kind == "reset":
            connection = cast("socket.socket", self.connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def _write(self, data: bytes) -> None:
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self.noted.sent += len(piece)
            self.wfile.write(piece)
            if self.hub.bytes_per_s is not None:
                time.sleep(len(piece) / self.hub.bytes_per_s)


def main() -> None:
    parser = argparse.ArgumentParser(description="serve repositories of a folder as a hub on 127.0.0.1")
    parser.add_argument("--directory", type=Path, required=True, help="holds <owner>/<name>/...")
    parser.add_argument("--bytes-per-s", type=float, default=None, help="speed of each body")
    arguments = parser.parse_args()
    with LoopbackHub(bytes_per_s=arguments.bytes_per_s) as hub:
        hub.add_directory(arguments.directory)
        print(hub.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
