"""The on-disk form of multimodal rows. Source: molmo2 spec section 3, design section 4."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from trackyard.errors import DataError
from trackyard.row import Media, Row, Turn

MEDIA = pa.struct(
    [
        pa.field("kind", pa.string()),
        pa.field("bytes", pa.binary()),
        pa.field("path", pa.string()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("frames", pa.int32()),
        pa.field("fps", pa.float64()),
        pa.field("duration", pa.float64()),
    ]
)
TURN = pa.struct([pa.field("role", pa.string()), pa.field("content", pa.string())])
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("task", pa.string()),
        pa.field("media", pa.list_(MEDIA)),
        pa.field("conversations", pa.list_(pa.list_(TURN))),
        pa.field("meta", pa.string()),
    ]
)


PER_CONVERSATION = ("points", "label", "options", "answer_index")
"""Keys of a row's meta that hold one entry per conversation."""


def row_to_record(row: Row) -> dict[str, Any]:
    """A row as the plain values of `SCHEMA`; DataError for a row that nothing could be trained on as it is meant."""
    _check(row)
    return {
        "id": row.id,
        "task": row.task,
        "media": [
            {
                "kind": medium.kind,
                "bytes": medium.data,
                "path": medium.path,
                "width": medium.width,
                "height": medium.height,
                "frames": medium.frames,
                "fps": medium.fps,
                "duration": medium.duration,
            }
            for medium in row.media
        ],
        "conversations": [
            [{"role": turn.role, "content": turn.content} for turn in conversation]
            for conversation in row.conversations
        ],
        "meta": _meta(row),
    }


def record_to_row(record: dict[str, Any]) -> Row:
    """The inverse of `row_to_record`; DataError for a value outside the schema's meaning."""
    try:
        return Row(
            id=record["id"],
            task=record["task"],
            media=tuple(_medium(item) for item in record["media"]),
            conversations=tuple(
                tuple(Turn(role=turn["role"], content=turn["content"]) for turn in conversation)
                for conversation in record["conversations"]
            ),
            meta=json.loads(record["meta"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            what=f"row {record.get('id')!r} does not have the columns of a multimodal row: {error!r}",
            why="its content would be guessed",
            fix="import the dataset again with `trackyard data import`",
        ) from error


def _check(row: Row) -> None:
    problem = next(_problems(row), None)
    if problem:
        raise DataError(
            what=f"row {row.id!r} of task {row.task!r}: {problem}",
            why="user and assistant alternate in every conversation, and the feed pairs them with meta by position",
            fix="correct the code or the mapping that makes the row",
        )


def _problems(row: Row) -> Iterator[str]:
    """Turns alternate, beginning with the user and ending with the assistant; meta names every conversation."""
    if not row.id or not row.task:
        yield "it has no id or no task"
    if not row.conversations:
        yield "it has no conversation"
    for number, turns in enumerate(row.conversations):
        roles = [turn.role for turn in turns]
        if not roles or roles != ["user", "assistant"] * (len(turns) // 2):
            yield f"the turns of conversation {number} are {roles}"
    for key in PER_CONVERSATION:
        value = row.meta.get(key)
        if value is not None and (not isinstance(value, list) or len(value) != len(row.conversations)):
            yield f"meta.{key} is not a list of {len(row.conversations)}, one entry per conversation"


def _meta(row: Row) -> str:
    try:
        return json.dumps(row.meta, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            what=f"meta of row {row.id!r} is not JSON: {error}",
            why="meta is stored as a JSON string that every reader can parse",
            fix="use finite numbers, strings, lists and mappings",
        ) from error


def _medium(item: dict[str, Any]) -> Media:
    if item["kind"] not in ("image", "video"):
        raise ValueError(f"media kind {item['kind']!r}")
    if not isinstance(item["bytes"], bytes):
        raise TypeError(f"media bytes are {type(item['bytes']).__name__}")
    return Media(
        kind=item["kind"],
        data=item["bytes"],
        path=item["path"],
        width=item["width"],
        height=item["height"],
        frames=item["frames"],
        fps=item["fps"],
        duration=item["duration"],
    )
