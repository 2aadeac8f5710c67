"""The stage that brings images: blocks of rows in keyed order, until as many are accepted as are wanted.

Each block is a directory of `fetch_images`, so a killed run goes on with the first shard that has no marker. Several
machines share the work by block:

    trackyard run datacomp download --shard 3/8     # blocks 3, 11, 19 ... of the planned ones
    trackyard run datacomp download                 # the planned ones, more if they do not suffice, and the account

Only the second writes result.json. Source: theworld sections 7, 13 and 14; reliability F1, F14 and F27.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trackyard.acquire.images.fetch import Progress, UrlRow, fetch_images
from trackyard.acquire.images.outcomes import OK, AcceptanceError, Ledger, conserve
from trackyard.acquire.web.addresses import AddressPolicy, Lookup, look_up
from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.exclusive import exclusive
from trackyard.recipes.datacomp.ingest.blocks import AGAIN, Block, block_directory, lost_shards, planned_blocks, tried
from trackyard.recipes.datacomp.ingest.rows import open_rows
from trackyard.recipes.datacomp.results import read_result, write_result
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.parts import part_named, tell_if_empty

SAY_EVERY_S = 30.0


def download(study: Study, item: str | None, say: Callable[[str], None]) -> None:
    """Fetch a part "K/N" of the planned blocks, or all that is needed.

    ConfigError for what is no part, or for images of other rows or rules than those in force; AcceptanceError if the
    losses are not ordinary, after result.json has said so; what `fetch_images` raises otherwise.
    """
    part = part_named(item, again=AGAIN)
    if not study.selected.is_file():
        raise DataError(
            what=f"{study.selected} is not there",
            why="it says which rows are fetched, and in which order",
            fix="trackyard run datacomp select",
        )
    run = _Run(study, say)
    with _web(study) as (policy, lookup):
        if item is not None:
            blocks = range(min(run.blocks, planned_blocks(study.parameters.data)))
            tell_if_empty(part, len(blocks), say)
            for number in part.of_list(blocks):
                run.fetch(number, policy, lookup)
            return
        study.images.mkdir(parents=True, exist_ok=True)
        with exclusive(study.images / ".lock", what=str(study.images), why="both would write one account"):
            _tell_lost(study, say)
            run.all(policy, lookup)


@contextmanager
def _web(study: Study) -> Iterator[tuple[AddressPolicy, Lookup]]:
    """What may be asked, and how names are resolved; of the mini its own site, which lives as long as the block."""
    data = study.parameters.data
    if data.source.kind != "mini":
        yield AddressPolicy.parse(data.allow_addresses), look_up
        return
    from trackyard.recipes.datacomp.ingest.picture_server import PictureServer

    with PictureServer(seed=data.source.seed) as server:
        yield server.policy, server.lookup


class _Run:
    """The blocks of a study, and one visit to them."""

    def __init__(self, study: Study, say: Callable[[str], None]) -> None:
        self._study, self._data, self._say = study, study.parameters.data, say
        with open_rows(study.selected, stage="select") as file:
            self.blocks = file.num_row_groups
            self._rows = [file.metadata.row_group(number).num_rows for number in range(self.blocks)]
        self._started = time.monotonic()
        self._tried, self._seconds = 0, 0.0

    def all(self, policy: AddressPolicy, lookup: Lookup) -> None:
        """Blocks until enough is accepted, then the account; an account too where the losses stop the run."""
        blocks: list[Block] = []
        planned = min(self.blocks, planned_blocks(self._data))
        warnings: tuple[str, ...] = ()
        for number in range(self.blocks):
            if number >= planned and sum(block.counts[OK] for block in blocks) >= self._data.samples:
                break
            try:
                warnings = self.fetch(number, policy, lookup, before=blocks)
            except AcceptanceError as error:
                self._write([*blocks, Block.read(block_directory(self._study, number))], aborted=error.what)
                raise
            blocks.append(Block.read(block_directory(self._study, number)))
        for warning in warnings:
            self._say(f"  warning: {warning}")
        self._write(blocks, aborted=None)

    def fetch(
        self, number: int, policy: AddressPolicy, lookup: Lookup, *, before: list[Block] | None = None
    ) -> tuple[str, ...]:
        """One block, or what it lacks. before: blocks whose losses are judged together with its own."""
        directory = block_directory(self._study, number)
        counted = sum((block.counts for block in before or ()), Counter[str]())
        known = tried(directory)
        started = spoken = time.monotonic()

        def tell(progress: Progress) -> None:
            nonlocal spoken
            if time.monotonic() >= spoken + SAY_EVERY_S:
                spoken = time.monotonic()
                self._say(f"  {directory.name}  {progress.done:,} of {progress.total:,} rows, {progress.ok:,} images")

        report = fetch_images(
            self._urls(number),
            directory,
            parameters=self._data.images,
            policy=policy,
            lookup=lookup,
            progress=tell,
            among=Ledger.of(counted, total=sum(self._rows)),
            again=AGAIN,
        )
        if report.attempted > known:
            self._tried += report.attempted - known
            self._seconds += time.monotonic() - started
            self._say(f"{directory.name}  {report.ok:,} images of {self._rows[number]:,} rows")
        return report.warnings

    def _urls(self, number: int) -> Iterator[UrlRow]:
        with open_rows(self._study.selected, stage="select") as file:
            rows = file.read_row_group(number, columns=["url", "sha256", "face_bboxes"], use_threads=False).to_pydict()
        for url, sha256, faces in zip(rows["url"], rows["sha256"], rows["face_bboxes"], strict=True):
            yield UrlRow(url, sha256 or None, tuple(tuple(box) for box in faces or ()))

    def _write(self, blocks: list[Block], *, aborted: str | None) -> None:
        counts = sum((block.counts for block in blocks), Counter[str]())
        attempted, ok = sum(counts.values()), counts[OK]
        rows = sum(self._rows[: len(blocks)])
        repeated = sum(block.repeated for block in blocks)
        if aborted is None:
            conserve(counts, attempted=rows - repeated, where=str(self._study.images))
        body: dict[str, Any] = {
            "rows": rows,
            "repeated": repeated,
            "attempted": attempted,
            "ok": ok,
            "causes": {name: number for name, number in sorted(counts.items()) if name != OK},
            "acceptance": ok / attempted if attempted else 0.0,
            "mismatched": sum(marker.mismatched for block in blocks for marker in block.markers),
            "wanted": self._data.samples,
            "bytes_in": sum(marker.delivered for block in blocks for marker in block.markers),
            "rows_per_s": round(self._tried / self._seconds, 2) if self._seconds else None,
            "shards": [shard for block in blocks for shard in block.shards()],
            "aborted": aborted,
        }
        study = self._study
        header = study.header(
            "download",
            None,
            inputs={study.selected.relative_to(study.root).as_posix(): digest_file(study.selected)},
            device="cpu",
            wall_s=round(time.monotonic() - self._started, 3),
        )
        write_result(study.document("download"), "download", header, body)
        self._say(
            f"download  {ok:,} images of {attempted:,} addresses ({body['acceptance']:.1%}) in {len(blocks)} blocks"
        )
        for cause, number in sorted(body["causes"].items(), key=lambda item: -item[1]):
            self._say(f"  {number:>10,}  {cause}")
        if aborted is None and ok < self._data.samples:
            self._say(f"  warning: {self._data.samples:,} samples are wanted, and there are no more rows")


def _tell_lost(study: Study, say: Callable[[str], None]) -> None:
    """Name what the last account speaks of and is not there any more; it is fetched again like what never came."""
    path = study.document("download")
    if not path.is_file():
        return
    try:
        lost = lost_shards(study, read_result(path, "download").body)
    except DataError as error:
        say(f"  the last account cannot be used ({error.what}); what is there is examined from its markers")
        return
    if lost:
        say(f"  absent or cut since the last run, fetched again: {', '.join(lost)}")
