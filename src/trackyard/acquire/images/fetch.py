"""Images by URL: a list of addresses becomes shards of images, and every address has exactly one outcome.

    fetch_images([UrlRow("https://example.org/cat.jpg")], Path("raw/cats/images"), parameters=UrlImageParameters())
    UrlImages.open(Path("raw/cats/images")).find("https://example.org/cat.jpg")

Source: theworld section 7, pains 16, reliability F1, F14 and F16.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from trackyard.acquire.images.check import QUALITY, ImageRules
from trackyard.acquire.images.digest_set import DigestSet
from trackyard.acquire.images.flow import Flow, FlowLimits
from trackyard.acquire.images.lookup import Lost as Lost
from trackyard.acquire.images.lookup import StoredImage as StoredImage
from trackyard.acquire.images.lookup import UrlImages as UrlImages
from trackyard.acquire.images.markers import AGAIN, Marker, Part, all_attempts, remove_unfinished
from trackyard.acquire.images.outcomes import OK, PERMANENT, Ledger, judge, ledger
from trackyard.acquire.images.pinned_list import PinnedList
from trackyard.acquire.images.pinned_list import UrlRow as UrlRow
from trackyard.acquire.images.shards import Outcome, Spill, Work, accepted_digests, write_part
from trackyard.acquire.images.work import failed, unfinished
from trackyard.acquire.images.workers import ImageWorkers
from trackyard.acquire.media import MAX_PIXELS
from trackyard.acquire.web.addresses import AddressPolicy, Lookup, look_up
from trackyard.acquire.web.http import FetchLimits, GuardedClient
from trackyard.durable import sweep, write_atomic
from trackyard.errors import TrackyardError
from trackyard.exclusive import exclusive
from trackyard.parameters import Parameters

LOCK = ".lock"
JUDGE_EVERY = 100
"""Rows between two looks at the acceptance."""
REPORT_EVERY_S = 0.2
"""Seconds between two calls of `progress`."""


class UrlImageParameters(Parameters):
    """What is kept of a list of URLs, and how it is fetched. Source of the defaults: theworld section 7."""

    max_side: int | None = Field(default=None, ge=32)
    """Pixels of the longer side; longer images are scaled down and stored as JPEG 95. None stores what is delivered."""
    min_side: int = Field(default=32, ge=1)
    """Pixels of the shorter side."""
    max_aspect: float = Field(default=8.0, ge=1)
    """Longer by shorter side."""
    max_pixels: int = Field(default=50_000_000, ge=1, le=MAX_PIXELS)
    blur_faces: bool = True
    """Blur the faces that a list names before an image is stored. One whose place cannot be told is a loss."""
    hash_mismatch: Literal["reject", "keep"] = "reject"
    """What becomes of bytes with another sha256 than their row says; those that are kept are counted apart."""
    keep_duplicates: bool = False
    """Store an image again that another URL has brought already."""
    urls_per_shard: int = Field(default=4096, ge=1)
    acceptance: tuple[float, float] = (0.35, 0.98)
    """Share of URLs (low, high) that give an image."""
    workers: int | None = Field(default=None, ge=1)
    """Processes that decode; None is one for each processor that this process may use."""
    worker_bytes: int = Field(default=1_000_000_000, ge=100_000_000)
    """Memory that one image may take in a worker."""
    held_bytes: int = Field(default=128_000_000, ge=1)
    """Bodies that arrive or wait for a worker."""
    shards_ahead: int = Field(default=16, ge=1)
    """Shards under way at once. Their images lie on disk, so a host that is slow for minutes delays no other."""
    limits: FetchLimits = FetchLimits()

    @model_validator(mode="after")
    def _acceptance_is_a_band(self) -> Self:
        low, high = self.acceptance
        if not 0 <= low < high <= 1:
            raise ValueError(f"acceptance {self.acceptance} is not a band within 0 and 1")
        return self

    def rules(self) -> dict[str, int | float | bool | str | None]:
        """What decides the content of the shards, and so is pinned with the list."""
        return {
            "max_side": self.max_side,
            "min_side": self.min_side,
            "max_aspect": self.max_aspect,
            "max_pixels": self.max_pixels,
            "blur_faces": self.blur_faces,
            "hash_mismatch": self.hash_mismatch,
            "keep_duplicates": self.keep_duplicates,
            "quality": QUALITY,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """done of total rows have an outcome, ok of them an image; both without those of earlier runs.

    bytes: of stored images. phase: `retry` while rows that had failed are tried again.
    """

    phase: Literal["fetch", "retry"]
    done: int
    total: int
    ok: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ImagesReport:
    """What a directory holds after a fetch. counts: by outcome, `ok` among them. repeated: rows of the list that name a
    URL once more. files, bytes: of the finished parts. mismatched: images with another digest than their row says.
    warnings: sentences for people."""

    counts: Mapping[str, int]
    repeated: int
    files: int
    bytes: int
    warnings: tuple[str, ...]
    mismatched: int = 0

    @property
    def attempted(self) -> int:
        return sum(self.counts.values())

    @property
    def ok(self) -> int:
        return self.counts.get(OK, 0)


def fetch_images(
    urls: Iterable[UrlRow],
    directory: Path,
    *,
    parameters: UrlImageParameters,
    policy: AddressPolicy | None = None,
    lookup: Lookup = look_up,
    retry_failed: bool = False,
    progress: Callable[[Progress], None] | None = None,
    among: Ledger | None = None,
    again: str | None = None,
) -> ImagesReport:
    """Bring every URL of a list to `directory`, the folder raw/NAME/images of the entry NAME, or go on with it.

    Finished shards are not fetched again. retry_failed: try first what failed in them and may be cured by another day.
    policy: addresses that may be asked, public ones by default. lookup: how names are resolved. among: what became of
    other parts of a longer list, of `total` rows with this one, with which the losses are judged. again: the command
    that goes on, where that is not `trackyard data fetch`.
    Raises AcceptanceError if the losses are not ordinary, ConfigError if the directory belongs to another list,
    TrackyardError if another process works on it or if a worker fails. The same command goes on after each.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with exclusive(directory / LOCK, what=str(directory), why="two processes would overwrite each other's shards"):
        sweep(directory)
        pinned = PinnedList.pin(urls, directory, urls_per_shard=parameters.urls_per_shard, rules=parameters.rules())
        if again is not None:
            write_atomic(directory / AGAIN, again + "\n")
        fetch = _Fetch(pinned, parameters, policy or AddressPolicy(), lookup, progress, among)
        return fetch.run(retry_failed=retry_failed)


