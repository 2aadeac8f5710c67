"""The stages of a repository with what dvc.lock records of them, read through DVC itself.

DVC resolves working directories, matrices and variables; nothing here asks its cache of modification times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackyard.errors import ConfigError, DataError
from trackyard.record.lineage.dvc_tree import below, is_directory, read_listing

PIPELINES = "pipelines"
"""The folder of the pipelines: a stage is called after what is below it."""

_MD5 = "md5"
"""What DVC 3 calls its hash; DVC 2 had one that changed line endings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """An output or a dependency. path: relative to the repository; digest: as dvc.lock has it, None where it has none.

    size: bytes. files: how many, of a folder.
    """

    path: str
    digest: str | None
    size: int | None
    files: int | None

    def holds(self, path: str) -> bool:
        """True if `path` is this, or lies in it."""
        return path == self.path or path.startswith(f"{self.path}/")

    def lies_in(self, path: str) -> bool:
        """True if this lies in the folder `path`."""
        return self.path.startswith(f"{path}/")

    def part(self, listing: Mapping[str, str], path: str) -> dict[str, str]:
        """md5 by path in the repository, of the files of this that `path` is or holds. listing: of this."""
        full = {f"{self.path}/{name}" if name else self.path: md5 for name, md5 in listing.items()}
        if path in full:
            return {path: full[path]}
        return {f"{path}/{name}": md5 for name, md5 in below(full, path).items()}

    @property
    def words(self) -> str:
        """How much it is, and its digest."""
        if self.digest is None:
            return "not in dvc.lock"
        count = self.files or 1
        return f"{count} file{'s' * (count != 1)}, {self.size or 0:,} bytes, md5 {self.digest}"


@dataclass(frozen=True, kw_only=True, slots=True)
class StageRecord:
    """A stage. address: what `dvc repro` takes; of a .dvc file, its path. data: True for a .dvc file.

    parameters: (file, key) -> the value in dvc.lock and the value in the file now; one that is absent is left out.
    """

    address: str
    about: str
    command: str
    command_changed: bool
    data: bool
    deps: tuple[Entry, ...]
    outs: tuple[Entry, ...]
    recorded: Mapping[tuple[str, str], Any]
    current: Mapping[tuple[str, str], Any]

    @property
    def name(self) -> str:
        """How messages call it: "stage pile_ffn:train@baseline-42"; unique over files."""
        file, _, stage = self.address.rpartition(":")
        folder = Path(file).parent.as_posix() if file else "."
        folder = folder.removeprefix(f"{PIPELINES}/")
        return f"stage {stage}" if folder == "." else f"stage {folder}:{stage}"

    @property
    def locked(self) -> bool:
        """True if dvc.lock says what it put out."""
        return all(out.digest for out in self.outs)


@dataclass(frozen=True, kw_only=True, slots=True)
class Produced:
    """An output, and the stage that puts it out."""

    stage: StageRecord
    out: Entry


@dataclass(frozen=True, kw_only=True, slots=True)
class StageGraph:
    """Every stage of a repository. cache: where DVC keeps the lists of folders.

    walk: below a folder, its path with the names of its folders and files, without what .dvcignore excludes.
    """

    root: Path
    stages: tuple[StageRecord, ...]
    cache: Path
    walk: Callable[[str], Iterator[tuple[str, list[str], list[str]]]]
    _listings: dict[str, dict[str, str] | None] = field(default_factory=dict)

    def producers(self, path: str) -> list[Produced]:
        """Who puts out `path`, what it lies in, or what lies in it."""
        every = [Produced(stage=stage, out=out) for stage in self.stages for out in stage.outs]
        return [one for one in every if one.out.holds(path)] or [one for one in every if one.out.lies_in(path)]

    def listing(self, entry: Entry) -> dict[str, str] | None:
        """The md5 of the files of an entry by their path in it, "" for that of a single file; None: not at hand."""
        if entry.digest is None or not is_directory(entry.digest):
            return None if entry.digest is None else {"": entry.digest}
        if entry.digest not in self._listings:
            self._listings[entry.digest] = read_listing(self.cache, entry.digest)
        return self._listings[entry.digest]

    def files(self, path: str) -> Iterator[Path]:
        """The files of a folder that DVC does not ignore, and links to folders: it follows none, whoever reads may."""
        for folder, folders, files in self.walk(str(self.root / path)):
            linked = (Path(folder, name) for name in folders)
            yield from (path for path in linked if path.is_symlink())
            yield from (Path(folder, name) for name in files)


def read_graph(repository: Path) -> StageGraph:
    """Every stage below `repository`; ConfigError if it is no DVC repository, DataError if DVC cannot load it."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.fs import localfs
    from dvc.repo import Repo
    from dvc.stage.exceptions import StageFileDoesNotExistError

    root = repository.resolve()
    try:
        with Repo(str(root)) as repo:
            stages = tuple(_record(stage, root) for stage in repo.index.stages)
            cache = Path(repo.cache.local.path)
            ignore = repo.dvcignore
    except NotDvcRepoError as error:
        raise ConfigError(
            what=f"{root} is no DVC repository: {error}",
            why="which stage made a file, and of what, stands in its dvc.yaml and dvc.lock",
            fix="run the command in the repository root",
        ) from error
    except (DvcException, StageFileDoesNotExistError) as error:
        raise DataError(
            what=f"DVC cannot load the stages of {root}: {error}",
            why="one broken dvc.yaml or dvc.lock leaves every chain through it unproved",
            fix="`dvc status` says which; `git checkout -- <the file>` restores it",
        ) from error
    return StageGraph(root=root, stages=stages, cache=cache, walk=lambda path: ignore.walk(localfs, path))


def _record(stage: Any, root: Path) -> StageRecord:
    from dvc.dependency import ParamsDependency

    parameters = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
    recorded: dict[tuple[str, str], Any] = {}
    current: dict[tuple[str, str], Any] = {}
    for dep in parameters:
        file = Path(dep.fs_path).relative_to(root).as_posix()
        recorded |= {(file, key): value for key, value in (dep.hash_info.value or {}).items()}
        current |= {(file, key): value for key, value in dep.read_params().items()}
    file, name = Path(stage.path).relative_to(root).as_posix(), str(getattr(stage, "name", ""))
    return StageRecord(
        address=file if stage.is_data_source else name if file == "dvc.yaml" else f"{file}:{name}",
        about=stage.desc or "",
        command=str(stage.cmd or ""),
        command_changed=not stage.is_data_source and stage.cmd_changed,
        data=stage.is_data_source,
        deps=tuple(_entry(dep, root) for dep in stage.deps if dep not in parameters),
        outs=tuple(_entry(out, root) for out in stage.outs),
        recorded=recorded,
        current=current,
    )


def _entry(item: Any, root: Path) -> Entry:
    path = Path(item.fs_path)
    known = item.hash_info.name == _MD5 and item.protocol == "local"
    return Entry(
        path=path.relative_to(root).as_posix() if path.is_relative_to(root) else str(item.fs_path),
        digest=(item.hash_info.value or None) if known else None,
        size=item.meta.size if item.meta else None,
        files=item.meta.nfiles if item.meta else None,
    )
