"""The closure of an entry: its cache or question file, and every image that a row of the wanted splits points to.

Source: nine-datasets spec section 3.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from trackyard.acquire.files.walk import walk
from trackyard.acquire.staging.caches import Excluded, read_cache
from trackyard.acquire.staging.columns import IMAGE_NAME
from trackyard.acquire.staging.roots import HF_HOME, MOLMO, Locator, Placed, Roots
from trackyard.acquire.staging.scene_text import QUESTIONS, QuestionTable, read_questions, scene_text_split
from trackyard.acquire.staging.survey import IMAGE_ROWS, ROWS, Survey, added, agrees, survey
from trackyard.acquire.staging.tables import Table
from trackyard.catalog.entries import Entry
from trackyard.digest import digest_json
from trackyard.errors import DataError

Splits = Literal["needed", "all"]
Trouble = Literal["missing", "partial", "dangling", "outside"]
BLOCK = 512
"""Bytes of a block in `st_blocks`, whatever the file system's own block is."""


@dataclass(frozen=True, slots=True)
class FileFact:
    """A file of the closure. allocated: bytes of its blocks on disk."""

    placed: Placed
    bytes: int
    allocated: int


@dataclass(frozen=True, slots=True)
class BadReference:
    """A path that rows store and no file answers. kind: outside of every root, or dangling below one."""

    stored: str
    kind: Literal["dangling", "outside"]
    why: str
    placed: Placed | None


