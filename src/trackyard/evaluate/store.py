"""The store of what was measured of one configuration on one task: appended to by any processes, finished by its ids.

A folder holds `about.json`, which says what is measured, and the part files of every process that ever worked on it.
What is done is what its lines say, never that a file exists. Source: nine-datasets spec sections 6 and 8.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self

from trackyard.digest import digest_json
from trackyard.durable import TEMPORARY, write_atomic
from trackyard.errors import DataError
from trackyard.evaluate.part_files import PartWriter, read_part, read_parts
from trackyard.evaluate.records import Lines, R
from trackyard.sealed import read_sealed, write_sealed

ABOUT, SCHEMA = "about.json", "trackyard-store/1"
NAMED = 5
"""Ids that a message names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found(Generic[R]):
    """What a store holds. records: by id, each once. others: those that do not count, as warm-up. cut: lines that a
    kill left unreadable; what they were about is not among the records."""

    records: Mapping[str, R]
    others: Sequence[R]
    cut: int


class Store(Generic[R]):
    """Records of one configuration on one task.

    Opening one says what is measured; DataError if the folder is about something else.

    about: key document of the configuration, digest of the task, and whatever else decides the records.
    ids: those that are expected, all of them, whatever part of them this process does.
    again: the command that measures what is missing, for messages.
    """

    def __init__(
        self, folder: Path, kind: type[R], *, key: str, about: Mapping[str, Any], ids: Sequence[str], again: str
    ) -> None:
        self.folder, self.key, self.again = folder, key, again
        self.ids = tuple(ids)
        self._expected = frozenset(ids)
        self._lines: Lines[R] = Lines(kind)
        if len(self._expected) != len(self.ids):
            raise DataError(
                what=f"{folder}: {len(self.ids) - len(self._expected)} of {len(self.ids)} expected ids are there twice",
                why="a sample that counts twice changes every mean",
                fix="list the questions again: trackyard run nine data",
            )
        # Of the set: questions in another order are the same questions.
        stated = {"key": key, "records": self._lines.schema, "ids": digest_json(sorted(ids)), "about": dict(about)}
        self._claim(stated)

    def writer(self, label: str = "") -> RecordWriter[R]:
        """Where this process appends. label: of the process, for people, as `2-of-3`."""
        return RecordWriter(PartWriter(self.folder, label), self._lines, self.key, self._expected)

    def found(self) -> Found[R]:
        """Everything that is whole; of an id that failed and was done again, what succeeded.

        DataError for a record of another configuration or an id that is not expected, and for two of one id that
        succeeded and differ.
        """
        return self._gathered()[0]

    def missing(self, ids: Iterable[str] | None = None, *, failed: bool = False) -> list[str]:
        """Those of `ids`, all expected ones if not given, that are not done, in their order.

        failed: those that failed as well, to be tried again.
        """
        records = self.found().records
        done = {name for name, record in records.items() if not (failed and record.failed)}
        return [name for name in (self.ids if ids is None else ids) if name not in done]

    def finalise(self, path: Path, *, partial: bool = False) -> Found[R]:
        """Write all records to `path`, sorted by id, and return them.

        The same records give the same bytes, whatever processes, kills and orders they came by. DataError unless all
        ids are there; partial: what there is.
        """
        found, lines = self._gathered()
        missing = [] if partial else [name for name in self.ids if name not in found.records]
        if missing:
            raise DataError(
                what=f"{self.folder} lacks {len(missing):,} of {len(self.ids):,} samples: "
                f"{', '.join(missing[:NAMED])}{' …' if len(missing) > NAMED else ''}",
                why="a mean over a part of the samples is another number",
                fix=self.again,
            )
        write_atomic(path, b"".join(line + b"\n" for _, line in sorted(lines)))
        return found

    def _gathered(self) -> tuple[Found[R], list[tuple[tuple[str, bool], bytes]]]:
        """What is whole, and the lines of it, each with what it is sorted by."""
        held: dict[str, tuple[R, bytes, Path]] = {}
        others: list[tuple[R, bytes]] = []
        cut = 0
        for part in read_parts(self.folder):
            cut += part.torn
            for line in part.lines:
                record = self._lines.record(line, where=str(part.path))
                if record is None:
                    cut += 1
                    continue
                _check(record, self.key, self._expected, str(part.path))
                if not record.counts:
                    others.append((record, line))
                elif record.id not in held or _replaces(record, line, part.path, held[record.id]):
                    held[record.id] = record, line, part.path
        lines = [((name, False), line) for name, (_, line, _) in held.items()]
        lines += [((record.id, True), line) for record, line in others]
        records = {name: record for name, (record, _, _) in held.items()}
        return Found(records=records, others=[record for record, _ in others], cut=cut), lines

    def _claim(self, stated: Mapping[str, Any]) -> None:
        """Say what the folder is about, or check that it says the same."""
        path = self.folder / ABOUT
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            draft = self.folder / f"{TEMPORARY}{ABOUT}.{secrets.token_hex(6)}"
            write_sealed(draft, SCHEMA, stated)
            try:
                # A link, as a rename would replace what another process has claimed meanwhile.
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        fix = f"move {self.folder} away and run again: {self.again}"
        held: dict[str, Any] = read_sealed(path, SCHEMA, fix=fix)
        # By their digests, as tuples are read back as lists.
        other = [name for name in sorted(stated) if digest_json(held.get(name)) != digest_json(stated[name])]
        if other:
            raise DataError(
                what=f"{self.folder} holds samples of something else: other {', '.join(other)}",
                why="samples of two measurements would be one mean",
                fix=fix,
            )


