"""What a stage tells of its run: the data it reads, and at the end its metrics and the files shown beside its curves.

Source: design sections 4 and 5; molmo2 spec section 14.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trackyard.durable import write_atomic
from trackyard.plan.mixture_figure import Bar, mixture_figure
from trackyard.recipes.molmo2.prepare import Prepared, held_out
from trackyard.recipes.molmo2.start import export_directory
from trackyard.recipes.running.outcome import CURVE, tell_end
from trackyard.record.metrics_file import FILE, write_metrics
from trackyard.record.rundir import RunDirectory
from trackyard.record.spool import Spool

CARD = "card.md"
MIXTURE, MIXTURE_FIGURE = "mixture.csv", "mixture.svg"


def stage_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a stage from its result.json, by the names of all tracks."""
    start, trained = result["validation"]["start"], result["validation"]["trained"]
    found = {
        "train/steps": result["steps"],
        "train/tokens": result["tokens"],
        "train/padding": result["padding"],
        "train/skipped_steps": result["skipped_steps"],
        "train/first_loss": result["loss"]["first"],
        CURVE: result["loss"]["last"],
        "validation/loss": trained["loss"],
        "start/validation/loss": start["loss"],
        "examples/validation/loss": trained["loss_rows"],
    }
    for metric, score in trained["scores"].items():
        found |= {
            f"validation/{metric}": score["value"],
            f"start/validation/{metric}": start["scores"][metric]["value"],
            f"chance/validation/{metric}": score["chance"],
            f"examples/validation/{metric}": score["examples"],
        }
    return found


def tell_data(prepared: Prepared, spool: Spool) -> None:
    """Every data set that the run reads: rows that it trains on, and rows that it is validated on."""
    snapshot = prepared.parameters.snapshot
    for name, dataset in prepared.datasets.items():
        spool.dataset(name, dataset.manifest.fingerprint, (snapshot / name).as_posix(), "training")
    for name, dataset in {**prepared.datasets, **prepared.scored}.items():
        if "validation" in dataset.splits:
            source = (snapshot / name / "validation").as_posix()
            spool.dataset(held_out(name), dataset.manifest.fingerprint, source, "evaluation")


def record_outcome(prepared: Prepared, directory: RunDirectory, result: Mapping[str, Any], *, card: str) -> None:
    """Metrics, files to be shown, the export and the status into a spool of their own attempt."""
    values = stage_metrics(result)
    write_metrics(directory.path / FILE, {prepared.stage: values})
    write_atomic(directory.path / CARD, card)
    _write_mixture(prepared, directory.path)
    # The start is the first point of the same curves, too.
    before = {
        name.removeprefix("start/"): value for name, value in values.items() if name.startswith("start/validation/")
    }
    with Spool(directory.spool, directory.new_attempt()) as spool:
        spool.metrics(before, 0)
        for name in ("validation-trained.json", FILE, CARD, MIXTURE, MIXTURE_FIGURE):
            spool.artifact(name)
        name, export = f"molmo2-{prepared.parameters.model.preset}", export_directory(prepared.root, prepared.stage)
        path = export.relative_to(prepared.root).as_posix()
        tell_end(spool, values, prepared.plan.steps, model=name, export=path)


def _write_mixture(prepared: Prepared, folder: Path) -> None:
    """What the plan draws of each entry, as a table and as a picture."""
    entries = prepared.plan.summary["entries"]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(entries[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    write_atomic(folder / MIXTURE, text.getvalue())
    shown = ("name", "group", "reference_rate", "rate", "epochs", "tokens", "visual_tokens")
    mixture_figure(
        [Bar(**{key: entry[key] for key in shown}) for entry in entries],
        title=f"Mixture of {prepared.stage}: {prepared.plan.summary['totals']['rows']:,} rows",
        max_epochs=prepared.parameters.stage(prepared.stage).mixture.max_epochs,
        out=folder / MIXTURE_FIGURE,
    )
