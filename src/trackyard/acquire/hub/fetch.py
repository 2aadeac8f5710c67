"""Datasets of the hub, fetched into huggingface_hub's own cache: the list is settled before, every byte proved after.

huggingface_hub does the transfer, `datasets` and transformers find the files offline. Added here are the expected list
with sizes and digests, the proof of each file, waiting that has an end, and the refusal of a part.
Source: pains 15, reliability F10, F14, F23, F27.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

from filelock import FileLock, Timeout
from huggingface_hub import hf_hub_download
from huggingface_hub.utils import logging as hub_logging

from trackyard.acquire.hub.client import check_access, list_repository
from trackyard.acquire.hub.errors import HUB_FAILURES, Patience, as_refusal, patiently, refuse_offline
from trackyard.acquire.hub.files import CachePlace, HubAddress, Listing, RemoteFile, RepositoryKind, select_files
from trackyard.acquire.hub.progress import Stopped, Tally
from trackyard.acquire.hub.record import (
    SHARED,
    FetchedRepository,
    HubRecord,
    HubReport,
    place_of,
    read_record,
    verify_repository,
)
from trackyard.acquire.places import room
from trackyard.catalog.entries import UNPINNED, HubSource
from trackyard.durable import fsync_file, write_atomic
from trackyard.errors import ConfigError, DataError, EnvironmentLacking
from trackyard.exclusive import exclusive

__all__ = [
    "FetchedRepository",
    "HubReport",
    "Listing",
    "Patience",
    "RemoteFile",
    "check_access",
    "fetch_repository",
    "list_repository",
    "read_record",
    "verify_repository",
]

SAVE_EVERY_S = 5.0
"""The record is saved at most this often: a killed fetch proves again what came in the last seconds, no more."""


def fetch_repository(
    source: HubSource,
    *,
    cache: Path,
    endpoint: str | None = None,
    workers: int = 4,
    progress: Callable[[int, int], None] | None = None,
    kind: RepositoryKind = "dataset",
    patience: Patience | None = None,
) -> FetchedRepository:
    """Bring what `source` selects into `cache`, prove every file, and return the complete copy.

    progress: called with (bytes there, bytes wanted), from worker threads, one at a time. A pinned copy that is
    complete needs no network. Killed at any moment, the same command goes on; files are whole or absent.

    Raises EnvironmentLacking (no network, no right, no room, offline), ConfigError (unknown repository or revision,
    script-based, a pattern without files), DataError (a file that came wrong twice), TrackyardError (another process
    works on this copy, or the hub stays disturbed).
    """
    place = place_of(source, cache, kind)
    if source.revision != UNPINNED:
        record = _record_if_any(place, source.revision)
        if record is not None and not _outstanding(record, select_files(record.files, source.files, repo=source.repo)):
            return record.fetched(source)
    refuse_offline()
    address = HubAddress.of(source, endpoint, kind)
    with exclusive(place.exclusive, what=f"the hub copy of {source.repo} in {place.cache}", why=SHARED):
        return _Fetch(source, place, address, patience or Patience()).run(workers, progress)


def _record_if_any(place: CachePlace, commit: str) -> HubRecord | None:
    return HubRecord.read(place, commit) if place.record(commit).exists() else None


def _outstanding(record: HubRecord, wanted: tuple[RemoteFile, ...]) -> list[RemoteFile]:
    """Files of `wanted` that are not proved, or not there at their size any more."""
    return [
        file
        for file in wanted
        if file.path not in record.proved or file.fault(record.directory / file.path, full=False) is not None
    ]


class _Fetch:
    """One fetch, under the lock of its copy."""

    def __init__(self, source: HubSource, place: CachePlace, address: HubAddress, patience: Patience) -> None:
        self._source, self._place, self._address, self._patience = source, place, address, patience
        self._stop = Event()

    def run(self, workers: int, progress: Callable[[int, int], None] | None) -> FetchedRepository:
        record = self._expected()
        _refuse_script(self._source, record)
        wanted = select_files(record.files, self._source.files, repo=self._source.repo)
        outstanding = _outstanding(record, wanted)
        record = record.doubting(file.path for file in outstanding).expecting(wanted)
        record.write()
        _sweep(self._place)
        _require_room(self._place, outstanding)
        tally = Tally(total=sum(file.bytes for file in wanted), progress=progress, stop=self._stop)
        tally.start(sum(file.bytes for file in wanted) - sum(file.bytes for file in outstanding))
        record = self._transfer(record, outstanding, workers, tally)
        record.write()
        if self._source.revision == UNPINNED:
            write_atomic(self._place.main, record.commit)
        return record.fetched(self._source)

    def _expected(self) -> HubRecord:
        """The record of the commit, from an earlier fetch or from the hub's list."""
        if self._source.revision != UNPINNED:
            known = _record_if_any(self._place, self._source.revision)
            if known is not None:
                return known
        kind, endpoint = self._address.kind, self._address.endpoint
        listing = list_repository(self._source, endpoint=endpoint, kind=kind, patience=self._patience)
        if listing.gated:
            check_access(self._source, endpoint=endpoint, kind=kind, patience=self._patience)
        return _record_if_any(self._place, listing.commit) or HubRecord.of(self._place, listing)

    def _transfer(self, record: HubRecord, files: list[RemoteFile], workers: int, tally: Tally) -> HubRecord:
        """Fetch and prove `files`; what was proved is in the record even if another file fails."""
        saved = monotonic()
        with _quiet(), ThreadPoolExecutor(workers) as pool:
            jobs = {pool.submit(self._bring, file, record.commit, tally): file for file in files}
            try:
                for job in as_completed(jobs):
                    job.result()
                    record = record.proving([jobs[job].path])
                    if monotonic() - saved > SAVE_EVERY_S:
                        record.write()
                        saved = monotonic()
            except BaseException:
                record.write()
                raise
            finally:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
        return record

    def _bring(self, file: RemoteFile, commit: str, tally: Tally) -> None:
        """Fetch one file and prove it. A wrong one that lay there does not count as an attempt of the hub's."""
        at = self._place.snapshot(commit) / file.path
        if file.fault(at, full=True) not in (None, "missing"):
            _remove(at, self._place.cache)
        self._download(file, commit, tally)
        if file.fault(at, full=True) is not None:
            _remove(at, self._place.cache)
            tally.forget(file.path)
            self._download(file, commit, tally)
            fault = file.fault(at, full=True)
            if fault is not None:
                _remove(at, self._place.cache)
                raise DataError(
                    what=f"{file.path} of {self._source.repo} came twice with a wrong {fault}",
                    why=f"the hub's list states {file.bytes} bytes with digest {file.digest}; others are other data",
                    fix="run the same command later; if it stays so, tell the repository's owner at "
                    f"{self._address.page}/discussions",
                )
        fsync_file(at)
        tally.done(file.path, file.bytes)

    def _download(self, file: RemoteFile, commit: str, tally: Tally) -> None:
        def once() -> None:
            if self._stop.is_set():
                raise Stopped
            hf_hub_download(
                self._source.repo,
                file.path,
                repo_type=self._address.kind,
                revision=commit,
                cache_dir=self._place.cache,
                endpoint=self._address.endpoint,
                tqdm_class=tally.meter(file.path),
            )

        try:
            patiently(once, self._patience, stop=self._stop)
        except HUB_FAILURES as error:
            raise as_refusal(error, self._address, asked_for=file.path) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep huggingface_hub's warnings off the terminal: they hold signed addresses, and failures are reported by us."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


