"""A look at data before they are trained on: what a dataset holds, and some of its rows as a person would see them.

Takes a snapshot, one dataset of it, or any Parquet, Arrow or JSONL file. Source: molmo2 spec section 3, "Inspection".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from PIL import Image

from trackyard.acquire.media import UnreadableMedia, decoded, frame_table, open_image, open_video, packets_from
from trackyard.errors import ConfigError, DataError
from trackyard.row import Media, Row
from trackyard.snapshot.manifest import NAME
from trackyard.snapshot.reader import SnapshotDataset, open_snapshot

SUFFIXES = (".parquet", ".arrow", ".jsonl")
THUMBNAIL = 320
"""Longest side in pixels of a picture that is kept for display."""
_MEDIA_FACTS = ("kind", "width", "height", "frames", "duration")


@dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """Least, middle and greatest of some values."""

    least: float
    median: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        ordered = sorted(values)
        return cls(least=ordered[0], median=ordered[len(ordered) // 2], greatest=ordered[-1]) if ordered else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What was counted over every row of one split, or of one file.

    columns: name -> type. media: pieces by kind. without_media: rows that hold none. tasks: rows by task. Spreads are
    of pixels, frames, seconds, and characters of a row's texts; None where there is nothing to measure.
    """

    name: str
    split: str
    rows: int
    files: int
    bytes: int
    columns: Mapping[str, str]
    media: Mapping[str, int] = field(default_factory=dict)
    without_media: int = 0
    tasks: Mapping[str, int] = field(default_factory=dict)
    width: Spread | None = None
    height: Spread | None = None
    frames: Spread | None = None
    seconds: Spread | None = None
    characters: Spread | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """One image, or one frame of a video, at display size. points: fractions of width and height."""

    caption: str
    image: Image.Image
    points: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One row as shown. texts: (speaker or column, text). undecodable: media that could not be opened, and why."""

    name: str
    split: str
    number: int
    id: str
    task: str
    texts: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]
    undecodable: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """facts over all rows, samples of some; media of the samples were decoded, and no others."""

    path: str
    facts: tuple[Facts, ...]
    samples: tuple[Sample, ...]

    @property
    def decoded(self) -> int:
        return sum(len(sample.pictures) for sample in self.samples)

    @property
    def undecodable(self) -> int:
        return sum(len(sample.undecodable) for sample in self.samples)

    def document(self) -> dict[str, Any]:
        """Everything but the pixels, ready for JSON."""
        return {
            "path": self.path,
            "facts": self.facts,
            "samples": [
                {
                    "name": sample.name,
                    "split": sample.split,
                    "number": sample.number,
                    "id": sample.id,
                    "task": sample.task,
                    "texts": sample.texts,
                    "pictures": [picture.caption for picture in sample.pictures],
                    "undecodable": sample.undecodable,
                }
                for sample in self.samples
            ],
            "decoded": self.decoded,
            "undecodable": self.undecodable,
        }


def inspect_path(path: Path, *, samples: int = 12, split: str | None = None, dataset: str | None = None) -> Inspection:
    """Inspect what lies at `path`; `samples` rows of each split, evenly spread and always the same.

    DataError for what is no data, ConfigError for a split or dataset that is not there.
    """
    if path.is_dir() and (path / NAME).is_file():
        opened: Mapping[str, SnapshotDataset] = {path.name: SnapshotDataset.open(path)}
    elif path.is_dir() and not any(path.glob("*.parquet")):
        opened = open_snapshot(path, None if dataset is None else [dataset])
    elif path.is_dir() or path.suffix in SUFFIXES:
        return _table(path, samples)
    else:
        raise DataError(
            what=f"{path} is no snapshot and its suffix {path.suffix!r} is none of {', '.join(SUFFIXES)}",
            why="nothing is known about how to read it",
            fix="name a snapshot, a dataset of one, or a Parquet, Arrow or JSONL file",
        )
    wanted = [(found, name) for found in opened.values() for name in found.splits if split in (None, name)]
    if not wanted:
        splits = sorted({name for found in opened.values() for name in found.splits})
        raise ConfigError(
            what=f"{path} has no split {split!r}",
            why=f"its splits are {', '.join(splits)}",
            fix="leave --split out, or name one of them",
        )
    return Inspection(
        path=str(path),
        facts=tuple(_facts(found, name) for found, name in wanted),
        samples=tuple(
            _sample(found.name, name, number, found.row(name, number))
            for found, name in wanted
            for number in evenly(found.rows(name), samples)
        ),
    )


def evenly(rows: int, samples: int) -> list[int]:
    """`samples` numbers of 0 … rows - 1, spread evenly, the first and the last among them."""
    if rows <= samples:
        return list(range(rows))
    return [round(position * (rows - 1) / max(1, samples - 1)) for position in range(samples)]


def _facts(found: SnapshotDataset, split: str) -> Facts:
    entries = [entry for entry in found.manifest.files if entry.split == split]
    media: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    measured: dict[str, list[float]] = {name: [] for name in (*_MEDIA_FACTS[1:], "characters")}
    without = 0
    columns = ["task", "conversations", *(f"media.list.element.{name}" for name in _MEDIA_FACTS)]
    for entry in entries:
        with pq.ParquetFile(found.directory / entry.path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            # The media bytes stay on disk: only what describes them is read.
            for batch in file.iter_batches(columns=columns, use_threads=False):
                for record in batch.to_pylist():
                    tasks[record["task"]] += 1
                    without += not record["media"]
                    texts = [turn["content"] for turns in record["conversations"] for turn in turns]
                    measured["characters"].append(sum(map(len, texts)))
                    for medium in record["media"]:
                        media[medium["kind"]] += 1
                        measured["width"].append(medium["width"])
                        measured["height"].append(medium["height"])
                        if medium["kind"] == "video":
                            measured["frames"].append(medium["frames"])
                            measured["duration"].append(medium["duration"])
    return Facts(
        name=found.name,
        split=split,
        rows=found.rows(split),
        files=len(entries),
        bytes=sum(entry.bytes for entry in entries),
        columns=_columns(schema),
        media=dict(media),
        without_media=without,
        tasks=dict(tasks),
        width=Spread.of(measured["width"]),
        height=Spread.of(measured["height"]),
        frames=Spread.of(measured["frames"]),
        seconds=Spread.of(measured["duration"]),
        characters=Spread.of(measured["characters"]),
    )


def _columns(schema: pa.Schema) -> dict[str, str]:
    return {column.name: str(column.type) for column in schema}


def _sample(name: str, split: str, number: int, row: Row) -> Sample:
    pictures: list[Picture] = []
    problems: list[str] = []
    points = [point for conversation in row.meta.get("points", []) for point in conversation]
    for position, medium in enumerate(row.media):
        mine = [point for point in points if point.get("media", 0) == position and not point.get("occluded")]
        try:
            pictures += _pictures(medium, position, mine)
        except UnreadableMedia as error:
            problems.append(f"{medium.path}: {error.what}")
    texts: list[tuple[str, str]] = [
        (turn.role, turn.content) for conversation in row.conversations for turn in conversation
    ]
    texts += [(key, json.dumps(value, ensure_ascii=False)) for key, value in row.meta.items()]
    return Sample(
        name=name,
        split=split,
        number=number,
        id=row.id,
        task=row.task,
        texts=tuple(texts),
        pictures=tuple(pictures),
        undecodable=tuple(problems),
    )


def _pictures(medium: Media, position: int, points: Sequence[Mapping[str, Any]]) -> Iterator[Picture]:
    if medium.kind == "image":
        marks = tuple((float(point["x"]), float(point["y"])) for point in points)
        yield _picture(f"image {position + 1}", open_image(medium.data, medium.path), marks)
        return
    yield from _frames(medium, points)


def _picture(caption: str, image: Image.Image, points: tuple[tuple[float, float], ...] = ()) -> Picture:
    shown = image.convert("RGB")
    shown.thumbnail((THUMBNAIL, THUMBNAIL))
    return Picture(caption=caption, image=shown, points=points)


def _frames(medium: Media, points: Sequence[Mapping[str, Any]]) -> Iterator[Picture]:
    """First, middle and last frame of a video, each with its time and the points of that time."""
    table = frame_table(medium.data, medium.path)
    wanted = sorted({0, table.frames // 2, table.frames - 1})
    ticks = {table.origin + int(table.times[index]): index for index in wanted}
    with open_video(medium.data, medium.path) as (container, stream):
        packets = packets_from(container, stream, table, 0) or container.demux(stream)
        for pts, frame in decoded(packets):
            if pts not in ticks:
                continue
            seconds = float(int(table.times[ticks.pop(pts)]) * table.time_base)
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            if table.rotation:
                image = image.rotate(table.rotation, expand=True)
            near = [p for p in points if abs(float(p.get("t") or 0.0) - seconds) < 0.5 / max(table.fps, 1)]
            yield _picture(f"{seconds:.1f} s", image, tuple((float(p["x"]), float(p["y"])) for p in near))
            if not ticks:
                return
    lost = sorted(ticks.values())
    raise UnreadableMedia(
        what=f"{medium.path}: frames {lost} of {table.frames} do not decode",
        why="a video is trained on through its frames",
        fix="leave it out, or replace it and import again",
        reason="damaged video",
    )


def _table(path: Path, samples: int) -> Inspection:
    """Any table: its columns, and values of some rows; {bytes, path} structs and binary columns are tried as images."""
    try:
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            columns = _json_columns(rows)
            chosen = [(number, rows[number]) for number in evenly(len(rows), samples)]
            count, files = len(rows), [path]
        else:
            dataset = ds.dataset(path, format="ipc" if path.suffix == ".arrow" else "parquet")
            columns, count = _columns(dataset.schema), dataset.count_rows()
            files = [Path(name) for name in dataset.files]
            chosen = [(number, dataset.take([number]).to_pylist()[0]) for number in evenly(count, samples)]
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(
            what=f"{path} cannot be read: {error}",
            why="its rows cannot be told apart from damage",
            fix="fetch or write the file again",
        ) from error
    facts = Facts(
        name=path.name,
        split="",
        rows=count,
        files=len(files),
        bytes=sum(file.stat().st_size for file in files),
        columns=columns,
    )
    return Inspection(
        path=str(path), facts=(facts,), samples=tuple(_record(path.name, number, record) for number, record in chosen)
    )


def _json_columns(rows: Sequence[Any]) -> dict[str, str]:
    types: dict[str, set[str]] = {}
    for row in rows:
        if not isinstance(row, dict):
            raise ValueError(f"a line holds a {type(row).__name__}, not an object")
        for key, value in row.items():
            types.setdefault(key, set()).add(type(value).__name__)
    return {key: " or ".join(sorted(names)) for key, names in types.items()}


def _record(name: str, number: int, record: Mapping[str, Any]) -> Sample:
    texts, pictures, problems = [], [], []
    for column, value in record.items():
        data = value.get("bytes") if isinstance(value, dict) else value
        if isinstance(data, bytes):
            try:
                pictures.append(_picture(column, open_image(data, column)))
            except UnreadableMedia as error:
                problems.append(f"{column}: {error.what}")
        else:
            texts.append((column, value if isinstance(value, str) else json.dumps(value, default=str)))
    return Sample(
        name=name, split="", number=number, id=str(record.get("id", number)), task="", texts=tuple(texts),
        pictures=tuple(pictures), undecodable=tuple(problems),
    )  # fmt: skip
