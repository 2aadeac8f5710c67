"""The stage that makes the list of samples: of the pictures that came, none twice, none of a benchmark, all described.

Which of two copies a fetch stored depends on the shard that ended first. Here it is always the first row in keyed order
that stays, so that the list follows from rows and pictures alone. Every row that was asked for is in rows.parquet with
one outcome. Source: theworld section 7, curate.
"""

from __future__ import annotations

import math
import os
import time
import unicodedata
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.images.lookup import Lost, UrlImages
from trackyard.acquire.images.outcomes import OK, Ledger, conserve, ledger
from trackyard.acquire.images.pinned_list import listed_url
from trackyard.digest import digest_file
from trackyard.durable import TEMPORARY, fsync_directory, fsync_file
from trackyard.errors import DataError
from trackyard.recipes.datacomp.evaluating.items import eval_pictures, undrawn_pictures
from trackyard.recipes.datacomp.ingest.blocks import finished_blocks
from trackyard.recipes.datacomp.ingest.picture_hashes import DUPLICATE, OVERLAP, KnownPictures, PictureHashes, hashes_of
from trackyard.recipes.datacomp.ingest.rows import open_rows
from trackyard.recipes.datacomp.ingest.samples import COLUMNS
from trackyard.recipes.datacomp.results import PIPELINE, read_result, write_result
from trackyard.recipes.datacomp.study import Study

STAGE = "curate"
EMPTY = "empty_caption"
REMOVED = (DUPLICATE, OVERLAP, EMPTY)
ROWS_FILE = "rows.parquet"
AHEAD = 8
"""Pictures of each thread that are under way or wait to be taken."""
GROUP_ROWS = 8192
_OUTCOMES = pa.schema([("uid", pa.string()), ("block", pa.int32()), ("outcome", pa.string()), ("kept", pa.bool_())])
_SPARE = 0.95
"""Of the share of rows that became samples, what is planned with where there were too few."""


