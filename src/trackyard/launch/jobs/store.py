"""Graphs of jobs on disk, below runs/jobs/: what was asked for, what was submitted, how each life and each job ended.

Every file is written as a whole and durably, so what was noted stays noted, and nobody reads half of it. A note is a
file of its own: a job, its submission and whoever cancels it note at the same time, and none waits for a lock.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from trackyard.durable import TEMPORARY, atomic_directory, write_atomic
from trackyard.errors import ConfigError, DataError
from trackyard.launch.jobs.graph import FOLDER, SCHEMA, Graph, Job
from trackyard.launch.slurm.batch import Request
from trackyard.launch.slurm.script import name_of
from trackyard.schema import read_document, write_document

GRAPH = "graph.json"
SUBMITTED = "submitted"
ATTEMPTS = "attempts"
ENDED = "ended.json"
SCRIPT = "job.sh"
NOTE = ".json"
END_SCHEMA = "trackyard-job-end/1"
_NAME = 24
"""Characters of a target that a graph's id begins with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The completion record of a job. at: UTC; slurm_id: of the submission that ended so."""

    state: Literal["done", "unchanged", "failed", "given up"]
    exit_code: int
    detail: str
    at: str
    slurm_id: str

    @property
    def well(self) -> bool:
        """Whether its outputs are there."""
        return self.state in ("done", "unchanged")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """A graph, and all that was noted of its jobs. root: of the repository."""

    root: Path
    graph: Graph

    @property
    def path(self) -> Path:
        return self.root / FOLDER / self.graph.id

    def folder(self, job: str) -> Path:
        """Of a job or an array, by name."""
        return self.path / job

    def log(self, job: str) -> Path:
        """What the job prints; it may not be there yet."""
        found = self.graph.job(job)
        if found.array is None:
            return self.folder(job) / "log.txt"
        return self.folder(found.array) / f"log-{found.index}.txt"

    def submissions(self, job: str) -> list[dict[str, Any]]:
        """The newest last, each with `slurm_id` (ID_INDEX of a task of an array) and `at`."""
        found = self.graph.job(job)
        if found.array is None:
            return self._notes(job, SUBMITTED)
        return [
            {"slurm_id": f"{line['slurm_id']}_{found.index}", "at": line["at"]}
            for line in self._notes(found.array, SUBMITTED)
            if found.index in line["indices"]
        ]

    def times_submitted(self, name: str) -> int:
        """Of a job alone, or of an array as a whole or in part."""
        return len(self._notes(name, SUBMITTED))

    def in_doubt(self, name: str) -> bool:
        """Whether the newest script of a job or array has a number that no note of a submission has: it was cut off."""
        try:
            script = (self.folder(name) / SCRIPT).read_text(encoding="utf-8")
        except FileNotFoundError:
            return False
        number = name_of(script).rpartition(".")[2]
        return int(number) > self.times_submitted(name)

    def note_submitted(self, name: str, slurm_id: str, indices: Sequence[int] | None = None) -> None:
        """Of a job alone; of an array with the indices that were submitted, in one note."""
        self._note(name, SUBMITTED, {"slurm_id": slurm_id} | ({} if indices is None else {"indices": list(indices)}))

    def attempts(self, job: str) -> list[dict[str, Any]]:
        """What was noted of the lives of a job, the newest last."""
        return self._notes(job, ATTEMPTS)

    def note_attempt(self, job: str, **fields: Any) -> None:
        self._note(job, ATTEMPTS, fields)

    def ended(self, job: str) -> Ended | None:
        """None where the job has written no end: it waits, lives, or was killed."""
        path = self.folder(job) / ENDED
        if not path.is_file():
            return None
        body = read_document(
            path,
            END_SCHEMA,
            fix=f"delete {path}, then `trackyard cancel {self.graph.id} {job}`, then `{self.graph.again}`",
        )
        return Ended(**{name: value for name, value in body.items() if name != "schema"})

    def note_ended(self, job: str, ended: Ended) -> None:
        write_document(self.folder(job) / ENDED, END_SCHEMA, dataclasses.asdict(ended))

    def _notes(self, name: str, kind: str) -> list[dict[str, Any]]:
        found = []
        for path in _in_order(self.folder(name) / kind):
            try:
                found.append(json.loads(path.read_bytes()))
            except ValueError as error:
                raise DataError(
                    what=f"{path} is damaged: {error}",
                    why="what was submitted decides what a retry submits once more",
                    fix=f"look into it; it is JSON. `squeue --me` lists what is alive of graph {self.graph.id}",
                ) from error
        return found

    def _note(self, name: str, kind: str, fields: dict[str, Any]) -> None:
        folder = self.folder(name) / kind
        # Behind all that is seen, however the clocks of two nodes differ.
        order = max([time.time_ns(), *(_order(path) + 1 for path in _in_order(folder)[-1:])])
        body = {**fields, "at": datetime.now(UTC).isoformat(timespec="seconds")}
        write_atomic(folder / f"{order:020}-{secrets.token_hex(4)}{NOTE}", json.dumps(body, ensure_ascii=False))


