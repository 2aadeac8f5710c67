"""Proof that data are what their manifests say: of one dataset, as a condition, or of a snapshot, as a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trackyard.acquire.files.tree import Mode
from trackyard.durable import TEMPORARY
from trackyard.errors import DataError
from trackyard.snapshot.decoding import Decode
from trackyard.snapshot.examination import Examination, Problem, Progress, Verified, bring_back, examine
from trackyard.snapshot.manifest import NAME, RESTORE
from trackyard.snapshot.reader import open_snapshot

__all__ = ["Problem", "Progress", "SnapshotReport", "Verified", "verify_dataset", "verify_snapshot"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SnapshotReport:
    """datasets: those in which nothing is wrong. problems: all, of all others. examined: datasets looked at."""

    root: Path
    examined: int
    datasets: tuple[Verified, ...]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Something was examined, and nothing is wrong."""
        return self.examined > 0 and not self.problems


def verify_dataset(
    directory: Path,
    *,
    restore: str = RESTORE,
    mode: Mode = "full",
    decode: Decode = 0,
    progress: Progress | None = None,
    workers: int | None = None,
    cache: Path | None = None,
) -> Verified:
    """Prove a dataset, or raise a DataError that lists every problem, with both digests where bytes differ.

    A Parquet file that the manifest does not name counts as a problem: a stock reader would load it. For the other
    arguments see `Examination`.
    """
    how = Examination(mode=mode, decode=decode, workers=workers, progress=progress, cache=cache, restore=restore)
    verified, problems = examine(directory, how)
    if problems:
        lost = any(problem.restorable for problem in problems)
        raise DataError(
            what="\n      ".join(problem.what for problem in problems),
            why="these bytes are not the ones that the manifest names; nothing is trained on them"
            if lost
            else "the bytes are those of the manifest, and no row can be made of some of them",
            fix=restore if lost else problems[0].repair,
        )
    return verified


def verify_snapshot(
    root: Path,
    *,
    mode: Mode = "full",
    decode: Decode = 0,
    progress: Progress | None = None,
    workers: int | None = None,
) -> SnapshotReport:
    """Look at every dataset below `root`, whatever is wrong with the others. DataError if there is no snapshot.

    A folder that holds shards and no manifest is a dataset that was purged or half copied, so it counts as one.
    """
    open_snapshot(root, ())
    how = Examination(mode=mode, decode=decode, workers=workers, progress=progress)
    datasets: list[Verified] = []
    problems: list[Problem] = []
    examined = 0
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(TEMPORARY)):
        manifest = folder / NAME
        if not manifest.is_file() and next(folder.rglob("*.parquet"), None) is None:
            continue
        examined += 1
        try:
            verified, wrong = examine(folder, how)
        except DataError as error:
            problems.append(Problem(path=manifest, what=error.what, repair=bring_back(manifest)))
            continue
        problems += wrong
        if not wrong:
            datasets.append(verified)
    return SnapshotReport(root=root, examined=examined, datasets=tuple(datasets), problems=tuple(problems))
