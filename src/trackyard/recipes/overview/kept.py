"""What the report stage of a track put out, read back past its seal: rows, pairs, figures, models, and its origin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from trackyard.digest import digest_file, short
from trackyard.errors import DataError
from trackyard.recipes.overview.blocks import Picture
from trackyard.recipes.overview.track import Model, Origin, StageTime


class Header(Protocol):
    """What the headers of results of every track have in common. wall_s: seconds."""

    @property
    def git_commit(self) -> str: ...
    @property
    def image_digest(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def wall_s(self) -> float: ...


def unchanged(root: Path, inputs: Mapping[str, str], *, again: str) -> list[str]:
    """What a report stage read. inputs: digest of each file, by its path relative to `root`.

    DataError for one that is absent or another by now.
    """
    for path, digest in inputs.items():
        found = digest_file(root / path) if (root / path).is_file() else None
        if found != digest:
            now = "absent" if found is None else short(found)
            raise DataError(
                what=f"{path} is {now}, the tables were made from {short(digest)}",
                why="scores of one run would stand beside the origin and the cost of another",
                fix=again,
            )
    return list(inputs)


def origin(results: Iterable[tuple[str, Header]], *, trains: str | None = None) -> Origin:
    """results: stage and header of each. trains: the stage whose time its runs tell."""
    found = list(results)
    return Origin(
        commits=frozenset(header.git_commit for _, header in found),
        images=frozenset(header.image_digest for _, header in found),
        times=times((stage, header.wall_s, header.device) for stage, header in found if stage != trains),
    )


def exports(track: str, folder: Path, cells: Iterable[tuple[str, str]]) -> tuple[Model, ...]:
    """The exports below `folder` of cells, each a name and a path in it. Of the first one the chain is drawn."""
    return tuple(
        Model(name=f"{track} {name}", directory=folder / path, drawn=number == 0)
        for number, (name, path) in enumerate(cells)
    )


def with_interval(body: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """`body` with the intervals of `names` as a mapping of their ends, where they were written as a pair."""
    return dict(body) | {name: {"low": body[name][0], "high": body[name][1]} for name in names}


def in_order(value: Any, order: Sequence[str]) -> Any:
    """`value` with every mapping by cell in the order of `order`: sealed files have their keys sorted."""
    if isinstance(value, Mapping):
        keys = order if value.keys() == set(order) else value.keys()
        return {key: in_order(value[key], order) for key in keys}
    return value


def kept_picture(results: Path, name: str, *, track: str, caption: str, alt: str, again: str) -> Picture:
    """A figure of the folder `results`, where it lies as .svg and .png. DataError if one is absent."""
    files = [results / f"{name}{ending}" for ending in (".svg", ".png")]
    for file in files:
        if not file.is_file():
            raise DataError(what=f"{file} does not exist", why="it is a figure of the report", fix=again)
    return Picture(
        name=f"{track}-{Path(name).name}",
        caption=caption,
        alt=alt,
        svg=files[0].read_text(encoding="utf-8"),
        png=files[1].read_bytes(),
    )


def times(found: Iterable[tuple[str, float, str]]) -> tuple[StageTime, ...]:
    """found: stage, seconds and device of every result."""
    by_stage: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for stage, seconds, device in found:
        by_stage[stage].append((seconds, device))
    return tuple(
        StageTime(
            stage=stage,
            results=len(parts),
            seconds=sum(seconds for seconds, _ in parts),
            device=", ".join(sorted({device for _, device in parts})),
        )
        for stage, parts in by_stage.items()
    )
