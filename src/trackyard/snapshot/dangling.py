"""References that lead nowhere: a text that mentions media which its row does not hold.

Media are referred to by `row.IMAGE_MARK` and `row.VIDEO_MARK` (design section 4). Only the columns of texts and kinds
are read, no media bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trackyard.row import IMAGE_MARK, VIDEO_MARK

COLUMNS = ["id", "media.list.element.kind", "conversations.list.element.list.element.content"]
MARKS = {"image": IMAGE_MARK, "video": VIDEO_MARK}


@dataclass(slots=True)
class Dangling:
    """rows: what is wrong with each row that holds media, but fewer of a kind than one of its texts mentions.

    bare: rows without any media whose texts hold a mark. The feed keeps it there as plain text, so it is no fault.
    """

    rows: list[str] = field(default_factory=list)
    bare: int = 0


def find_dangling(path: Path) -> Dangling:
    """Look at every text of one shard. Raises OSError or pa.ArrowException for a shard that cannot be read."""
    found = Dangling()
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=COLUMNS, use_threads=False)
            if _is_marked(table.column("conversations")):
                for record in table.to_pylist():
                    _look_at(record, found)
    return found


def _is_marked(conversations: pa.ChunkedArray) -> bool:
    """Whether any text of a row group holds a mark: few do, and only those are turned into Python values."""
    texts = pc.struct_field(pc.list_flatten(pc.list_flatten(conversations)), "content")
    return any(pc.any(pc.match_substring(texts, mark)).as_py() for mark in MARKS.values())


def _look_at(record: dict[str, Any], found: Dangling) -> None:
    texts = [turn["content"] or "" for conversation in record["conversations"] for turn in conversation]
    if not record["media"]:
        found.bare += any(mark in text for mark in MARKS.values() for text in texts)
        return
    problems = list(_problems([medium["kind"] for medium in record["media"]], texts))
    if problems:
        found.rows.append(f"row {record['id']!r}: {', '.join(problems)}")


def _problems(kinds: list[str], texts: list[str]) -> Iterator[str]:
    for kind, mark in MARKS.items():
        mentioned = max((text.count(mark) for text in texts), default=0)
        if mentioned > kinds.count(kind):
            yield f"a text mentions {mentioned} x {mark}, the row holds {kinds.count(kind)}"