class RecordWriter(Generic[R]):
    """Appends the records of one process. DataError for a record that does not belong into its store."""

    def __init__(self, part: PartWriter, lines: Lines[R], key: str, expected: frozenset[str]) -> None:
        self._part, self._key, self._expected = part, key, expected
        self._lines: Lines[R] = lines

    def append(self, record: R) -> None:
        """Add a record. It is on disk at the latest with `flush`."""
        _check(record, self._key, self._expected, "this process")
        self._part.append(self._lines.line(record))

    def flush(self) -> None:
        """Put everything so far where a kill of this process cannot undo it."""
        self._part.flush()

    def close(self) -> None:
        """Flush, make durable, and end."""
        self._part.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_records(path: Path, kind: type[R]) -> Iterator[R]:
    """Records of a file that `Store.finalise` wrote, in its order. DataError if it is absent, cut, or altered."""
    fix = "run the stage that wrote it again"
    try:
        part = read_part(path)
    except FileNotFoundError as error:
        raise DataError(what=f"{path} does not exist", why="it holds the samples that are read", fix=fix) from error
    lines: Lines[R] = Lines(kind)
    for line in part.lines:
        record = lines.record(line, where=str(path))
        if record is None:
            raise DataError(what=f"{path}: a line that is no JSON", why="it was altered after it was written", fix=fix)
        yield record
    if part.torn:
        raise DataError(what=f"{path} ends within a line", why="it was cut after it was written", fix=fix)


def _check(record: R, key: str, expected: frozenset[str], where: str) -> None:
    if record.key != key or record.id not in expected:
        raise DataError(
            what=f"{where}: a record of {record.id} under the configuration {record.key}",
            why=f"this store is about other samples, or about the configuration {key}",
            fix=f"move what does not belong here away ({where}), and run the stage again",
        )


def _replaces(record: R, line: bytes, path: Path, held: tuple[R, bytes, Path]) -> bool:
    """Whether a record takes the place of one of the same id. DataError if both succeeded and differ."""
    other, other_line, other_path = held
    if line == other_line:
        return False
    if record.failed and other.failed:
        # Whichever was first on a disk, the same one of them is kept.
        return line < other_line
    if record.failed or other.failed:
        return other.failed
    raise DataError(
        what=f"{record.id} was measured twice, and not alike: {other_path} and {path.name}",
        why="the same model gives the same answer to the same question, and a timing is taken once: "
        "something else was measured in one of the two",
        fix=f"find out which is right, move the other file away, and run the stage again ({path.parent})",
    )
