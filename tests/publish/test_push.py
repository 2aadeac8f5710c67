"""An upload is searched first, private, whole, and of exactly what was shown. Against a hub on loopback."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.publish.push import TOKEN, plan_push, push, secret_in
from trackyard.redact import Redactor

REPO = "someone/export"
SECRET = "hf_" + "PushMe" * 6


class Hub:
    """As much of the hub as an upload needs."""

    def __init__(self) -> None:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                self._told(hub.info(), hub.refuses or (200 if hub.private is not None else 404))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0))
                hub.tokens.add(self.headers.get("Authorization", ""))
                status, answer = hub.post(self.path.partition("?")[0], body)
                self._told(answer, status)

            def do_PUT(self) -> None:
                hub.large[self.path.rpartition("/")[2]] = self.rfile.read(int(self.headers["Content-Length"]))
                self._told({})

            def _told(self, value: Any, status: int = 200) -> None:
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.private: bool | None = None
        self.refuses = 0
        self.tokens: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.commits: list[dict[str, bytes]] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def info(self) -> dict[str, Any]:
        return {"id": REPO, "private": self.private, "sha": "a" * 40, "siblings": []}

    def post(self, path: str, body: bytes) -> tuple[int, Any]:
        if self.refuses:
            return self.refuses, {"error": f"refused, said {body!r} with {self.tokens}"}
        if path == "/api/repos/create":
            if self.private is not None:
                return 409, {"error": "exists", "url": f"{self.url}/{REPO}"}
            self.private = json.loads(body).get("private") or json.loads(body).get("visibility") == "private"
            return 200, {"url": f"{self.url}/{REPO}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if "/preupload/" in path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = {name: "lfs" if name.endswith(".safetensors") else "regular" for name in names}
            return 200, {"files": [{"path": n, "uploadMode": modes[n], "shouldIgnore": False} for n in names]}
        if path.endswith("/objects/batch"):
            asked = json.loads(body)["objects"]
            place = f"{self.url}/put/"
            objects = [file | {"actions": {"upload": {"href": place + file["oid"]}}} for file in asked]
            return 200, {"transfer": "basic", "objects": objects}
        if "/commit/" in path:
            return 200, self._commit([json.loads(line) for line in body.splitlines()])
        return 404, {"error": path}

    def _commit(self, lines: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, bytes] = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                found[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                found[value["path"]] = self.large[value["oid"]]
        self.commits.append(found)
        return {"success": True, "commitOid": "b" * 40, "commitUrl": f"{self.url}/{REPO}/commit/{'b' * 40}"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv(TOKEN, SECRET)
    # hf-xet, which would be used beside the hub, has a service of its own.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    hub = Hub()
    thread = threading.Thread(target=hub.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield hub
    hub.server.shutdown()
    thread.join()
    hub.server.server_close()


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    files = {
        "README.md": b"# A card\n",
        "world_config.json": b'{"mode": "pooled8"}\n',
        "model.safetensors": np.random.default_rng(0).standard_normal(20_000).astype(np.float32).tobytes(),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    return {name: tmp_path / name for name in files}


def test_the_files_arrive_as_one_commit_of_a_private_repository(hub: Hub, paths: dict[str, Path]) -> None:
    plan = plan_push(paths, REPO)
    assert (hub.private, hub.commits) == (None, [])  # planning sends nothing
    assert push(plan, endpoint=hub.url) == "b" * 40
    assert hub.private is True
    assert hub.commits == [{name: path.read_bytes() for name, path in paths.items()}]
    assert hub.tokens == {f"Bearer {SECRET}"}
    push(plan, endpoint=hub.url)
    assert len(hub.commits) == 2  # a repository that is there already is no obstacle


def test_a_public_repository_is_refused(hub: Hub, paths: dict[str, Path]) -> None:
    hub.private = False
    with pytest.raises(ConfigError, match="is public"):
        push(plan_push(paths, REPO), endpoint=hub.url)
    assert hub.commits == []


def test_without_a_token_nothing_is_asked(hub: Hub, paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN)
    with pytest.raises(EnvironmentLacking, match="HF_TOKEN is not set"):
        push(plan_push(paths, REPO), endpoint=hub.url)
    assert (hub.tokens, hub.private) == (set(), None)


@pytest.mark.parametrize("status", [401, 403, 413])
def test_what_the_hub_says_is_not_repeated(hub: Hub, paths: dict[str, Path], status: int) -> None:
    hub.refuses = status
    with pytest.raises(TrackyardError) as caught:
        push(plan_push(paths, REPO), endpoint=hub.url)
    assert f"HTTP {status}" in caught.value.what
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_file_that_changed_after_its_search_is_not_sent(hub: Hub, paths: dict[str, Path]) -> None:
    plan = plan_push(paths, REPO)
    paths["README.md"].write_text(f"# A card\n{SECRET}\n")
    with pytest.raises(DataError, match="has changed since it was searched"):
        push(plan, endpoint=hub.url)
    assert (hub.tokens, hub.private) == (set(), None)


LEAKS = {
    SECRET: "a secret",
    "ghp_" + "a1B2" * 8: "a secret",
    "https://me:pass@example.org/x": "a secret",  # secret-scan: allow
    "the-very-word-of-the-shell": "a secret",
    "someone.private@example.org": "an e-mail address",
    "kept at /home/someone/models/a": "a path of a home folder",  # secret-scan: allow
    '"cache": "/Users/someone/models"': "a path of a home folder",  # secret-scan: allow
}


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
def test_every_file_is_searched_and_what_is_found_is_not_repeated(
    paths: dict[str, Path], name: str, leak: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUR_API_KEY", "the-very-word-of-the-shell")
    plan_push(paths, REPO)  # the same files without it pass
    data = paths[name].read_bytes()
    middle = len(data) // 2
    paths[name].write_bytes(data[:middle] + b"\n" + leak.encode() + b"\n" + data[middle:])
    with pytest.raises(DataError) as caught:
        plan_push(paths, REPO)
    assert caught.value.what == f"{name} holds {LEAKS[leak]}"
    assert leak not in str(caught.value)


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_weights_are_not_taken_for_secrets(seed: int) -> None:
    weights = np.random.default_rng(seed).standard_normal(200_000).astype(np.float32).tobytes()
    assert secret_in(weights, Redactor({})) is None


@pytest.mark.parametrize("repo", ["export", "a/b/c", "../x", "a b/c", "/x", "https://hub/a/b"])
def test_what_is_no_repository(paths: dict[str, Path], repo: str) -> None:
    with pytest.raises(ConfigError, match="is no repository"):
        plan_push(paths, repo)


def test_an_absent_file_and_the_identity_of_a_plan(paths: dict[str, Path]) -> None:
    plan = plan_push(paths, REPO)
    assert plan.bytes == sum(path.stat().st_size for path in paths.values())
    assert plan_push(dict(reversed(paths.items())), REPO).digest == plan.digest
    assert plan_push(paths, "someone/other").digest != plan.digest
    paths["README.md"].write_text("# Another card\n")
    assert plan_push(paths, REPO).digest != plan.digest
    paths["README.md"].unlink()
    with pytest.raises(DataError, match=r"README\.md cannot be read"):
        plan_push(paths, REPO)
