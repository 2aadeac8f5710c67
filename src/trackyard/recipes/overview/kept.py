"""What the report stage of a track put out, read back past its seal: rows, pairs, figures, and what stages took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trackyard.errors import DataError
from trackyard.recipes.overview.blocks import Picture
from trackyard.recipes.overview.track import StageTime


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
