"""The numbers of one label of a metrics.json."""

from __future__ import annotations

from pathlib import Path

from trackyard.errors import DataError
from trackyard.record.metrics_file import read_metrics


def labelled_metrics(path: Path, label: str, *, fix: str) -> dict[str, float]:
    """DataError, with `fix`, for a file that has no such label; otherwise as `read_metrics`."""
    found = read_metrics(path)
    if label not in found:
        raise DataError(
            what=f"{path} has {', '.join(found) or 'nothing'}, and no {label!r}",
            why="it holds the headline numbers of what it is about",
            fix=fix,
        )
    return found[label]
