"""A stage's mixture as `trackyard mixture` shows it: rows counted or as published, rates, draws and repeats."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trackyard.cli.stage_settings import REPORT_ROWS_PER_PACK, StageSettings, fitting_plans, manifests
from trackyard.plan.mixture import Mixture, MixtureParameters, rates
from trackyard.plan.repeats import Capped, cap_for_draws

if TYPE_CHECKING:
    from trackyard.catalog.entries import Entry


@dataclass(frozen=True, kw_only=True)
class MixtureReading:
    """rows: of the training split, by dataset; None where nobody states them. draws: rows that the stage draws.

    unsized: datasets of the catalogue that are left out because nobody states their rows. summary: of the plan that was
    made of this mixture, None if there is none.
    """

    settings: StageSettings
    mixture: Mixture
    rows: Mapping[str, int | None]
    draws: float
    draws_from: str
    capped: tuple[Capped, ...]
    unsized: tuple[str, ...]
    summary: Mapping[str, Any] | None

    def epochs(self, name: str) -> float | None:
        """How often the rows of an entry's dataset are drawn for this entry; None where their number is unknown."""
        entry = next(entry for entry in self.mixture.entries if entry.name == name)
        rows = self.rows.get(entry.dataset)
        return entry.rate * self.draws / rows if rows else None

    def groups(self) -> dict[str, tuple[float, float]]:
        """Reference rate and rate of each group."""
        found: dict[str, tuple[float, float]] = {}
        for entry in self.mixture.entries:
            reference, rate = found.get(entry.group, (0.0, 0.0))
            found[entry.group] = (reference + entry.reference_rate, rate + entry.rate)
        return found

    def document(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "parameters": str(self.settings.file),
            "stage": self.settings.stage,
            "entries": [
                asdict(entry) | {"rows": self.rows.get(entry.dataset), "epochs": self.epochs(entry.name)}
                for entry in self.mixture.entries
            ],
            "groups": {name: {"reference_rate": a, "rate": b} for name, (a, b) in self.groups().items()},
            "missing": self.mixture.missing,
            "unsized": self.unsized,
            "total_variation": self.mixture.distance,
            "draws": self.draws,
            "draws_from": self.draws_from,
            "capped": self.capped,
        }


def read_mixture(
    root: Path,
    settings: StageSettings,
    *,
    catalogue: Mapping[str, Entry] | None,
    strict: bool = False,
    max_epochs: float | None = None,
    rows_per_pack: float | None = None,
) -> MixtureReading:
    """Count the rows and compute the rates.

    catalogue: take published rows from it, None: count those of the snapshot; max_epochs: in place of the mixture's own
    limit; rows_per_pack: in place of those of the plan or the report.
    """
    parameters = settings.mixture
    unsized: tuple[str, ...] = ()
    rows: dict[str, int | None] = {}
    if catalogue is None:
        rows = {name: manifest.splits.get("train", 0) for name, manifest in manifests(root, settings.snapshot).items()}
        plans = fitting_plans(root, settings)
    else:
        rows, unsized = _published(settings, catalogue)
        plans = []
    mixture = rates(parameters, {name: 1 if count is None else count for name, count in rows.items()}, strict=strict)
    summary = plans[0][1]["summary"] if plans else None
    if rows_per_pack is not None:
        draws_from = f"{rows_per_pack:g} rows per pack"
    elif summary is not None:
        rows_per_pack, draws_from = summary["totals"]["rows_per_pack"], f"as in the plan {plans[0][0].name}"
    else:
        rows_per_pack = REPORT_ROWS_PER_PACK
        draws_from = f"{rows_per_pack:g} rows per pack as in the report; --rows-per-pack says otherwise"
    draws = settings.packs * rows_per_pack
    limit = parameters.max_epochs if max_epochs is None else max_epochs
    capped: tuple[Capped, ...] = ()
    if limit is not None:
        known = {name: count for name, count in rows.items() if count}
        mixture, capped = cap_for_draws(mixture, rows=known, draws=draws, max_epochs=limit)
    return MixtureReading(
        settings=settings,
        mixture=mixture,
        rows=rows,
        draws=draws,
        draws_from=draws_from,
        capped=capped,
        unsized=unsized,
        summary=summary,
    )


def by_dataset(reading: MixtureReading, resolve: Mapping[str, str]) -> dict[str, float]:
    """Rates of datasets, all entries of one together. resolve: other names of a dataset, such as those of its parts."""
    found: dict[str, list[float]] = {}
    for entry in reading.mixture.entries:
        found.setdefault(resolve.get(entry.dataset, entry.dataset), []).append(entry.rate)
    return {name: math.fsum(parts) for name, parts in found.items()}


def _published(
    settings: StageSettings, catalogue: Mapping[str, Entry]
) -> tuple[dict[str, int | None], tuple[str, ...]]:
    """Published rows: those that the mixture states, else what the catalogue says; and datasets left out.

    A dataset of unknown size takes part where its rate does not depend on it. The flat kinds take every dataset that
    the catalogue lists for the stage.
    """
    from trackyard.catalog.selection import find, select

    parameters = settings.mixture
    names = parameters.datasets or tuple(entry.name for entry in select(catalogue, [settings.stage]))
    rows: dict[str, int | None] = {
        name: parameters.reference_rows.get(name) or find(catalogue, name).expected.examples.value for name in names
    }
    free = _size_does_not_matter(parameters)
    unsized = tuple(name for name, count in rows.items() if not count and name not in free)
    return {name: count for name, count in rows.items() if name not in unsized}, unsized


def _size_does_not_matter(parameters: MixtureParameters) -> set[str]:
    """Datasets whose rate is the same whatever the number of their rows."""
    if parameters.kind == "fixed":
        return set(parameters.datasets)
    entries = [entry for group in parameters.groups.values() for entry in group.entries]
    sized = {
        name
        for entry in entries
        if entry.size != "none" or not isinstance(entry.dataset, str)
        for name in ([entry.dataset] if isinstance(entry.dataset, str) else entry.dataset)
    }
    return set(parameters.datasets) - sized
