"""What a study tells of a run beside its numbers (labels, data, files to be shown), and the run of the study itself.

Everything is told once: comparing again adds nothing to a spool. Source: design section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trackyard.durable import write_atomic
from trackyard.launch.lock import run_lock
from trackyard.recipes.reporting.outcomes import record_outcome
from trackyard.record.facts import events
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, open_or_create, spooled_attempt
from trackyard.record.spool import Spool, read_spool
from trackyard.record.tracking.server import DatasetFact

METRICS_TAG = "trackyard.metrics"
"""Where metrics.json of a study lies, from the root of the repository."""


def record_study(
    runs: Path,
    spec: RunSpec,
    values: Mapping[str, float],
    results: Path,
    shown: Sequence[str],
    *,
    tags: Mapping[str, str],
    datasets: Sequence[DatasetFact],
) -> RunDirectory:
    """Spool the numbers of a whole study into a run of its own, with its tables and figures.

    runs: of the repository. shown: files of the folder `results`, relative to it, that are shown beside the numbers.
    """
    directory = open_or_create(runs, spec)
    tell(directory, tags=tags, datasets=datasets, artifacts=_copied(results, shown, directory.path / "results"))
    record_outcome(directory.path, values)
    return directory


def tell(
    directory: RunDirectory,
    *,
    tags: Mapping[str, str],
    datasets: Sequence[DatasetFact] = (),
    artifacts: Sequence[str] = (),
) -> None:
    """Spool labels, data sets and files that the run has not yet. Of a file that changed, sync delivers the new one."""
    with run_lock(directory.path):
        spools = sorted(directory.spool.glob("attempt-*.jsonl"), key=spooled_attempt)
        parts = {path.name: read_spool(path) for path in spools}
        labels = {key: value for event in events(parts, "tag") for key, value in event["values"].items()}
        read = {
            DatasetFact(**{key: event[key] for key in ("name", "digest", "source", "context")})
            for event in events(parts, "dataset")
        }
        files = {event["path"] for event in events(parts, "artifact")}
        new_tags = {key: value for key, value in tags.items() if labels.get(key) != value}
        new_data = [fact for fact in datasets if fact not in read]
        new_files = [path for path in artifacts if path not in files]
        if not new_tags and not new_data and not new_files:
            return
        with Spool(directory.spool, directory.new_attempt()) as spool:
            for key, value in new_tags.items():
                spool.tag(key, value)
            for fact in new_data:
                spool.dataset(fact.name, fact.digest, fact.source, fact.context)
            for path in new_files:
                spool.artifact(path)
            spool.status("finished")


def _copied(results: Path, shown: Sequence[str], folder: Path) -> list[str]:
    """Copies of what is shown, inside of the run, as MLflow is given nothing from outside; their paths in the run.

    A sync may read them at any moment: each is whole, and what is shown no more goes last.
    """
    for name in shown:
        write_atomic(folder / name, (results / name).read_bytes())
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in shown:
            path.unlink()
    return [(Path(folder.name) / name).as_posix() for name in shown]