def curate(study: Study, say: Callable[[str], None]) -> None:
    """Write `Study.curated` with the first N samples in keyed order, and rows.parquet beside it.

    DataError if there are fewer, if the download was stopped, or if its account and the rows do not agree; a list that
    was there before stays then.
    """
    started, data = time.monotonic(), study.parameters.data
    account = read_result(study.document("download"), "download").body
    if account["aborted"] is not None:
        raise DataError(
            what=f"the download was stopped: {account['aborted']}",
            why="losses that are not ordinary would decide what is trained on",
            fix="trackyard run datacomp download",
        )
    blocks = finished_blocks(study)
    known = KnownPictures(chain(eval_pictures(study), undrawn_pictures(study)))
    counts, kept = Counter[str](), 0
    partial, partial_rows = (study.curated.with_name(f"{TEMPORARY}{name}") for name in (study.curated.name, ROWS_FILE))
    study.curated.parent.mkdir(parents=True, exist_ok=True)
    with (
        pq.ParquetWriter(partial, COLUMNS, compression="zstd", write_page_checksum=True) as samples,
        pq.ParquetWriter(partial_rows, _OUTCOMES, compression="zstd", write_page_checksum=True) as rows,
    ):
        for number, directory in enumerate(blocks):
            settled = _settled(_rows(study, number, directory), known, number)
            for group in _groups(settled):
                counts.update(row.outcome for row in group)
                whole = [row for row in group if row.outcome == OK][: data.samples - kept]
                names = {row.uid for row in whole}
                kept += len(whole)
                rows.write_table(pa.Table.from_pylist([row.account(names) for row in group], schema=_OUTCOMES))
                samples.write_table(pa.Table.from_pylist([row.sample() for row in whole], schema=COLUMNS))
    _conserved(counts, account)
    if kept < data.samples:
        partial.unlink()
        partial_rows.unlink()
        raise _too_few(study, counts, kept)
    for path, name in ((partial, study.curated.name), (partial_rows, ROWS_FILE)):
        fsync_file(path)
        path.replace(study.curated.with_name(name))
    fsync_directory(study.curated.parent)
    _write(study, counts, kept, known, time.monotonic() - started)
    told = ", ".join(f"{counts[cause]:,} {cause}" for cause in REMOVED)
    say(f"curate    {kept:,} samples, {counts[OK] - kept:,} more are not needed; removed: {told}")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a block. image: blake3 of its picture, hex; hashes: of it. Without a picture `outcome` says why."""

    uid: str
    url: str
    caption: str
    block: int
    outcome: str
    image: str = ""
    hashes: PictureHashes | None = None

    def account(self, kept: set[str]) -> dict[str, Any]:
        return {"uid": self.uid, "block": self.block, "outcome": self.outcome, "kept": self.uid in kept}

    def sample(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in COLUMNS.names}


def _rows(study: Study, number: int, directory: Path) -> Iterator[tuple[_Row, bytes]]:
    """Rows of a block in keyed order with their pictures; b"" where there is none, or none is needed."""
    images = UrlImages.open(directory)
    found, seen = Counter[str](), set[str]()
    with open_rows(study.selected, stage="select") as file:
        columns = file.read_row_group(number, columns=["uid", "url", "text"], use_threads=False).to_pydict()
    for uid, url, text in zip(columns["uid"], columns["url"], columns["text"], strict=True):
        image, address = images.find(url), listed_url(url)
        if address not in seen:
            seen.add(address)
            found[image.cause if isinstance(image, Lost) else OK] += 1
        caption = unicodedata.normalize("NFC", text or "").strip()
        if isinstance(image, Lost):
            yield _Row(uid, address, caption, number, image.cause), b""
        elif not caption:
            yield _Row(uid, address, caption, number, EMPTY, image.blake3), b""
        else:
            yield _Row(uid, address, caption, number, OK, image.blake3), image.bytes
    _same_addresses(found, ledger(directory), directory)


def _same_addresses(found: Counter[str], said: Ledger, directory: Path) -> None:
    """A copy has a picture, so it is `ok` here until its pixels are seen."""
    told = Counter({OK: said.ok, **said.by_cause})
    told[OK] += told.pop(DUPLICATE, 0)
    if found != told:
        raise DataError(
            what=f"{directory}: its rows have the outcomes {dict(found)}, its markers say {dict(told)}",
            why="the rows that were selected are not those that were fetched, or rows were lost",
            fix=f"rm -r {directory}; then: trackyard run datacomp download",
        )


def _settled(rows: Iterator[tuple[_Row, bytes]], known: KnownPictures, number: int) -> Iterator[_Row]:
    """Rows with their final outcome, in order; pictures are decoded side by side ahead of that."""
    threads = len(os.sched_getaffinity(0))
    waiting: deque[tuple[_Row, Future[PictureHashes] | None]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix=f"block {number}") as pool:
        for row, data in rows:
            waiting.append((row, pool.submit(hashes_of, data, row.image) if data else None))
            if len(waiting) > threads * AHEAD:
                yield _judged(*waiting.popleft(), known)
        while waiting:
            yield _judged(*waiting.popleft(), known)


def _judged(row: _Row, hashes: Future[PictureHashes] | None, known: KnownPictures) -> _Row:
    if hashes is None:
        return row
    outcome = known.judge(hashes.result())
    return _Row(row.uid, row.url, row.caption, row.block, outcome, row.image)


def _groups(rows: Iterator[_Row]) -> Iterator[list[_Row]]:
    group: list[_Row] = []
    for row in rows:
        group.append(row)
        if len(group) == GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _conserved(counts: Counter[str], account: Any) -> None:
    """Every row of the download has one outcome here; without a picture that of its address."""
    conserve(counts, attempted=account["rows"], where="rows of the list of samples")
    lost = Counter({cause: number for cause, number in account["causes"].items() if cause != DUPLICATE})
    if any(counts[cause] < number for cause, number in lost.items()):
        raise DataError(
            what=f"outcomes of rows {dict(counts)}, and losses of the download {dict(lost)}",
            why="a row cannot have a picture that was never there",
            fix=f"dvc repro {PIPELINE}:download",
        )


def _too_few(study: Study, counts: Counter[str], kept: int) -> DataError:
    data, asked = study.parameters.data, sum(counts.values())
    told = ", ".join(f"{number:,} {outcome}" for outcome, number in counts.most_common())
    with open_rows(study.selected, stage="select") as file:
        rows = file.metadata.num_rows
    share = math.floor(1000 * _SPARE * kept / asked) / 1000
    fewer = f"set datacomp.data.samples to at most {kept:,}"
    more = f"set datacomp.data.planned_acceptance to {share:g}, so that more of {rows:,} rows are asked for"
    return DataError(
        what=f"{kept:,} samples where {data.samples:,} are wanted; of {asked:,} rows: {told}",
        why="steps, epochs and every comparison are those of the number that was planned",
        fix=f"in params.yaml {more if rows > asked and 0 < share < data.planned_acceptance else fewer}; then: "
        f"dvc repro {PIPELINE}",
    )


def _write(study: Study, counts: Counter[str], kept: int, known: KnownPictures, wall_s: float) -> None:
    documents = (study.document("select"), study.document("download"))
    items = (study.items(name) for name in study.parameters.evaluation.sets)
    header = study.header(
        STAGE,
        None,
        inputs={path.relative_to(study.root).as_posix(): digest_file(path) for path in (*documents, *items)},
        device="cpu",
        wall_s=round(wall_s, 3),
    )
    body = {
        "kept": kept,
        "surplus": counts[OK] - kept,
        "removed": {cause: counts[cause] for cause in REMOVED},
        "attempted": sum(counts.values()),
        "outcomes": dict(sorted(counts.items())),
        "eval_pictures": known.pictures,
        "eval_pictures_without_gradient": known.degenerate,
        "samples": {"path": study.curated.relative_to(study.root).as_posix(), "digest": digest_file(study.curated)},
    }
    write_result(study.document(STAGE), STAGE, header, body)