class _Fetch:
    def __init__(
        self,
        pinned: PinnedList,
        parameters: UrlImageParameters,
        policy: AddressPolicy,
        lookup: Lookup,
        progress: Callable[[Progress], None] | None,
        among: Ledger | None,
    ) -> None:
        self._pinned, self._directory = pinned, pinned.directory
        self._parameters, self._policy, self._lookup, self._progress = parameters, policy, lookup, progress
        self._among = among or Ledger(ok=0, by_cause={}, total=pinned.urls)
        self._accepted = DigestSet()
        self._phase: Literal["fetch", "retry"] = "fetch"
        self._before = Ledger(ok=0, by_cause={}, total=pinned.urls)
        self._total = 0
        self._judged = 0
        self._reported = 0.0

    def run(self, *, retry_failed: bool) -> ImagesReport:
        remove_unfinished(self._directory, self._pinned.shards)
        if not self._parameters.keep_duplicates:
            for marker in self._finished():
                self._accepted.add(accepted_digests(self._directory, marker))
        if retry_failed:
            self._pass("retry", failed(self._pinned, self._accepted))
            self._judge(ledger(self._directory))
        self._pass("fetch", unfinished(self._pinned))
        found = ledger(self._directory)
        warnings = self._judge(found)
        whole = list(self._finished())
        return ImagesReport(
            counts={OK: found.ok, **found.by_cause},
            repeated=self._pinned.repeated,
            files=len(whole) * len(Part(0).files),
            bytes=sum(marker.images.bytes + marker.outcomes.bytes for marker in whole),
            warnings=warnings,
            mismatched=sum(marker.mismatched for marker in whole),
        )

    def _judge(self, found: Ledger) -> tuple[str, ...]:
        """With what became of the other parts of the list."""
        counts = Counter({OK: found.ok, **found.by_cause}) + Counter({OK: self._among.ok, **self._among.by_cause})
        total = self._among.total
        return judge(Ledger.of(counts, total=total), self._parameters.acceptance, self._directory)

    def _finished(self) -> Iterator[Marker]:
        for found in all_attempts(self._directory, self._pinned.shards):
            yield from found

    def _pass(self, phase: Literal["fetch", "retry"], works: Iterator[Work]) -> None:
        self._phase, self._before, self._judged = phase, ledger(self._directory), 0
        if phase == "fetch":
            self._total = self._pinned.urls - self._before.attempted
        else:
            self._total = sum(number for cause, number in self._before.by_cause.items() if cause not in PERMANENT)
        first = next(works, None)
        if first is None:
            return
        try:
            asyncio.run(self._flow(chain([first], works)))
        except ExceptionGroup as group:
            raise _first(group) from group

    async def _flow(self, works: Iterator[Work]) -> None:
        parameters = self._parameters
        rules = ImageRules(
            max_side=parameters.max_side,
            min_side=parameters.min_side,
            max_aspect=parameters.max_aspect,
            max_pixels=parameters.max_pixels,
            blur_faces=parameters.blur_faces,
            hash_mismatch=parameters.hash_mismatch,
        )
        # As many as the client can have on the way, slow ones included, and some that wait for a worker meanwhile.
        tasks = parameters.limits.most_at_once + parameters.limits.in_flight
        limits = FlowLimits(tasks=tasks, held_bytes=parameters.held_bytes, ahead=parameters.shards_ahead)
        workers = ImageWorkers(
            rules,
            workers=parameters.workers or len(os.sched_getaffinity(0)),
            memory_bytes=parameters.worker_bytes,
        )
        async with GuardedClient(parameters.limits, self._policy, lookup=self._lookup) as client, workers:
            flow = Flow(self._directory, client, workers, limits, write=self._write, on_change=self._on_change)
            await flow.run(works)

    def _write(self, work: Work, outcomes: list[Outcome], spill: Spill) -> Marker:
        return write_part(
            self._directory, work, outcomes, spill, self._accepted, keep_duplicates=self._parameters.keep_duplicates
        )

    def _on_change(self, flow: Flow) -> None:
        counted = sum(flow.counts.values())
        # What is tried again has failed before, so it is judged when it is through, with all the rest.
        if self._phase == "fetch" and counted >= self._judged + JUDGE_EVERY:
            self._judged = counted
            so_far = Counter({OK: self._before.ok, **self._before.by_cause}) + flow.counts
            self._judge(Ledger.of(so_far, total=self._pinned.urls))
        if self._progress is not None:
            now = time.monotonic()
            if now >= self._reported + REPORT_EVERY_S or flow.done == self._total:
                self._reported = now
                self._progress(
                    Progress(phase=self._phase, done=flow.done, total=self._total, ok=flow.ok, bytes=flow.bytes)
                )


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """What stopped the run: several rows may have met it at once."""
    found: Exception = group
    while isinstance(found, ExceptionGroup):
        told, _ = found.split(TrackyardError)
        found = (told or found).exceptions[0]
    return found
