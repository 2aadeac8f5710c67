"""Mixtures: how often each dataset is drawn, what it would be if nothing were missing, and how far apart the two are.

Source: molmo2 spec section 4. Rates are per draw of a row; a row of dataset i has probability rate_i / n_i.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from trackyard.errors import ConfigError
from trackyard.plan.mixture_parameters import (
    EntryParameters,
    GroupParameters,
    MixtureParameters,
    require_known_weights,
)

__all__ = ["EntryParameters", "GroupParameters", "Mixture", "MixtureEntry", "MixtureParameters", "rates"]

FLAT_GROUP = "all"
"""The one group of the flat kinds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureEntry:
    """rate: share of draws as planned, 0 if the dataset is missing; reference_rate: if nothing were missing."""

    name: str
    dataset: str
    group: str
    rate: float
    reference_rate: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Mixture:
    """The rates in force. missing: names of entries without rows. distance: 0.5 * sum |rate - reference_rate|."""

    entries: tuple[MixtureEntry, ...]
    missing: tuple[str, ...]
    distance: float

    @property
    def drawn(self) -> tuple[MixtureEntry, ...]:
        """Entries with a positive rate, in the order of the configuration (which breaks ties between draws)."""
        return tuple(entry for entry in self.entries if entry.rate > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Term:
    """An entry of any kind in one form: mass = multiplier * e ** exponent, divided among datasets by their rows."""

    names: tuple[tuple[str, str], ...]  # (name of the resulting entry, dataset)
    group: str
    weight: float
    multiplier: float
    size: int | float | Literal["rows", "none"]
    exponent: float


def rates(parameters: MixtureParameters, sizes: Mapping[str, int], *, strict: bool) -> Mixture:
    """Rates for the datasets at hand.

    sizes: usable rows per dataset; one that is absent or has no rows is missing. A missing entry's mass goes to its own
    group, and the weight of a group without entries to the other groups, both in proportion (spec 4.4).
    Raises ConfigError if `strict` and something is missing, if nothing is left, if a reference rate needs rows that
    nobody stated, or if a loss weight is given to a dataset that is not drawn from.
    """
    present = {name: rows for name, rows in sizes.items() if rows > 0}
    terms = _terms(parameters, present)
    require_known_weights(parameters, {dataset for term in terms for _, dataset in term.names})
    names = [(name, dataset, term.group) for term in terms for name, dataset in term.names]
    repeated = [name for name, count in Counter(name for name, _, _ in names).items() if count > 1]
    if repeated:
        raise ConfigError(
            what=f"the mixture names {', '.join(repeated)} more than once",
            why="rates are reported per entry, so two entries cannot share a name",
            fix="remove one of them, or give the second a `name` of its own",
        )
    missing = tuple(name for name, dataset, _ in names if dataset not in present)
    if missing and (strict or len(missing) == len(names)):
        raise ConfigError(
            what=f"{len(missing)} of {len(names)} mixture entries have no rows: {', '.join(missing)}",
            why="strict mixtures must be complete" if strict else "there is nothing to draw from",
            fix="`dvc pull data.dvc` or `trackyard data import` brings them; or remove them from the mixture",
        )
    realised = _normalise(terms, present, complete=False)
    reference = _normalise(terms, {**present, **parameters.reference_rows}, complete=True)
    entries = tuple(
        MixtureEntry(
            name=name, dataset=dataset, group=group, rate=realised.get(name, 0.0), reference_rate=reference[name]
        )
        for name, dataset, group in names
    )
    distance = 0.5 * math.fsum(abs(entry.rate - entry.reference_rate) for entry in entries)
    return Mixture(entries=entries, missing=missing, distance=distance)


def _terms(parameters: MixtureParameters, present: Mapping[str, int]) -> list[_Term]:
    """Every kind as terms, in the order of the configuration; flat kinds have none and are ordered by name."""
    if parameters.kind == "hierarchical":
        return [
            _Term(
                names=tuple(_names(entry)),
                group=group,
                weight=body.weight,
                multiplier=entry.multiplier,
                size=entry.size,
                exponent=0.5,
            )
            for group, body in parameters.groups.items()
            for entry in body.entries
        ]
    if parameters.kind == "fixed":
        return [
            _Term(
                names=((dataset, dataset),),
                group=group,
                weight=math.fsum(ratios.values()),
                multiplier=ratio,
                size="none",
                exponent=0.5,
            )
            for group, ratios in parameters.ratios.items()
            for dataset, ratio in ratios.items()
        ]
    exponent = {"sqrt": 0.5, "proportional": 1.0}.get(parameters.kind) or 1.0 / (parameters.temperature or 1.0)
    return [
        _Term(names=((name, name),), group=FLAT_GROUP, weight=1.0, multiplier=1.0, size="rows", exponent=exponent)
        for name in sorted({*present, *parameters.reference_rows})
    ]


def _names(entry: EntryParameters) -> Iterator[tuple[str, str]]:
    if isinstance(entry.dataset, str):
        yield entry.name or entry.dataset, entry.dataset
        return
    for dataset in entry.dataset:
        yield f"{entry.name}/{dataset}" if entry.name else dataset, dataset


def _normalise(terms: list[_Term], rows: Mapping[str, int], *, complete: bool) -> dict[str, float]:
    """Rates by name over the datasets in `rows`; with `complete` all take part, and rows that matter must be known."""
    masses: dict[str, dict[str, float]] = {}
    weights: dict[str, float] = {}
    for term in terms:
        members = [(name, dataset) for name, dataset in term.names if complete or dataset in rows]
        if members:
            weights[term.group] = term.weight
            masses.setdefault(term.group, {}).update(_masses(term, members, rows))
    all_weights = math.fsum(weights.values())
    return {
        name: weights[group] / all_weights * mass / math.fsum(group_masses.values())
        for group, group_masses in masses.items()
        for name, mass in group_masses.items()
    }


def _masses(term: _Term, members: list[tuple[str, str]], rows: Mapping[str, int]) -> dict[str, float]:
    if term.size == "none" and len(members) == 1:
        return {members[0][0]: term.multiplier}
    unknown = [dataset for _, dataset in members if dataset not in rows]
    if unknown:
        raise ConfigError(
            what=f"the number of rows of {', '.join(unknown)} is not known",
            why="the reference rates of the mixture depend on it, and the dataset is not here to be counted",
            fix=f"add the published number to the mixture: `reference_rows: {{{unknown[0]}: …}}`",
        )
    total = sum(rows[dataset] for _, dataset in members)
    if term.size == "none":
        effective: float = 1.0
    elif term.size == "rows":
        effective = total
    else:
        effective = min(total, term.size) if term.size >= 1 else total * term.size
    # IEEE 754 fixes sqrt to the last bit but not pow, and rates are part of the plan's identity.
    root = math.sqrt(effective) if term.exponent == 0.5 else effective**term.exponent
    mass = term.multiplier * root
    return {name: mass * rows[dataset] / total for name, dataset in members}
