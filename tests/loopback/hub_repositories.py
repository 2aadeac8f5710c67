"""Repositories of a loopback hub: files by commit, and their digests as the real hub states them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

LARGE_SUFFIXES = (".parquet", ".arrow", ".bin", ".safetensors", ".zst", ".zip", ".tar", ".gz", ".jpg", ".png", ".npy")
LARGE_BYTES = 1 << 20
"""Files of these kinds or sizes are in large-file storage, as the hub's own .gitattributes has it."""


def is_large(path: str, data: bytes) -> bool:
    return path.endswith(LARGE_SUFFIXES) or len(data) >= LARGE_BYTES


def git_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def commit_of(files: Mapping[str, bytes]) -> str:
    """A commit id that depends on every byte."""
    return hashlib.sha1(repr(sorted((path, sha256(data)) for path, data in files.items())).encode()).hexdigest()


@dataclass
class Repository:
    """commits: files by commit; branches: names of commits. token: the one that may read a gated or private one."""

    repo: str
    kind: str = "dataset"
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    token: str | None = None
    stated: dict[str, bytes] = field(default_factory=dict)
    """Bytes that the lists describe in place of the true ones: a hub that contradicts itself."""

    def resolve(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.branches.get(revision)

    def entry(self, path: str, data: bytes) -> dict[str, Any]:
        """One file as /tree states it."""
        data = self.stated.get(path, data)
        if is_large(path, data):
            pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n"
            oid = git_sha1(pointer.encode())
            large = {"oid": sha256(data), "size": len(data), "pointerSize": len(pointer)}
            return {"type": "file", "oid": oid, "size": len(data), "path": path, "lfs": large}
        return {"type": "file", "oid": git_sha1(data), "size": len(data), "path": path}

    def tree(self, commit: str, below: str, *, recursive: bool) -> list[dict[str, Any]]:
        """Files and folders below a folder ("" for the root), in the order of their paths."""
        found: dict[str, dict[str, Any]] = {}
        for path, data in self.commits[commit].items():
            if below and not path.startswith(f"{below}/"):
                continue
            for parent in list(PurePosixPath(path).parents)[:-1]:
                name = str(parent)
                if name != below and (not below or name.startswith(f"{below}/")):
                    oid = hashlib.sha1(f"{commit}/{name}".encode()).hexdigest()
                    found[name] = {"type": "directory", "oid": oid, "size": 0, "path": name}
            found[path] = self.entry(path, data)
        entries = [found[path] for path in sorted(found)]
        depth = len(PurePosixPath(below).parts) + 1 if below else 1
        return entries if recursive else [e for e in entries if len(PurePosixPath(e["path"]).parts) == depth]

    def info(self, commit: str, *, blobs: bool) -> dict[str, Any]:
        siblings = []
        for path, data in sorted(self.commits[commit].items()):
            sibling: dict[str, Any] = {"rfilename": path}
            if blobs:
                entry = self.entry(path, data)
                sibling |= {"size": entry["size"], "blobId": entry["oid"]}
                if "lfs" in entry:
                    large = entry["lfs"]
                    sibling["lfs"] = {
                        "sha256": large["oid"],
                        "size": large["size"],
                        "pointerSize": large["pointerSize"],
                    }
            siblings.append(sibling)
        return {
            "_id": "0" * 24,
            "id": self.repo,
            "sha": commit,
            "private": self.private,
            "gated": "auto" if self.gated else False,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "siblings": siblings,
        }
