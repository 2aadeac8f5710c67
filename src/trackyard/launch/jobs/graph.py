"""A graph of jobs as it is kept on disk: made once when it is submitted, never changed; what happens lies beside it.

runs/jobs/<graph>/graph.json                      this
runs/jobs/<graph>/<job or array>/submitted/       a file for each submission: Slurm id, at; indices of an array
runs/jobs/<graph>/<job>/attempts/                 a file for each life of the job, and one for its end
runs/jobs/<graph>/<job>/ended.json                the completion record, written by the job itself
runs/jobs/<graph>/<job>/log.txt                   its output, appended to over requeues
runs/jobs/<graph>/<job or array>/job.sh           the batch script, of the newest submission
runs/jobs/<graph>/<array>/log-<index>.txt         the output of a task of an array, in place of log.txt
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trackyard.launch.slurm.batch import Request

SCHEMA = "trackyard-jobs/1"
FOLDER = Path("runs") / "jobs"

Reason = Literal["never run", "inputs changed", "outputs changed", "forced", "after a stale stage"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One stage as a job, or one part of a stage that is divided.

    name: unique in its graph, safe as a file name. stage: as `dvc repro` takes it (stage2,
    pipelines/pile_ffn/dvc.yaml:train@baseline-42). command: the stage's own, from dvc.yaml. after: names of jobs of
    this graph. array: name of the array that it is a task of, index: its place there; None where it is a job alone.
    commits: whether its outputs are committed to DVC when it has succeeded; a part of a divided stage commits nothing.
    inputs: digests by path, as they were when the graph was submitted, of the stage's command, of its dependencies
    that no job of this graph makes, and of the sources of the stages before it (`inputs.py`).
    """

    name: str
    stage: str
    command: tuple[str, ...]
    needs: str
    reason: Reason
    detail: str
    request: Request
    after: tuple[str, ...]
    array: str | None
    index: int | None
    commits: bool
    inputs: dict[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    """What one `trackyard submit` asked for. jobs: in an order in which each comes after those it waits for.

    upstream: addresses of all stages that the targets are made from, theirs and those that are up to date included.
    """

    id: str
    site: str
    targets: tuple[str, ...]
    created: str
    commit: str
    jobs: tuple[Job, ...]
    upstream: tuple[str, ...] = ()

    @property
    def awaited(self) -> bool:
        """Whether it is the job of a `dvc repro`, which waits for it and commits itself."""
        return not any(job.commits for job in self.jobs)

    @property
    def again(self) -> str:
        """The command that begins anew what of it has not ended well."""
        return f"dvc repro {self.targets[0]}" if self.awaited else f"trackyard retry {self.id}"

    def job(self, name: str) -> Job:
        """KeyError for a name that none has."""
        return {job.name: job for job in self.jobs}[name]