def _refuse_script(source: HubSource, record: HubRecord) -> None:
    script = f"{source.repo.rsplit('/', 1)[-1]}.py"
    if record.place.kind == "dataset" and not source.files and any(file.path == script for file in record.files):
        raise ConfigError(
            what=f"{source.repo} at {record.commit[:12]} is built by a script, {script}",
            why="datasets 4 and newer refuse to run it, and nothing from outside is executed here",
            fix=f"`hf datasets info {source.repo} --revision refs/convert/parquet` shows the commit of the hub's own "
            "Parquet conversion: set it as `revision` of the entry in catalog/; or name the data files in `files`",
        )


def _sweep(place: CachePlace) -> None:
    """Remove what killed downloads left. A partial file whose blob is locked belongs to a living program."""
    for partial in place.storage.glob("blobs/*.incomplete"):
        place.locks.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(place.locks / f"{partial.name.split('.')[0]}.lock", timeout=0):
                partial.unlink(missing_ok=True)
        except Timeout:
            continue


def _require_room(place: CachePlace, files: list[RemoteFile]) -> None:
    """EnvironmentLacking if what is not there yet does not fit. Equal files are one blob."""
    blobs = {file.digest: file.bytes for file in files}
    needed = sum(
        size
        for digest, size in blobs.items()
        if not ((blob := place.storage / "blobs" / digest).is_file() and blob.stat().st_size == size)
    )
    free = room(place.cache).free_bytes
    if needed > free:
        raise EnvironmentLacking(
            what=f"{place.repo} needs {needed:,} bytes more in {place.cache}, and {free:,} are free",
            why="a full disk stops the transfer in its middle, and other jobs with it",
            fix="make room there, or name another place by HF_HUB_CACHE",
        )


def _remove(path: Path, cache: Path) -> None:
    """Remove a wrong file: its links and the blob that they lead to, and nothing outside of the cache."""
    while path.is_symlink():
        target = Path(os.path.normpath(path.parent / path.readlink()))
        path.unlink()
        path = target
    if path.is_relative_to(cache):
        path.unlink(missing_ok=True)
