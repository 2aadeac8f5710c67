"""The files that a mapping reads: patterns become a complete, ordered list, or an error that says what is missing."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from trackyard.acquire.importing.mapping import ImportMapping, Split
from trackyard.errors import ConfigError, DataError

_WILD = re.compile(r"[*?\[]")
_SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})(-[0-9a-f]{16})?(?P<suffix>\.\w+)")
"""How `datasets` names the shards of a split; older ones carry a digest of their own."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of annotations. name: as the mapping's folder sees it; split: None where the records decide it.

    prefix: of ids that are made from line numbers; the name where there are several files.
    """

    path: Path
    name: str
    split: Split | None
    prefix: str = "line"


def resolve(mapping: ImportMapping, *, where: Path, base: Path) -> tuple[SourceFile, ...]:
    """Files of a mapping, in order of its patterns and then of their names.

    where: the mapping file; base: what `source` is relative to. DataError where a file, a pattern's files or a shard
    of a numbered set is missing: an import of what happens to be there would look complete.
    """
    folder = base if mapping.source is not None else where.parent
    found: list[SourceFile] = []
    for split, pattern in mapping.patterns():
        named = matching(folder, pattern, where=where)
        found += [SourceFile(path, _name(path, folder), split) for path in named]
    path, times = Counter(file.path for file in found).most_common(1)[0]
    if times > 1:
        raise ConfigError(
            what=f"{_name(path, folder)} is named twice by the sources of {where}",
            why="its rows would be there twice",
            fix=f"make the patterns of {where} disjoint",
        )
    if len(found) == 1:
        return tuple(found)
    return tuple(replace(file, prefix=str(PurePosixPath(file.name).with_suffix(""))) for file in found)


def matching(folder: Path, pattern: str, *, where: Path) -> list[Path]:
    """The files that a name or a pattern stands for; DataError if there are none, or a numbered shard is missing."""
    if not _WILD.search(pattern):
        path = folder / pattern
        if not path.is_file():
            raise DataError(
                what=f"{path} does not exist",
                why=f"it is the source that {where} names, relative to {folder}",
                fix=f"trackyard data import {where} --base FOLDER, the folder that holds the source",
            )
        return [path]
    if Path(pattern).is_absolute():
        raise ConfigError(
            what=f"{where} has the absolute pattern {pattern}",
            why="a pattern is relative to the base directory, so that it means the same on every machine",
            fix="write it relative to the folder that --base names",
        )
    paths = sorted(path for path in folder.glob(pattern) if path.is_file())
    if not paths:
        raise DataError(
            what=f"no file below {folder} matches {pattern}",
            why=f"it is a source that {where} names",
            fix=f"trackyard data import {where} --base FOLDER, the folder that holds the source",
        )
    missing = list(_missing_shards(paths))
    if missing:
        raise DataError(
            what=f"of {pattern} in {folder}, {len(missing)} numbered files are missing: {', '.join(missing[:5])}",
            why="an import of the others would look complete",
            fix="fetch the dataset again: `trackyard data fetch` brings only what is missing",
        )
    return paths


def _missing_shards(paths: Sequence[Path]) -> Iterator[str]:
    sets: dict[tuple[Path, str, str, str], set[int]] = defaultdict(set)
    for path in paths:
        match = _SHARD.fullmatch(path.name)
        if match:
            sets[path.parent, match["stem"], match["count"], match["suffix"]].add(int(match["number"]))
    for (_, stem, count, suffix), numbers in sets.items():
        for number in range(int(count)):
            if number not in numbers:
                yield f"{stem}-{number:05d}-of-{count}{suffix}"


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
