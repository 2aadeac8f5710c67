"""What a cache folder of `datasets` holds: configurations, the split files that their documents name, and the rest.

Two layouts: `<config>/<version>/<hash>/` with `dataset_info.json`, as `load_dataset` builds it, and folders with
`state.json` as `save_to_disk` writes them. Source: nine-datasets spec section 3.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackyard.acquire.staging.tables import ArrowTable

INFO = "dataset_info.json"
STATE = "state.json"
UNFINISHED = re.compile(r"\.lock$|\.incomplete(?:$|_)|\.incomplete/")
"""Names of what `datasets` locks or has not finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Excluded:
    """Something below a root that is not copied, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Cache:
    """tables: of the wanted splits. documents: files that describe them. problems: why the cache is not whole, each
    naming the file or the split."""

    folder: Path
    tables: list[ArrowTable] = field(default_factory=list)
    documents: list[Path] = field(default_factory=list)
    excluded: list[Excluded] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """Everything to copy, each once."""
        return list(dict.fromkeys([*self.documents, *(path for table in self.tables for path in table.files)]))


@dataclass(frozen=True, slots=True)
class _Split:
    config: str
    split: str
    files: tuple[Path, ...]
    rows: int | None


def read_cache(folder: Path, splits: frozenset[str] | None) -> Cache:
    """Read a cache folder that exists. splits: the wanted ones, None for all."""
    cache = Cache(folder)
    found: list[_Split] = []
    for build in _builds(cache):
        body = _document(cache, build / INFO)
        if body is not None:
            try:
                found += _splits_of(cache, build, body)
            except (KeyError, TypeError, AttributeError) as error:
                cache.problems.append(f"{build / INFO} is not as `datasets` writes it: {error!r}")
    wanted = [split for split in found if splits is None or split.split in splits]
    configs = {split.config for split in found}
    for split in wanted:
        _add(cache, split, f"{split.config}/{split.split}" if len(configs) > 1 else split.split)
    for name in sorted(splits or ()):
        lacking = sorted(configs - {split.config for split in wanted if split.split == name})
        has = ", ".join(sorted({split.split for split in found})) or "none"
        cache.problems += [f"configuration {config} has no split {name} (splits there: {has})" for config in lacking]
    if not found and not cache.problems:
        cache.problems.append(f"no {INFO} names a split")
    _exclude_rest(cache)
    return cache


def _builds(cache: Cache) -> Iterator[Path]:
    """Folders with documents; of several builds of one configuration the newest, as `datasets` chooses offline."""
    by_config: dict[Path, list[Path]] = {}
    for document in sorted(cache.folder.rglob(INFO)):
        build = document.parent
        if UNFINISHED.search(f"{build.relative_to(cache.folder)}/"):
            continue
        key = build if (build / STATE).is_file() else build.parent
        by_config.setdefault(key, []).append(build)
    for builds in by_config.values():
        newest = max(builds, key=lambda build: ((build / INFO).stat().st_mtime_ns, build.name))
        yield newest
        cache.excluded += [
            Excluded(path=str(build), reason="an older build of the same configuration")
            for build in builds
            if build != newest
        ]


def _document(cache: Cache, path: Path) -> Mapping[str, Any] | None:
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        cache.problems.append(f"{path}: {error}")
        return None
    if not isinstance(body, dict):
        cache.problems.append(f"{path} is no JSON object")
        return None
    return body


def _splits_of(cache: Cache, build: Path, info: Mapping[str, Any]) -> Iterator[_Split]:
    if (build / STATE).is_file():
        state = _document(cache, build / STATE)
        if state is not None:
            names = [str(item["filename"]) for item in state.get("_data_files") or []]
            split = str(state.get("_split") or build.name)
            rows = _rows(info, split)
            config = "." if build == cache.folder else str(build.parent.relative_to(cache.folder))
            yield _Split(config, split, tuple(build / name for name in names), rows)
        return
    config = build.relative_to(cache.folder).parts[0] if build != cache.folder else "."
    for split, facts in (info.get("splits") or {}).items():
        name = facts.get("dataset_name") or info.get("dataset_name") or info.get("builder_name")
        yield _Split(config, split, tuple(_split_files(build, str(name), split, facts)), _rows(info, split))


def _rows(info: Mapping[str, Any], split: str) -> int | None:
    facts = (info.get("splits") or {}).get(split) or {}
    rows = facts.get("num_examples")
    return rows if isinstance(rows, int) else None


def _split_files(build: Path, name: str, split: str, facts: Mapping[str, Any]) -> list[Path]:
    """Files of a split as `datasets` names them: the count of shards is in the name from two on."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name)
    name = re.sub(r"([a-z\d])([A-Z])", r"\1_\2", name).lower()
    shards = len(facts.get("shard_lengths") or [])
    if shards > 1:
        return [build / f"{name}-{split}-{number:05d}-of-{shards:05d}.arrow" for number in range(shards)]
    return [build / f"{name}-{split}.arrow"]


def _add(cache: Cache, split: _Split, name: str) -> None:
    absent = [path for path in split.files if not path.is_file()]
    cache.problems += [f"{path} is not there, and the split {name} names it" for path in absent]
    if not split.files:
        cache.problems.append(f"the split {name} names no file")
    cache.documents += _documents_of(cache.folder, split.files)
    if not absent and split.files:
        cache.tables.append(ArrowTable(name=name, files=split.files, declared=split.rows))


def _documents_of(folder: Path, files: tuple[Path, ...]) -> Iterator[Path]:
    """The documents beside split files, and `dataset_dict.json` above them."""
    for build in dict.fromkeys(path.parent for path in files):
        beside = [build / INFO, build / STATE]
        if build != folder:
            beside.append(build.parent / "dataset_dict.json")
        yield from (path for path in beside if path.is_file())


def _exclude_rest(cache: Cache) -> None:
    """Say of every other file in the folder why it stays."""
    kept = set(cache.files)
    older = tuple(f"{item.path}/" for item in cache.excluded)
    for path in sorted(path for path in cache.folder.rglob("*") if not path.is_dir()):
        if path in kept or str(path).startswith(older):
            continue
        unfinished = UNFINISHED.search(str(path.relative_to(cache.folder)))
        reason = "a lock or an unfinished file" if unfinished else "no file of a wanted split"
        cache.excluded.append(Excluded(path=str(path), reason=reason))
