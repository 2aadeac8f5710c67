"""The hub and its cache, as the checks of a study ask them. Source: pile-ffn spec section 12."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trackyard.acquire.hub.fetch import check_access, fetch_repository, list_repository, read_record, verify_repository
from trackyard.acquire.hub.files import HubAddress, Listing, RepositoryKind
from trackyard.acquire.places import Places
from trackyard.catalog.entries import HubSource
from trackyard.errors import DataError, EnvironmentLacking
from trackyard.launch.preflight import Seen, Skipped


@dataclass(frozen=True, kw_only=True)
class HubChecks:
    """offline: the cache is verified instead of the network. endpoint: another hub than the user's."""

    offline: bool
    places: Places
    endpoint: str | None

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

    def answers(self, source: HubSource, kind: RepositoryKind) -> Seen:
        """The API by a repository's list of files, the file server by the head of one of them."""
        if self.offline:
            raise Skipped("offline: the cache is verified instead")
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        listing, address = self.listing(source, kind), HubAddress.of(source, self.endpoint, kind).endpoint
        url = hf_hub_url(listing.repo, listing.files[0].path, repo_type=kind, revision=listing.commit, endpoint=address)
        try:
            found = get_hf_file_metadata(url)
        except OSError as error:
            raise EnvironmentLacking(
                what=f"the hub's file server does not answer for {listing.files[0].path}: {type(error).__name__}",
                why="files could be listed and none fetched",
                fix="check the network and HF_ENDPOINT, or run with --offline on what is cached",
            ) from None
        return Seen(detail=f"{address} answers, {found.size:,} bytes announced", examined=2)

    def access(self, gated: Sequence[tuple[HubSource, RepositoryKind]]) -> Seen:
        """Gated repositories are readable with the token of the environment, of which nothing is printed."""
        if not gated:
            raise Skipped("nothing gated is configured")
        if self.offline:
            raise Skipped("offline: access is not asked for")
        for source, kind in gated:
            check_access(source, endpoint=self.endpoint, kind=kind)
        return Seen(detail=f"access to {', '.join(source.repo for source, _ in gated)}", examined=len(gated))
