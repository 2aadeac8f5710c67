"""Questions to the hub about a repository: which commit, which files with which digests, may this login read it."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import httpx2
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)

from trackyard.acquire.hub.errors import (
    HUB_FAILURES,
    Patience,
    as_refusal,
    no_hub,
    patiently,
    refuse_offline,
)
from trackyard.acquire.hub.files import HubAddress, Listing, RemoteFile, RepositoryKind
from trackyard.catalog.entries import COMMIT, UNPINNED, HubSource
from trackyard.errors import DataError


def list_repository(
    source: HubSource,
    *,
    endpoint: str | None = None,
    kind: RepositoryKind = "dataset",
    patience: Patience | None = None,
) -> Listing:
    """All files of a repository at its commit; an unpinned source is resolved to where `main` stands (`pinned` False).

    Raises ConfigError for an unknown repository or revision, EnvironmentLacking without network or right, DataError for
    an answer that is no listing.
    """
    refuse_offline()
    address = HubAddress.of(source, endpoint, kind)
    hub = _Hub(address, patience or Patience())
    pinned = source.revision != UNPINNED
    info = hub.get(f"revision/{address.revision}")
    commit = info.get("sha") if isinstance(info, dict) else None
    if not isinstance(commit, str) or not COMMIT.fullmatch(commit) or (pinned and commit != source.revision):
        raise DataError(
            what=f"{address.endpoint} answers with commit {commit!r} for {source.repo} at {address.revision}",
            why="without the very commit no copy can be compared with it",
            fix="correct HF_ENDPOINT: this address does not speak the hub's protocol",
        )
    return Listing(
        repo=source.repo,
        kind=kind,
        commit=commit,
        files=tuple(hub.files(commit)),
        pinned=pinned,
        gated=bool(info.get("gated")) or source.gated,
    )


def check_access(
    source: HubSource,
    *,
    endpoint: str | None = None,
    kind: RepositoryKind = "dataset",
    patience: Patience | None = None,
) -> None:
    """EnvironmentLacking unless this login may read the files; the list of a gated repository alone is public."""
    refuse_offline()
    address = HubAddress.of(source, endpoint, kind)
    _Hub(address, patience or Patience()).request(f"{address.api}/auth-check", first=True)


class _Hub:
    """Requests about one repository. huggingface_hub lists files without a time limit, hence our own requests."""

    def __init__(self, address: HubAddress, patience: Patience) -> None:
        self._address = address
        self._patience = patience

    def get(self, path: str) -> Any:
        """The first answer of this hub, for `path` below the repository: a refused connection is final."""
        return self._decode(self.request(f"{self._address.api}/{path}", first=True))

    def files(self, commit: str) -> Iterator[RemoteFile]:
        """All files of `commit`, page by page."""
        response = self.request(f"{self._address.api}/tree/{commit}?recursive=true&expand=false")
        while True:
            try:
                for entry in self._decode(response):
                    if entry["type"] == "file":
                        yield _remote_file(entry)
            except (KeyError, TypeError) as error:
                raise no_hub(self._address, f"a list of files that cannot be read ({type(error).__name__})") from error
            following = response.links.get("next", {}).get("url")
            if following is None:
                return
            if urlsplit(following)[:2] != urlsplit(self._address.endpoint)[:2]:
                # The token goes with the request.
                raise no_hub(self._address, f"a list that continues at {urlsplit(following).hostname}")
            response = self.request(following)

    def request(self, url: str, *, first: bool = False) -> httpx2.Response:
        def once() -> httpx2.Response:
            # The session follows redirects (a repository that was renamed); the token stays on the same host.
            response: httpx2.Response = get_session().get(
                url, headers=build_hf_headers(), timeout=self._patience.timeout_s
            )
            hf_raise_for_status(response)
            return response

        try:
            return patiently(once, self._patience, stop=Event(), first_contact=first)
        except HUB_FAILURES as error:
            raise as_refusal(error, self._address, asked_for="the list of files") from None

    def _decode(self, response: httpx2.Response) -> Any:
        try:
            return response.json()
        except ValueError as error:
            raise no_hub(self._address, "something that is no JSON") from error


def _remote_file(entry: dict[str, Any]) -> RemoteFile:
    large = entry.get("lfs")
    if large:
        return RemoteFile(path=entry["path"], bytes=large["size"], sha256=large["oid"])
    return RemoteFile(path=entry["path"], bytes=entry["size"], git_sha1=entry["oid"])