def _in_order(folder: Path) -> list[Path]:
    """Notes, the newest last."""
    return sorted(folder.glob(f"*{NOTE}"), key=lambda path: path.name)


def _order(note: Path) -> int:
    return int(note.name.partition("-")[0])


def fresh_id(target: str) -> str:
    """An id for a graph about `target` that no other has."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", target.removesuffix("/dvc.yaml").removeprefix("pipelines/")).strip("-")
    return f"{name[:_NAME].strip('-') or 'graph'}-{secrets.token_hex(3)}"


def new_graph(root: Path, graph: Graph) -> Kept:
    """Write a graph down. FileExistsError if there is one of that id."""
    with atomic_directory(root / FOLDER / graph.id) as folder:
        write_document(folder / GRAPH, SCHEMA, dataclasses.asdict(graph))
    return Kept(root=root, graph=graph)


def graphs(root: Path) -> list[Kept]:
    """All graphs, the newest first."""
    found = [
        _read(root, path.parent)
        for path in (root / FOLDER).glob(f"*/{GRAPH}")
        if not path.parent.name.startswith(TEMPORARY)
    ]
    return sorted(found, key=lambda kept: (kept.graph.created, kept.graph.id), reverse=True)


def open_graph(root: Path, id: str | None) -> Kept:
    """A graph by its id, or a beginning of it that no other has; None: the newest. ConfigError where there is none."""
    if id is not None and (root / FOLDER / id / GRAPH).is_file():
        return _read(root, root / FOLDER / id)
    there = graphs(root)
    if not there:
        raise ConfigError(
            what=f"there is no graph below {FOLDER}/",
            why="a graph is what `trackyard submit` makes of stages",
            fix="trackyard submit stage1 --dry-run",
        )
    if id is None:
        return there[0]
    found = [kept for kept in there if kept.graph.id.startswith(id)]
    if len(found) != 1:
        named = ", ".join(kept.graph.id for kept in (found or there)[:10])
        raise ConfigError(
            what=f"{len(found) or 'no'} graphs begin with {id!r}" if found else f"no graph begins with {id!r}",
            why=f"there are {named}" + (" and more" if len(found or there) > 10 else ""),
            fix="name one of them, or none for the newest",
        )
    return found[0]


def _read(root: Path, folder: Path) -> Kept:
    path = folder / GRAPH
    body = read_document(path, SCHEMA, fix=f"look into {folder}; to submit anew: trackyard submit TARGET")
    try:
        fields: dict[str, Any] = {name: value for name, value in body.items() if name not in ("schema", "jobs")}
        fields |= {name: tuple(fields[name]) for name in ("targets", "upstream")}
        graph = Graph(**fields, jobs=tuple(_job(one) for one in body["jobs"]))
    except (KeyError, TypeError) as error:
        raise DataError(
            what=f"{path} is damaged: {error!r}",
            why="what its jobs are is read from there",
            fix=f"look into it; `squeue --me` lists what is alive of graph {folder.name}",
        ) from error
    return Kept(root=root, graph=graph)


def _job(body: dict[str, Any]) -> Job:
    lists = {name: tuple(body[name]) for name in ("command", "after")}
    return Job(**cast("dict[str, Any]", body | lists | {"request": Request(**body["request"])}))
