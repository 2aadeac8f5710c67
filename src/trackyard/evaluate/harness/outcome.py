"""What a run of benchmarks found: figures of each task with their errors, and what became of every item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from trackyard.digest import canonical_json


@dataclass(frozen=True, slots=True)
class Figure:
    """A metric over all items. stderr: as the harness states it, None where it states none (a single item)."""

    value: float
    stderr: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One item of one task.

    doc_id: its place among the items. item: sha256 of it. metrics: as the harness scored it (`perplexity` is the
    log-likelihood that the whole is made from). loglikelihoods: of the answer, or of each choice, in nats.
    """

    task: str
    doc_id: int
    item: str
    metrics: Mapping[str, float]
    loglikelihoods: tuple[float, ...]

    def line(self) -> bytes:
        """A line of a JSONL file."""
        return canonical_json(asdict(self)) + b"\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOutcome:
    """A task that ran. n: items. chance: what a blind choice scores on them, None where nothing is chosen from.

    task_hash: sha256 over items, prompts and targets as the harness computes it, equal for models that were asked the
    same.
    """

    metrics: Mapping[str, Figure]
    n: int
    chance: float | None
    dataset: str
    dataset_revision: str
    task_hash: str

    def to_json(self) -> dict[str, Any]:
        """Keys of pile-ffn spec section 10."""
        return {name: asdict(figure) for name, figure in self.metrics.items()} | {
            "n": self.n,
            "chance": self.chance,
            "dataset": self.dataset,
            "dataset_revision": self.dataset_revision,
            "task_hash": self.task_hash,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """absent: tasks that did not run, each with the reason. samples: of the others, in the order of their items."""

    tasks: Mapping[str, TaskOutcome]
    absent: Mapping[str, str]
    samples: tuple[Sample, ...]
