"""The hub and its cache, as the checks of a study ask them. Source: pile-ffn spec section 12."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trackyard.acquire.hub.files import HubAddress, RepositoryKind
from trackyard.catalog.entries import Entry, HubSource
from trackyard.launch.preflight import Seen, Skipped
from trackyard.recipes.checking.hub import HubChecks
from trackyard.recipes.pile_ffn.preflight.parameters import MODES, Mode, PreflightParameters


@dataclass(frozen=True, kw_only=True)
class Asked(HubChecks):
    """What is checked, how far, and where."""

    dataset: Entry
    benchmarks: tuple[Entry, ...]
    parameters: PreflightParameters
    mode: Mode

    def reaches(self, mode: Mode) -> bool:
        """Whether the chosen mode includes `mode`."""
        return MODES.index(self.mode) >= MODES.index(mode)

    @cached_property
    def model(self) -> HubSource:
        parameters = self.parameters
        return HubSource(repo=parameters.model, revision=parameters.model_revision, gated=parameters.model_gated)

    @property
    def text(self) -> HubSource:
        return self.dataset.hub[0]

    @cached_property
    def address(self) -> str:
        """The hub that is asked."""
        return HubAddress.of(self.model, self.endpoint, "model").endpoint


def network(asked: Asked) -> Seen:
    return asked.answers(asked.model, "model")


def access(asked: Asked) -> Seen:
    gated: list[tuple[HubSource, RepositoryKind]] = [
        (source, "dataset") for entry in (asked.dataset, *asked.benchmarks) for source in entry.hub if source.gated
    ]
    if asked.model.gated:
        gated.append((asked.model, "model"))
    return asked.access(gated)


def tasks(asked: Asked) -> Seen:
    """The benchmarks' datasets: their ids, and in full their data."""
    fetched, found = 0, list[HubSource]()
    for source in (source for entry in asked.benchmarks for source in entry.hub):
        if asked.offline:
            if asked.reaches("full"):
                asked.cached(source, "dataset", source.files)
        else:
            asked.listing(source, "dataset")
            found.append(source)
            if asked.reaches("full"):
                fetched += asked.fetch(source, "dataset", source.files)
    if asked.offline and not asked.reaches("full"):
        raise Skipped("offline: their data are verified by --full")
    return Seen(detail=_names(found) or "cached", examined=len(asked.benchmarks), fetched=fetched)


def _names(sources: Sequence[HubSource]) -> str:
    return ", ".join(source.repo for source in sources)
