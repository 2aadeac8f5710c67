"""Graphs of jobs for tests that need no repository: names and whom they wait for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trackyard.launch.jobs.graph import Graph, Job
from trackyard.launch.jobs.store import Kept, new_graph
from trackyard.launch.slurm.batch import Request

REQUEST = Request(
    partition="gpus",
    account=None,
    nodes=1,
    tasks_per_node=1,
    gpus_per_node=1,
    cores_per_task=2,
    memory_mb_per_node=1000,
    minutes=60,
)


def job(name: str, *after: str, array: str | None = None, index: int | None = None, **changes: Any) -> Job:
    """A job that makes a stage of its own name."""
    fields: dict[str, Any] = {
        "name": name,
        "stage": name,
        "command": ("trackyard", "run", "toy", name),
        "needs": "gpu",
        "reason": "never run",
        "detail": "",
        "request": REQUEST,
        "after": after,
        "array": array,
        "index": index,
        "commits": True,
        "inputs": {"notes.txt": "md5:abc"},
    }
    return Job(**(fields | changes))


def kept(root: Path, *jobs: Job, id: str = "toy-1", upstream: tuple[str, ...] | None = None, **changes: Any) -> Kept:
    fields: dict[str, Any] = {
        "id": id,
        "site": "toy",
        "targets": (jobs[-1].stage,),
        "created": f"2026-01-01T00:00:00.{id[-1]}",
        "commit": "0" * 40,
        "jobs": jobs,
        "upstream": tuple(one.stage for one in jobs) if upstream is None else upstream,
    }
    return new_graph(root, Graph(**(fields | changes)))
