"""What a hub repository holds, file by file, with the digest that proves it; where it comes from, where its copy lies.

Large files (LFS, xet) are known by the SHA-256 of their bytes, ordinary ones by their git blob id: SHA-1 over
"blob <bytes>\\0" and the bytes. The layout is the one of huggingface_hub's own cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from trackyard.catalog.entries import UNPINNED, HubSource
from trackyard.errors import ConfigError, DataError

RepositoryKind = Literal["dataset", "model"]

BRANCH = "main"
"""What an unpinned source means."""

CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """One file of a repository at one commit. Exactly one digest is known.

    sha256: of the bytes, for files in large-file storage. git_sha1: git blob id of the others.
    Raises DataError on a path that leads out of the snapshot: the list comes from outside.
    """

    path: str
    bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    def __post_init__(self) -> None:
        parts = PurePosixPath(self.path)
        if not self.path or parts.is_absolute() or ".." in parts.parts or "\\" in self.path or str(parts) != self.path:
            raise DataError(
                what=f"the hub lists a file {self.path!r}",
                why="a file is only written below its snapshot folder",
                fix="do not use this repository; report the path to its owner",
            )
        if (self.sha256 is None) == (self.git_sha1 is None):
            raise DataError(
                what=f"the hub states {'no' if self.sha256 is None else 'more than one'} digest for {self.path}",
                why="a file is accepted when its one digest is equal, and not otherwise",
                fix="run the command again; if it stays so, the endpoint is not a hub",
            )

    @property
    def digest(self) -> str:
        """The known digest; huggingface_hub names the blob by it."""
        return self.sha256 or self.git_sha1 or ""

    def fault(self, path: Path, *, full: bool) -> Literal["missing", "size", "digest"] | None:
        """What is wrong with the copy at `path`: presence and size always, the digest when `full`."""
        try:
            size = path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return "missing"
        if size != self.bytes:
            return "size"
        return "digest" if full and self._digest_of(path) != self.digest else None

    def _digest_of(self, path: Path) -> str:
        if self.sha256 is not None:
            hasher = hashlib.sha256()
        else:
            hasher = hashlib.sha1(b"blob %d\0" % self.bytes, usedforsecurity=False)
        with open(path, "rb") as handle:
            while chunk := handle.read(CHUNK):
                hasher.update(chunk)
        return hasher.hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """All files of a repository at `commit` (40 hex digits).

    pinned: False where the catalogue fixes no revision and `commit` is where `main` stood when asked.
    gated: its terms must be accepted before a file is handed out.
    """

    repo: str
    kind: RepositoryKind
    commit: str
    files: tuple[RemoteFile, ...]
    pinned: bool
    gated: bool


def select_files(files: Sequence[RemoteFile], patterns: Iterable[str], *, repo: str) -> tuple[RemoteFile, ...]:
    """Files that any of `patterns` names (`*` crosses folders, "data/" means all below it); all without patterns.

    Raises ConfigError for a pattern that names nothing, DataError for a repository without files.
    """
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    patterns = tuple(patterns)
    if not files:
        raise DataError(
            what=f"the repository {repo} holds no file",
            why="an empty copy would pass every check",
            fix="correct `repo` or `revision` of the entry in catalog/",
        )
    if not patterns:
        return tuple(files)
    chosen: set[str] = set()
    for pattern in patterns:
        matching = set(filter_repo_objects([file.path for file in files], allow_patterns=[pattern]))
        if not matching:
            raise ConfigError(
                what=f"the pattern {pattern!r} matches none of the {len(files)} files of {repo}",
                why="what it should bring would be missing without notice",
                fix=f"correct `files` of the entry in catalog/; the repository holds {_sample(files)}",
            )
        chosen |= matching
    return tuple(file for file in files if file.path in chosen)


def _sample(files: Sequence[RemoteFile]) -> str:
    names = ", ".join(file.path for file in files[:5])
    return names if len(files) <= 5 else f"{names}, ..."


@dataclass(frozen=True, kw_only=True, slots=True)
class HubAddress:
    """One repository of one hub. endpoint: without a slash at its end; revision: a commit, or the branch main."""

    endpoint: str
    repo: str
    kind: RepositoryKind
    revision: str

    @classmethod
    def of(cls, source: HubSource, endpoint: str | None, kind: RepositoryKind) -> HubAddress:
        """endpoint: None for the one of HF_ENDPOINT."""
        from huggingface_hub import constants

        revision = source.revision if source.revision != UNPINNED else BRANCH
        return cls(
            endpoint=(endpoint or constants.ENDPOINT).rstrip("/"), repo=source.repo, kind=kind, revision=revision
        )

    @property
    def page(self) -> str:
        """Where people see it."""
        return f"{self.endpoint}/{'datasets/' if self.kind == 'dataset' else ''}{self.repo}"

    @property
    def api(self) -> str:
        return f"{self.endpoint}/api/{self.kind}s/{self.repo}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CachePlace:
    """Where one repository lies in a hub cache. cache: $HF_HUB_CACHE, or $HF_HOME/hub."""

    cache: Path
    repo: str
    kind: RepositoryKind

    @property
    def folder(self) -> str:
        return f"{self.kind}s--{self.repo.replace('/', '--')}"

    @property
    def storage(self) -> Path:
        """Holds blobs/, refs/ and snapshots/."""
        return self.cache / self.folder

    @property
    def locks(self) -> Path:
        """Holds huggingface_hub's lock per blob."""
        return self.cache / ".locks" / self.folder

    @property
    def main(self) -> Path:
        """Names the commit that stands for `main` offline."""
        return self.storage / "refs" / BRANCH

    @property
    def exclusive(self) -> Path:
        """Lock of trackyard: one process at a time changes this copy."""
        return self.cache / "trackyard" / f"{self.folder}.lock"

    def record(self, commit: str) -> Path:
        return self.cache / "trackyard" / self.folder / f"{commit}.json"

    def snapshot(self, commit: str) -> Path:
        return self.storage / "snapshots" / commit
