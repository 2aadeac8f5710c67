"""A small world for the data commands: a root with a catalogue of its own, a hub, a web, and a shell to type into.

Entries: `pinned` and `moving` (a repository, with a commit and without), `gated` (needs TOKEN), `pictures` (images by
URL, of which some are lost and some come late), `packed` (an archive by URL), `by-hand` (a person brings it), `asks`
(has everything from `by-hand`), `rows` (a table that catalog/mappings/rows.yaml makes a dataset of), `gone` (nowhere).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tests.loopback.hostile import HostileServer, Served
from tests.loopback.hub import LoopbackHub
from tests.loopback.stage1 import picture
from trackyard.cli.main import main

ROOT = Path(__file__).parents[2]
TOKEN = "hf_" + "canary" * 5
"""Shaped like a hub token. It must appear in no output."""
PICTURES, LOST, LATE = 12, 2, 3
LAYOUT = {"train.json": b"[]", "images/1.jpg": b"one", "images/2.jpg": b"two"}
MAPPING = """
dataset: rows
licence: CC0-1.0
source: "*.parquet"
task: text_sft
messages: messages
"""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """Exactly one document on stdout, with a schema."""
        body: dict[str, Any] = json.loads(self.out)
        name, _, version = body["schema"].partition("/")
        assert name.startswith("trackyard-")
        assert version.isdigit()
        return body

    def errors(self) -> list[dict[str, str]]:
        """The three parts of each error on stderr."""
        found: list[dict[str, str]] = []
        for line in self.err.splitlines():
            if line.startswith(("error: ", "stopped: ")):
                found.append({"class": line.split(": ")[1]})
            elif found and line[:6] in ("what: ", "why:  ", "fix:  "):
                found[-1][line[:4].rstrip(": ")] = line[6:]
        assert all(set(parts) == {"class", "what", "why", "fix"} for parts in found), self.err
        return found


class World:
    """The root and its servers. Calling it types a command line in this process."""

    def __init__(self, root: Path, hub: LoopbackHub, web: HostileServer) -> None:
        self.root, self.hub, self.web = root, hub, web
        self.environment = {
            "HF_HOME": str(root / "hf"), "HF_TOKEN": TOKEN,
            "TRACKYARD_ALLOW_ADDRESSES": "127.0.0.0/8", "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(root / "cache"),
        }  # fmt: skip

    def __call__(self, *line: str, **environment: str) -> Done:
        out, err = io.StringIO(), io.StringIO()
        code: Any = 0
        if line[:2] == ("data", "fetch"):
            # huggingface_hub reads HF_ENDPOINT once, when it is imported.
            line = (*line, "--endpoint", self.hub.url)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.root)
            patch.setattr(sys, "argv", ["trackyard", *line])
            for name, value in (self.environment | environment).items():
                patch.setenv(name, value)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                except SystemExit as stop:
                    code = stop.code or 0
        assert TOKEN not in out.getvalue() + err.getvalue()
        return Done(int(code), out.getvalue(), err.getvalue())

    def start(self, *line: str) -> subprocess.Popen[str]:
        """Type it in a process group of its own."""
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRACKYARD_"))}
        environment = plain | self.environment | {"HF_ENDPOINT": self.hub.url}
        return subprocess.Popen(
            [sys.executable, "-c", "from trackyard.cli.main import main; main()", *line],
            cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip

    def files(self) -> dict[str, bytes]:
        """Everything below the root but maps of shards: whatever reads rows keeps those in the user's cache folder."""
        found = [path for path in self.root.rglob("*") if path.is_file() and path.suffix != ".map"]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in found}

    def asked(self) -> tuple[int, int]:
        """Requests so far to the hub, and to the web."""
        return len(self.hub.log), len(self.web.seen)


