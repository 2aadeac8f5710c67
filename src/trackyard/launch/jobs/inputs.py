"""What a job must find as it was at its submission, in digests: its command, what its stage depends on, and sources.

Sources are what no stage makes, files of the checkout and parameters, of the stage and of every stage before it. Most
stages of datacomp, pile_ffn and nine depend on them by way of their first stage alone, and execute the code that lies
there all the same. Data that a .dvc file tells of are looked at for the stages that depend on them themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trackyard.digest import digest_json
from trackyard.errors import TrackyardError
from trackyard.launch.jobs.dvc_stages import is_made, opened, stages_of
from trackyard.launch.jobs.graph import Job
from trackyard.launch.jobs.locked import waited_lock

if TYPE_CHECKING:
    from dvc.dependency.base import Dependency
    from dvc.repo import Repo
    from dvc.stage import Stage
    from dvc_data.hashfile.hash_info import HashInfo

COMMAND = "its command"
"""The key of a stage's own command."""
MISSING = "missing"
"""In place of the digest of a dependency that is not there."""


class Digests:
    """Digests as they are when they are first asked for: each path is hashed once. Keys are paths relative to the root;
    of parameters FILE:NAME.
    """

    def __init__(self, repo: Repo) -> None:
        from dvc.repo.reproduce import get_active_graph

        self._graph = get_active_graph(repo.index.graph)
        self._outputs = {Path(out.fs_path) for stage in repo.index.stages for out in stage.outs}
        self._above_outputs = {parent for out in self._outputs for parent in out.parents}
        self._hashed: dict[Path, str] = {}
        self._sources: dict[Stage, dict[str, str]] = {}

    def inputs(self, stage: Stage) -> dict[str, str]:
        """All that `stage` is made from: its dependencies, and what `behind` gives."""
        return self.behind(stage) | {key: digest for key, _, digest in self.dependencies(stage)}

    def behind(self, stage: Stage) -> dict[str, str]:
        """Its command, and the sources of the stages that it comes from."""
        from networkx import descendants

        found = {COMMAND: _command(stage)}
        for before in descendants(self._graph, stage):
            if is_made(before):
                found |= self._sources_of(before)
        return found

    def dependencies(self, stage: Stage) -> Iterator[tuple[str, Path, str]]:
        """What `stage` itself depends on: key, path, and digest or MISSING."""
        for dependency in stage.deps:
            yield from self._entries(dependency)

    def _sources_of(self, stage: Stage) -> dict[str, str]:
        if stage not in self._sources:
            self._sources[stage] = {
                key: digest
                for dependency in stage.deps
                if not self._touches_an_output(Path(dependency.fs_path))
                for key, _, digest in self._entries(dependency)
            }
        return self._sources[stage]

    def _touches_an_output(self, path: Path) -> bool:
        return path in self._above_outputs or not self._outputs.isdisjoint((path, *path.parents))

    def _entries(self, dependency: Dependency) -> Iterator[tuple[str, Path, str]]:
        key, path = _key(dependency), Path(dependency.fs_path)
        if _is_parameters(dependency):
            yield from ((name, path, digest) for name, digest in _parameters(key, dependency, dependency.read_params()))
            return
        if path not in self._hashed:
            self._hashed[path] = _digest(dependency.get_hash()) if dependency.exists else MISSING
        yield key, path, self._hashed[path]


def inputs_now(root: Path, stage: str) -> dict[str, str]:
    """Digests of all that the stage at an address is made from, as it is now, by key."""
    with opened(root) as repo:
        (found,), digests = _read(repo, root, [stage])
        return digests.inputs(found)


def recorded_inputs(stage: Stage) -> dict[str, str]:
    """Digests of its command and of its own dependencies as dvc.lock has them; no file is read."""
    found = {COMMAND: _command(stage)} if not stage.cmd_changed else {}
    for dependency in stage.deps:
        key = _key(dependency)
        if _is_parameters(dependency):
            found |= dict(_parameters(key, dependency, dependency.hash_info.value or {}))
        else:
            found[key] = _digest(dependency.hash_info)
    return found


def hash_ahead(root: Path, stage: str, *, outputs: bool) -> None:
    """Hash what the stage at an address is made from, and its outputs if these will be asked for.

    DVC keeps hashes by time and size of a file, on this node: whoever asks on it again reads no file that is the same.
    So jobs on other nodes need not wait for terabytes to be read while one has its turn.
    """
    with opened(root) as repo:
        (found,), digests = _read(repo, root, [stage])
        digests.inputs(found)
        for out in found.outs if outputs else ():
            if out.exists:
                out.get_hash()


def require_jobs_same(root: Path, jobs: Sequence[Job]) -> None:
    """TrackyardError where one of `jobs` would refuse to start."""
    with opened(root) as repo:
        stages, digests = _read(repo, root, [job.stage for job in jobs])
        for job, stage in zip(jobs, stages, strict=True):
            require_same_inputs(job.stage, job.inputs, digests.inputs(stage), since="it was submitted")


def require_same_inputs(stage: str, then: Mapping[str, str], now: Mapping[str, str], *, since: str) -> None:
    """TrackyardError naming the inputs of `then` that are others in `now`."""
    changed = sorted(path for path, digest in then.items() if now.get(path) != digest)
    if changed:
        shown = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise TrackyardError(
            what=f"inputs of {stage} changed since {since}: {shown}",
            why="the result would be recorded as made from other code, parameters or data than it was",
            fix=f"bring them back and `trackyard retry`, or take them as they are: `trackyard submit {stage}`",
        )


def _read(repo: Repo, root: Path, addresses: Sequence[str]) -> tuple[list[Stage], Digests]:
    """Stages at addresses, and what hashes for them. DVC's lock is held while they are read, not for the hashing."""
    with waited_lock(repo):
        return [stage for one in addresses for stage in stages_of(repo, root, one)], Digests(repo)


def _is_parameters(dependency: Dependency) -> bool:
    from dvc.dependency.param import ParamsDependency

    return isinstance(dependency, ParamsDependency)


def _parameters(file: str, dependency: Dependency, values: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name in dependency.params or sorted(values):
        yield f"{file}:{name}", f"value:{digest_json(values[name])}" if name in values else MISSING


def _key(dependency: Dependency) -> str:
    return Path(os.path.relpath(dependency.fs_path, dependency.repo.root_dir)).as_posix()


def _command(stage: Stage) -> str:
    return f"command:{digest_json(stage.cmd)}"


def _digest(found: HashInfo) -> str:
    return f"{found.name}:{found.value}"
