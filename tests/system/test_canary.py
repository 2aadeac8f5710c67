"""Secrets go through everything that a run does, and are found in nothing that it leaves (reliability F24).

One is shaped like a hub's token; the other is plain words, the password of the tracking server. They stand in the
environment, in an address, on a command line, in a parameter and in the text of an exception.
"""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.system.mlflow_server import mlflow_server
from tests.system.repository import Ended, Repository, make_repository, stored_points
from tests.system.slow_mlflow import slow_mlflow

pytestmark = pytest.mark.system

TOKEN = "hf_" + "CaNaRy" * 6
PASSWORD = "quiet/harbour evening"
USER = "someone"
FORMS = tuple(
    form.encode()
    for secret in (TOKEN, PASSWORD)
    for form in (
        secret,
        quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(f"{USER}:{secret}".encode()).decode(),
    )
)
KNOWN = b"trackyard-run/1"
"""A word that belongs into files, which the same search must find."""
RAISES = """
import os, sys
from trackyard.cli import main
def app():
    raise RuntimeError("401 for " + os.environ["HF_TOKEN"] + " of " + os.environ["OWN_PASSWORD"])
main.app = app
main.main()
"""


class Telltale(http.server.BaseHTTPRequestHandler):
    """A tracking server that refuses, and repeats what it was sent in its answer."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        header = self.headers.get("Authorization", "none")
        text = base64.b64decode(header.partition(" ")[2] or b"").decode() if " " in header else header
        body = b'{"error_code": "PERMISSION_DENIED", "message": "%s is not allowed: %s"}' % (
            header.encode(),
            text.encode(),
        )
        self.send_response(200 if self.path == "/health" else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer

    def log_message(self, *_arguments: object) -> None:
        """Silence."""


class Sampler:
    """Looks at the command line of every process of this machine, again and again."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self.looks = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._end.wait(0.05):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    line = path.read_bytes()
                except OSError:
                    continue  # it has ended
                if any(form in line for form in FORMS):
                    self.seen.add(line)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def found_in(folder: Path, words: tuple[bytes, ...]) -> tuple[dict[bytes, list[str]], int]:
    """Files that hold a word, by word; and how many files were searched."""
    hits: dict[bytes, list[str]] = {word: [] for word in words}
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in files:
        data = path.read_bytes()
        for word in words:
            if word in data:
                hits[word].append(str(path.relative_to(folder)))
    return hits, len(files)


@contextmanager
def telltale() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Telltale)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_secrets(repository: Repository, host: str, folder: Path) -> Repository:
    for name in ("tmp", "cache"):
        (folder / name).mkdir(exist_ok=True)
    return repository.within(
        HF_TOKEN=TOKEN,
        OWN_PASSWORD=PASSWORD,
        MLFLOW_TRACKING_URI=f"http://{USER}:{quote(PASSWORD, safe='')}@{host}",
        TRACKYARD_SYNC_SECONDS="1",
        TMPDIR=str(folder / "tmp"),
        XDG_CACHE_HOME=str(folder / "cache"),
        HF_HOME=str(folder / "cache" / "hf"),
    )


def commands(repository: Repository) -> list[Ended]:
    """Everything that reads or writes the record of a run."""
    run = repository.run_directory("stage1").relative_to(repository.path)
    export = "artifacts/molmo2/stage1/export"
    return [
        repository.trackyard(*arguments)
        for arguments in (
            ("record", "sync"),
            ("record", "status"),
            ("lineage", "show", export),
            ("lineage", "graph", export, "--out", "chain.html"),
            ("compare", str(run), export),
            ("compare", "--track", "molmo2"),
            ("report", "--track", "molmo2"),
            ("publish", "card", "molmo2/stage1", "--out", "card.md"),
            ("publish", "export", "molmo2/stage1", "stock"),
            ("publish", "push", "stock", "--repo", "owner/name", "--endpoint", "http://127.0.0.1:9"),
        )
    ]


def test_secrets_are_in_nothing_that_a_run_leaves(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "work" / "root")
    ended: list[Ended] = []
    with Sampler() as sampler:
        with mlflow_server(tmp_path / "work" / "mlflow.db") as server, slow_mlflow(server) as front:
            repository = with_secrets(place, front.uri.removeprefix("http://"), tmp_path / "work")
            ended.append(repository.trackyard("run", "molmo2", "stage1"))
            assert ended[0].code == 0, ended[0]
            ended += commands(repository)
        with telltale() as host:
            refused = with_secrets(place, host, tmp_path / "work").trackyard("record", "sync")
            assert refused.code == 1, refused
            ended.append(refused)
        repository.edit(lambda values: values["stage1"]["optimiser"].update(note=TOKEN))
        ended.append(repository.trackyard("params"))
        assert ended[-1].code == 2
        (place.path / "params.yaml").unlink()  # it is the user's own, and holds what the user wrote
        raised = subprocess.run(
            [sys.executable, "-c", RAISES], env=repository._environment(), capture_output=True, text=True, check=False
        )
        assert raised.returncode == 1
        assert "RuntimeError: 401 for [redacted] of [redacted]" in raised.stderr
    printed = "".join(one.out + one.err for one in ended) + raised.stdout + raised.stderr
    assert [one for one in ended[:-2] if "Traceback" in one.err] == []
    assert len(printed) > 2_000
    assert [form for form in FORMS if form.decode() in printed] == []
    assert sampler.looks > 20
    assert sampler.seen == set()
    run = repository.run_directory("stage1")
    assert stored_points(tmp_path / "work" / "mlflow.db", run.name), "nothing was tracked"
    hits, searched = found_in(tmp_path / "work", (*FORMS, KNOWN))
    assert searched > 60
    assert hits.pop(KNOWN)
    assert {word: files for word, files in hits.items() if files} == {}


def test_a_secret_on_the_command_line_is_refused(tmp_path: Path) -> None:
    """The command that the user typed shows it; nothing that it starts or writes does."""
    place = make_repository(tmp_path / "root")
    for arguments in (
        ("data", "fetch", "stage1", "--endpoint", f"http://{USER}:{TOKEN}@127.0.0.1:9"),
        ("publish", "push", "stock", "--repo", TOKEN),
    ):
        parts = place.trackyard(*arguments)
        told = parts.error(2, "ConfigError")
        assert "command line" in told["what"]
        assert "HF_TOKEN" in told["fix"]
        assert TOKEN not in parts.out + parts.err
    hits, searched = found_in(tmp_path, (TOKEN.encode(), b"molmo2"))
    assert searched > 20
    assert hits[b"molmo2"]
    assert hits[TOKEN.encode()] == []


def test_the_search_and_the_sampler_would_have_found_it(tmp_path: Path) -> None:
    for number, form in enumerate(FORMS):
        (tmp_path / f"{number}.bin").write_bytes(b"\0before " + form + b" after")
    hits, searched = found_in(tmp_path, FORMS)
    assert searched == len(FORMS)
    assert all(hits.values())
    with Sampler() as sampler:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)", TOKEN], env=dict(os.environ))
        limit = time.monotonic() + 20
        while not sampler.seen and time.monotonic() < limit:
            time.sleep(0.05)
        child.kill()
        child.wait()
    assert len(sampler.seen) == 1