def table(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
    return buffer.getvalue()


@contextlib.contextmanager
def servers() -> Iterator[tuple[LoopbackHub, HostileServer]]:
    with LoopbackHub() as hub, HostileServer() as web:
        yield hub, web


def make_world(root: Path, hub: LoopbackHub, web: HostileServer) -> World:
    """A root without data, and servers as at the beginning."""
    hub.repositories.clear()
    hub.faults.clear()
    hub.forget_log()
    hub.bytes_per_s = None
    web.seen.clear()
    web.files.clear()
    messages = [[{"role": "user", "content": f"Say {n}."}, {"role": "assistant", "content": str(n)}] for n in range(5)]
    addresses = [{"image_url": web.url(f"/file/{n}.jpg"), "caption": f"noise {n}"} for n in range(PICTURES)]
    commits = {
        "pinned": hub.add_repository("owner/pinned", {"data.parquet": table([{"n": n} for n in range(9)])}),
        "rows": hub.add_repository("owner/rows", {"data.parquet": table([{"messages": m} for m in messages])}),
        "pictures": hub.add_repository("owner/pictures", {"data.parquet": table(addresses)}),
    }
    hub.add_repository("owner/moving", {"data.parquet": table([{"n": 1}])})
    hub.add_repository("owner/gated", {"data.parquet": table([{"n": 1}])}, gated=True, token=TOKEN)
    for number in range(LOST + LATE, PICTURES):
        web.files[f"{number}.jpg"] = Served(picture(number))
    web.files["packed.zip"] = Served(zipped({"a.txt": b"a", "b/c.txt": b"c"}))

    root.mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    (root / "catalog" / "mappings").mkdir(parents=True)
    (root / "catalog" / "mappings" / "rows.yaml").write_text(MAPPING)
    entries = _entries(web, commits)
    defaults = {"roles": ["train"], "group": "sft:image_qa", "media": "image", "access": "auto", "stages": [2]}
    (root / "catalog" / "own.yaml").write_text(yaml.safe_dump({"defaults": defaults, "datasets": entries}))
    return World(root, hub, web)


def _entries(web: HostileServer, commits: Mapping[str, str]) -> list[dict[str, Any]]:
    packed = web.files["packed.zip"].body
    manual = {"page": "https://example.org/form", "steps": ["Fill in the form.", "Download task 3."]}
    embedded = {"kind": "embedded"}

    def hub(name: str, **more: Any) -> list[dict[str, Any]]:
        revision = {"revision": commits[name]} if name in commits else {}
        return [{"repo": f"owner/{name}"} | revision | more]

    archive = {
        "name": "packed.zip", "url": web.url("/file/packed.zip"), "bytes": len(packed),
        "sha256": hashlib.sha256(packed).hexdigest(), "unpack": ".",
    }  # fmt: skip
    entries: list[dict[str, Any]] = [
        {"name": "pinned", "recipe": embedded, "hub": hub("pinned")},
        {"name": "moving", "recipe": embedded, "hub": hub("moving")},
        {"name": "gated", "recipe": embedded, "hub": hub("gated", gated=True)},
        {"name": "rows", "media": "text", "recipe": {"kind": "none"}, "hub": hub("rows")},
        {
            "name": "pictures", "access": "url", "hub": hub("pictures"),
            "recipe": {"kind": "urls", "url_column": "image_url"},
        },
        {"name": "packed", "recipe": {"kind": "archives", "archives": [archive]}},
        {
            "name": "by-hand", "access": "manual", "recipe": {"kind": "manual"},
            "manual": manual | {"layout": ["train.json", "images"]},
        },
        {
            "name": "by-hand-too", "access": "manual", "recipe": {"kind": "manual"},
            "manual": manual | {"layout": ["other.json"]},
        },
        {"name": "asks", "access": "manual", "recipe": {"kind": "none"}, "manual": manual, "needs": ["by-hand"]},
        {"name": "gone", "access": "none", "recipe": embedded, "notes": ["Its publisher took it back."]},
    ]  # fmt: skip
    return [{"title": entry["name"]} | entry for entry in entries]