@dataclass(slots=True)
class EntryClosure:
    """references: stored path -> file. files: of the cache or the question file, without what they point to.
    problems: why the entry is not whole, with the kind of trouble."""

    entry: Entry
    surveys: list[Survey] = field(default_factory=list)
    files: list[FileFact] = field(default_factory=list)
    references: dict[str, FileFact] = field(default_factory=dict)
    bad: list[BadReference] = field(default_factory=list)
    problems: list[tuple[Trouble, str]] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Every file is there, and the rows are as many as the entry states."""
        return not self.problems and not self.bad

    @property
    def counts(self) -> dict[str, int]:
        return added(one.counts for one in self.surveys)

    def identity(self, one: Survey) -> str:
        """Digest of what a split is made of: names and sizes of its files and of those that it points to."""
        files = [(path.name, path.stat().st_size) for path in one.table.files]
        facts = [self.references[path] for path in one.paths if path in self.references]
        return digest_json([one.table.name, one.counts, files, [(fact.placed.relative, fact.bytes) for fact in facts]])


def close(entry: Entry, roots: Roots, locator: Locator, splits: Splits) -> EntryClosure:
    """The closure of an evaluated entry. Nothing is written; what is wrong is listed, not raised."""
    if entry.nine is None:
        raise ValueError(f"{entry.name} is none of the nine datasets")
    closed = EntryClosure(entry)
    if entry.nine.cache is not None:
        tables = _cache(closed, roots, entry.nine.cache, entry.nine.split, splits)
    else:
        tables = _questions(closed, roots, splits)
    for table in tables:
        try:
            found = survey(table)
        except DataError as error:
            closed.problems.append(("partial", error.what))
            continue
        closed.surveys.append(found)
        rows = found.counts[ROWS]
        if table.declared is not None and rows != table.declared:
            what = f"{table.files[0]} and its like hold {rows:,} rows, {table.declared:,} are declared"
            closed.problems.append(("partial", what))
    _refer(closed, locator)
    if entry.nine.cache is None:
        closed.excluded += _unused(closed, roots.raw / entry.nine.raw[0])
    if not closed.problems:
        _count(closed)
    return closed


def _cache(closed: EntryClosure, roots: Roots, name: str, split: str, splits: Splits) -> Sequence[Table]:
    folder = roots.caches / name
    if not folder.is_dir():
        closed.problems.append(("missing", f"the cache {folder} is not there"))
        return ()
    cache = read_cache(folder, frozenset({split}) if splits == "needed" else None)
    closed.problems += [("partial", problem) for problem in cache.problems]
    closed.excluded += cache.excluded
    for path in cache.files:
        found = look(Placed(HF_HOME, str(path.relative_to(roots.hf_home)), path))
        if isinstance(found, FileFact):
            closed.files.append(found)
        else:
            closed.problems.append(("partial", f"{path}: {found}"))
    return cache.tables


def _questions(closed: EntryClosure, roots: Roots, splits: Splits) -> Sequence[Table]:
    """Splits of the entry without a cache: a question file in its raw folder."""
    nine = closed.entry.nine
    if nine is None or not nine.raw:
        raise ValueError(f"{closed.entry.name} has neither a cache nor a raw folder")
    folder = roots.raw / nine.raw[0]
    path = folder / QUESTIONS
    if not path.is_file():
        closed.problems.append(("missing", f"the question file {path} is not there"))
        return ()
    fact = look(Placed(MOLMO, str(path.relative_to(roots.molmo)), path))
    if isinstance(fact, FileFact):
        closed.files.append(fact)
    try:
        validation, train = scene_text_split(read_questions(path), validation=nine.samples)
    except DataError as error:
        closed.problems.append(("partial", error.what))
        return ()
    tables = [QuestionTable(name=nine.split, questions=tuple(validation), folder=folder)]
    if splits == "all" and train:
        tables.append(QuestionTable(name="train", questions=tuple(train), folder=folder))
    return tables


def _unused(closed: EntryClosure, folder: Path) -> Iterator[Excluded]:
    """What else lies beside a question file: documents by name, images by their number."""
    used = {fact.placed.path for fact in (*closed.files, *closed.references.values())}
    rest = sorted(found.path for found in walk(folder) if folder / found.path not in used) if folder.is_dir() else []
    images = [path for path in rest if IMAGE_NAME.search(path)]
    yield from (Excluded(path=str(folder / path), reason="not needed") for path in rest if path not in set(images))
    if images:
        reason = f"{len(images):,} images that no question of a wanted split shows, such as {images[0]}"
        yield Excluded(path=str(folder), reason=reason)


def _refer(closed: EntryClosure, locator: Locator) -> None:
    for stored in dict.fromkeys(path for one in closed.surveys for path in one.paths):
        placed = locator.locate(stored) if os.path.isabs(stored) else None  # noqa: PTH117
        if placed is None:
            why = "below no known root" if os.path.isabs(stored) else "not absolute"  # noqa: PTH117
            closed.bad.append(BadReference(stored, "outside", why, None))
            continue
        found = look(placed)
        if isinstance(found, FileFact):
            closed.references[stored] = found
        else:
            closed.bad.append(BadReference(stored, "dangling", found, placed))


def look(placed: Placed) -> FileFact | str:
    """The file that is there, links followed; otherwise why it is of no use."""
    try:
        status = os.stat(placed.path)  # noqa: PTH116 - a Path costs more than the call
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    if not stat.S_ISREG(status.st_mode):
        return "no regular file"
    if status.st_size == 0:
        return "an empty file"
    return FileFact(placed, status.st_size, status.st_blocks * BLOCK)


def _count(closed: EntryClosure) -> None:
    """Compare the rows of the evaluated split with the samples that the entry states."""
    nine = closed.entry.nine
    if nine is None:
        return
    evaluated = [one for one in closed.surveys if one.table.name.rsplit("/", 1)[-1] == nine.split]
    counts = added(one.counts for one in evaluated)
    if not agrees(counts, nine.samples):
        told = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        parts = f" in {len(evaluated)} configurations" if len(evaluated) > 1 else ""
        closed.problems.append(
            ("partial", f"the split {nine.split} has {told}{parts}; {nine.samples:,} samples are stated")
        )
    closed.problems += [("partial", problem) for problem in _imageless(evaluated)]


def _imageless(surveys: Sequence[Survey]) -> Iterator[str]:
    for one in surveys:
        if not one.counts[IMAGE_ROWS]:
            yield f"no row of {one.table.name} has an image or a path to one"
