"""The hub and its cache, as the checks of a study ask them. Source: pile-ffn spec section 12."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trackyard.acquire.hub.fetch import check_access, fetch_repository, list_repository, read_record, verify_repository
from trackyard.acquire.hub.files import HubAddress, Listing, RepositoryKind
from trackyard.acquire.places import Places
from trackyard.catalog.entries import Entry, HubSource
from trackyard.errors import DataError, EnvironmentLacking
from trackyard.launch.preflight import Seen, Skipped
from trackyard.recipes.pile_ffn.preflight.parameters import MODES, Mode, PreflightParameters


@dataclass(frozen=True)
class Asked:
    """What is checked, how far, and where. offline: the cache is verified instead of the network."""

    dataset: Entry
    benchmarks: tuple[Entry, ...]
    parameters: PreflightParameters
    mode: Mode
    offline: bool
    places: Places
    endpoint: str | None

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

    def listing(self, source: HubSource, kind: RepositoryKind) -> Listing:
        return list_repository(source, endpoint=self.endpoint, kind=kind)

    def fetch(self, source: HubSource, kind: RepositoryKind, files: tuple[str, ...]) -> int:
        """Fetch into the real cache, every digest proved; returns the bytes that were not there before."""
        wanted = source.model_copy(update={"files": files})
        before = self._cached_bytes(wanted, kind)
        found = fetch_repository(wanted, cache=self.places.hub, endpoint=self.endpoint, kind=kind)
        return max(0, found.bytes - before)

    def cached(self, source: HubSource, kind: RepositoryKind, files: tuple[str, ...]) -> Seen:
        """Presence and digests in the cache, without the network; DataError where something lacks."""
        wanted = source.model_copy(update={"files": files})
        report = verify_repository(wanted, self.places.hub, full=True, kind=kind)
        if report.missing or report.changed:
            raise DataError(
                what=f"{source.repo}: {len(report.missing)} files missing, {len(report.changed)} changed, "
                f"{[*report.missing, *report.changed][0]} first",
                why="a job without a network would stop at it",
                fix="run the same check without --offline on a machine with a network",
            )
        return Seen(detail=f"{source.repo}: {report.examined} cached files proved", examined=report.examined)

    def _cached_bytes(self, source: HubSource, kind: RepositoryKind) -> int:
        """Bytes of `source` that the cache holds by its record; 0 where the copy is not complete."""
        try:
            return read_record(source, self.places.hub, kind=kind).bytes
        except DataError:
            return 0


def network(asked: Asked) -> Seen:
    """The API by the model's list of files, the file server by the head of one of them."""
    if asked.offline:
        raise Skipped("offline: the cache is verified instead")
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    listing = asked.listing(asked.model, "model")
    url = hf_hub_url(listing.repo, listing.files[0].path, revision=listing.commit, endpoint=asked.address)
    try:
        found = get_hf_file_metadata(url)
    except OSError as error:
        raise EnvironmentLacking(
            what=f"the hub's file server does not answer for {listing.files[0].path}: {type(error).__name__}",
            why="files could be listed and none fetched",
            fix="check the network and HF_ENDPOINT, or run with --offline on what is cached",
        ) from None
    return Seen(detail=f"{asked.address} answers, {found.size:,} bytes announced", examined=2)


def access(asked: Asked) -> Seen:
    """Gated repositories are readable with the token of the environment, of which nothing is printed."""
    gated: list[tuple[HubSource, RepositoryKind]] = [
        (source, "dataset") for entry in (asked.dataset, *asked.benchmarks) for source in entry.hub if source.gated
    ]
    gated += [(asked.model, "model")] if asked.model.gated else []
    if not gated:
        raise Skipped("nothing gated is configured")
    if asked.offline:
        raise Skipped("offline: access is not asked for")
    for source, kind in gated:
        check_access(source, endpoint=asked.endpoint, kind=kind)
    return Seen(detail=f"access to {_names([source for source, _ in gated])}", examined=len(gated))


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
