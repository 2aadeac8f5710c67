"""Items of the published benchmarks, from the copies that `trackyard data fetch` brought. Nothing is asked for here.

What is taken for granted, from the cards of the datasets, and fails by name where it is not so:
- BLINK: <task>/val-*.parquet with idx, image_1 to image_4 ({bytes, path} or null), choices, prompt, answer "(A)".
- VSR: test.jsonl with image, image_link, caption, label 0 or 1, relation; pictures by address below raw/<entry>/images.
- SpatialRGPT-Bench: data/val-*.parquet with id, image ({bytes, path}), text_q, conversations (the second turn is the
  answer), bbox ([x0, y0, x1, y1] in pixels, one per region), qa_info (type, category); the last three may be text.

Source: theworld spec section 12.1.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trackyard.acquire.images.fetch import Lost, UrlImages
from trackyard.acquire.places import Places
from trackyard.catalog.entries import UNPINNED, load_catalogue
from trackyard.catalog.selection import find
from trackyard.errors import ConfigError, DataError
from trackyard.evaluate.harness.items import fetched_items
from trackyard.evaluate.option_choice import option_letter
from trackyard.recipes.datacomp.evaluating import blink, spatial, vsr
from trackyard.recipes.datacomp.evaluating.items import Item
from trackyard.recipes.datacomp.evaluating.regions import draw_regions
from trackyard.recipes.datacomp.scenes import QUESTION

IMAGES = 4
"""Columns image_1 to image_4 of BLINK."""
BATCH_ROWS = 16
STATEMENT = "Is this statement about the image true or false?"
RELATIONS: Mapping[str, str] = {
    "left of": "right of", "right of": "left of", "at the left side of": "at the right side of",
    "at the right side of": "at the left side of", "above": "below", "below": "above", "under": "above",
    "in front of": "behind", "behind": "in front of", "inside": "outside", "outside": "inside",
    "far from": "near", "near": "far from", "facing": "facing away from", "facing away from": "facing",
    "ahead of": "behind", "on top of": "under", "over": "under",
}  # fmt: skip
"""Relations of VSR that have an opposite: a true statement with it in their place is false."""


@dataclass(kw_only=True)
class Copy:
    """A fetched entry. folder: its snapshot; images: the folder of pictures by address."""

    name: str
    repo: str
    revision: str
    folder: Path
    images: Path
    files: Mapping[str, str]
    """blake3 by name."""
    asked: int = 0
    """Pictures by address that were looked for."""
    missing: dict[str, str] = field(default_factory=dict)
    """Cause by id of items whose picture is not there."""


def copy_of(root: Path, entry: str) -> Copy:
    """The copy of a catalogue entry. EnvironmentLacking if it was not fetched, ConfigError without a pinned commit."""
    places, found = Places.of(root), find(load_catalogue(root / "catalog"), entry)
    if found.hub[0].revision == UNPINNED:
        raise ConfigError(
            what=f"{entry} ({found.hub[0].repo}) has no pinned revision in catalog/",
            why="items that change under the same name would make results of other items look comparable",
            fix=f"add `revision: <commit of 40 hex digits>` to the hub source of {entry} in catalog/, then "
            f"`trackyard data fetch {entry}`",
        )
    items = fetched_items(found, places.hub)
    return Copy(
        name=entry,
        repo=items.dataset,
        revision=items.revision,
        folder=items.directory,
        images=places.raw / found.name / "images",
        files=items.files,
    )


def blink_items(copy: Copy) -> Iterator[Item]:
    """All 14 tasks of the validation split. DataError unless each has the published number of items."""
    images = [f"image_{number + 1}" for number in range(IMAGES)]
    counts: Counter[str] = Counter()
    for task in blink.COUNTS:
        for row in _table(copy, f"{task}/val-*.parquet", ["idx", *images, "choices", "prompt", "answer"]):
            counts[task] += 1
            yield Item(
                id=f"{task}/{row['idx']}",
                task=task,
                images=tuple(_bytes(copy, row[name]) for name in images if row[name] is not None),
                question=row["prompt"].strip(),
                options=tuple(option_letter(index) for index in range(len(row["choices"]))),
                gold=row["answer"].strip(),
                meta={},
            )
    require_counts(copy.name, counts, blink.COUNTS)


def vsr_items(copies: Mapping[str, Copy]) -> Iterator[Item]:
    """Test statements of both splits. copies: by split. DataError as `blink_items`; lost pictures are in `missing`."""
    for split, row, picture in _statements(copies):
        yield Item(
            id=f"{split}/{row['number']:05d}",
            task=split,
            images=(picture,),
            question=f"{STATEMENT} {row['caption'].strip()}",
            options=(vsr.TRUE, vsr.FALSE),
            gold=vsr.TRUE if row["label"] else vsr.FALSE,
            meta={"relation": row["relation"]},
        )


def caption_items(copies: Mapping[str, Copy]) -> Iterator[Item]:
    """True statements of VSR's random split as captions, each against itself with the opposite relation."""
    for split, row, picture in _statements({"random": copies["random"]}):
        caption, relation = row["caption"].strip(), row["relation"].strip()
        if row["label"] and relation in RELATIONS and caption.count(relation) == 1:
            yield Item(
                id=f"{split}/{row['number']:05d}",
                task=relation.replace(" ", "_"),
                images=(picture,),
                question=QUESTION,
                options=(caption, caption.replace(relation, RELATIONS[relation])),
                gold=caption,
                meta={},
            )


