"""metrics.json of a track against the spool of a run and against what MLflow holds of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from trackyard.record.points import PointCensus, undelivered
from trackyard.record.spool import read_spool


def last_values(run: Path) -> dict[str, float]:
    """The last point of every key in the spools of a run directory."""
    parts = {path.name: read_spool(path) for path in sorted((run / "spool").glob("attempt-*.jsonl"))}
    points = [point for line in undelivered(parts, {}, PointCensus()) for point in line.points]
    return {point.key: point.value for point in sorted(points, key=lambda point: point.step)}


def stored_values(database: Path, run_id: str) -> dict[str, float]:
    """The last point of every key that MLflow holds of a run."""
    query = (
        "SELECT m.key, m.value FROM latest_metrics m JOIN tags t ON t.run_uuid = m.run_uuid "
        "WHERE t.key = 'trackyard.run_id' AND t.value = ?"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return dict(connection.execute(query, (run_id,)).fetchall())


def disagreements(metrics: Mapping[str, float], run: Path, database: Path) -> list[str]:
    """Where the three differ, by name; a value that the spool or MLflow lacks differs, too."""
    spooled, stored = last_values(run), stored_values(database, run.name)
    return [
        f"{name}: {value} in metrics.json, {spooled.get(name)} spooled, {stored.get(name)} in MLflow"
        for name, value in sorted(metrics.items())
        if not value == spooled.get(name) == stored.get(name)
    ]
