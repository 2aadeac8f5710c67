"""A batch job for tests of what is made of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trackyard.launch.slurm.batch import BatchJob, Request

REQUEST = Request(
    partition="ai",
    account="proj",
    nodes=2,
    tasks_per_node=4,
    gpus_per_node=4,
    cores_per_task=24,
    memory_mb_per_node=960_000,
    minutes=2880,
)


def batch_job(**changes: Any) -> BatchJob:
    fields: dict[str, Any] = {
        "name": "20261122-ab.stage2.1",
        "request": REQUEST,
        "command": ("python", "-m", "trackyard", "work", "20261122-ab", "stage2"),
        "cwd": Path("/project/study"),
        "output": Path("/project/study/runs/jobs/ab/stage2/log.txt"),
        "lead_s": 300,
    }
    return BatchJob(**(fields | changes))
