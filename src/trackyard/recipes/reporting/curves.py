"""Training losses of a study's runs as files that `dvc plots` draws: curves/<cell>.csv, as `curves.csv` of Molmo2."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.durable import write_atomic
from trackyard.recipes.running.history import history_csv

FOLDER = "curves"


def write_curves(results: Path, histories: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """One file of every run, in place of those that were there. histories: rows with step and train_nll, by cell."""
    if (results / FOLDER).exists():
        shutil.rmtree(results / FOLDER)
    for cell, rows in histories.items():
        points = [{"step": row["step"], "loss": row["train_nll"]} for row in rows]
        write_atomic(results / FOLDER / f"{cell}.csv", history_csv(("step", "loss"), points))