def spatial_items(copy: Copy) -> Iterator[Item]:
    """All items, with their regions drawn. DataError unless each type has the published number."""
    counts: Counter[str] = Counter()
    columns = ["id", "image", "text_q", "conversations", "bbox", "qa_info"]
    for row in _table(copy, "data/val-*.parquet", columns):
        info, turns, boxes = (_literal(copy, row, name) for name in ("qa_info", "conversations", "bbox"))
        counts[info["type"]] += 1
        picture = _bytes(copy, row["image"])
        yield Item(
            id=str(row["id"]),
            task=info["category"],
            images=(draw_regions(picture, f"{copy.repo}/{row['id']}", boxes),),
            question=row["text_q"].strip(),
            options=(),
            gold=turns[1]["value"].strip(),
            meta={"type": info["type"]},
            undrawn=(picture,),
        )
    require_counts(copy.name, counts, spatial.COUNTS)


def require_counts(name: str, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """DataError that names every part whose number of items is not the published one."""
    wrong = [
        f"{part}: {found.get(part, 0):,} of {expected.get(part, 0):,}"
        for part in (*expected, *(part for part in found if part not in expected))
        if found.get(part, 0) != expected.get(part, 0)
    ]
    if wrong:
        raise DataError(
            what=f"{name} does not have the published number of items: {'; '.join(wrong)}",
            why="a mean over other items is not comparable with any published figure",
            fix=f"trackyard data verify {name}; for another revision of the data set, correct its counts in the code",
        )


def _statements(copies: Mapping[str, Copy]) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """(split, row with its number, picture) of every test statement whose picture is there."""
    counts: Counter[str] = Counter()
    for split, copy in copies.items():
        copy.asked, images = 0, UrlImages.open(copy.images)
        copy.missing.clear()
        for number, row in enumerate(_lines(copy, "test.jsonl", ("image_link", "caption", "label", "relation"))):
            counts[split] += 1
            copy.asked += 1
            found = images.find(row["image_link"])
            if isinstance(found, Lost):
                copy.missing[f"{split}/{number:05d}"] = found.cause
                continue
            yield split, row | {"number": number}, found.bytes
    require_counts("VSR", counts, {split: vsr.COUNTS[split] for split in copies})


def _lines(copy: Copy, name: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    path = copy.folder / name
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                _require_columns(copy, name, row, columns)
                yield row
    except (OSError, ValueError) as error:
        raise _unreadable(copy, name, str(error)) from error


def _table(copy: Copy, pattern: str, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    paths = sorted(copy.folder.glob(pattern))
    if not paths:
        raise _unreadable(copy, pattern, "there is no such file")
    for path in paths:
        name = path.relative_to(copy.folder).as_posix()
        try:
            with pq.ParquetFile(path) as file:
                _require_columns(copy, name, file.schema_arrow.names, columns)
                for batch in file.iter_batches(batch_size=BATCH_ROWS, columns=list(columns), use_threads=False):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(copy, name, str(error)) from error


def _require_columns(copy: Copy, name: str, found: Any, columns: Sequence[str]) -> None:
    absent = [column for column in columns if column not in found]
    if absent:
        raise DataError(
            what=f"{copy.repo}: {name} lacks {', '.join(absent)}; it has {', '.join(found)}",
            why="the layout is not the one that its card describes",
            fix=f"pin a revision of {copy.name} in catalog/ that has these columns, then fetch it",
        )


def _bytes(copy: Copy, image: Any) -> bytes:
    if not isinstance(image, dict) or not image.get("bytes"):
        raise DataError(
            what=f"{copy.repo}: an image without bytes",
            why="a question about a picture that is not there has no answer",
            fix=f"trackyard data verify {copy.name}",
        )
    data: bytes = image["bytes"]
    return data


def _literal(copy: Copy, row: Mapping[str, Any], name: str) -> Any:
    """A value that the table may hold as text, in Python's or JSON's notation."""
    value = row[name]
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        try:
            return json.loads(value)
        except ValueError as error:
            raise _unreadable(copy, f"{name} of item {row['id']}", f"{value[:80]!r}: {error}") from error


def _unreadable(copy: Copy, what: str, problem: str) -> DataError:
    return DataError(
        what=f"{copy.repo} at {copy.revision[:12]}: {what} cannot be read: {problem}",
        why="a part of a benchmark is another benchmark",
        fix=f"trackyard data verify {copy.name}, then `trackyard data fetch {copy.name}`",
    )
