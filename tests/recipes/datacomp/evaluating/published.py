"""Generated repositories in the layout of the published benchmarks, in full number, with pictures of a few bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from tests.loopback.hub import LoopbackHub
from trackyard.catalog.entries import HubSource
from trackyard.recipes.datacomp.evaluating import blink, vsr

REPOSITORIES = {
    "blink": "BLINK-Benchmark/BLINK",
    "vsr-random": "cambridgeltl/vsr_random",
    "vsr-zeroshot": "cambridgeltl/vsr_zeroshot",
    "spatialrgpt-bench": "a8cheng/SpatialRGPT-Bench",
}
SPLITS = {"vsr-random": "random", "vsr-zeroshot": "zeroshot"}
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (48, 40), (shade % 256, 90, 200)).save(stream, "PNG")
    return stream.getvalue()


def parquet(rows: list[dict[str, Any]], pictures: tuple[str, ...]) -> bytes:
    table = pa.Table.from_pylist(rows)
    for name in pictures:
        column = pa.array([row[name] for row in rows], _PICTURE)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def blink_files() -> dict[str, bytes]:
    """Two, three or four options; one to four pictures; and the withheld split, which nobody reads."""
    shown = [{"bytes": picture(shade), "path": None} for shade in range(4)]
    files = {}
    for task, count in blink.COUNTS.items():
        rows = []
        for number in range(count):
            options = 2 + number % 3
            rows.append(
                {
                    "idx": f"val_{task}_{number + 1}",
                    "question": "Which?",
                    "sub_task": task,
                    **{f"image_{at + 1}": shown[at] if at <= number % 4 else None for at in range(4)},
                    "choices": [f"choice {at}" for at in range(options)],
                    "answer": f"({'ABCD'[number % options]})",
                    "prompt": f"Which of {number}?\nSelect from the following choices.\n(A) ...",
                }
            )
        files[f"{task}/val-00000-of-00001.parquet"] = parquet(rows, tuple(f"image_{at + 1}" for at in range(4)))
        files[f"{task}/test-00000-of-00001.parquet"] = b"not even a table"
    return files


def vsr_files(split: str, urls: list[str]) -> dict[str, bytes]:
    relations = ("left of", "touching", "behind", "facing")
    rows = [
        {
            "image": f"{number:012d}.jpg",
            "image_link": urls[number % len(urls)],
            "caption": f"The cat is {relations[number % 4]} the dog.",
            "label": number // 4 % 2,
            "relation": relations[number % 4],
        }
        for number in range(vsr.COUNTS[split])
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return {"test.jsonl": lines, "train.jsonl": lines[:200], "dev.jsonl": b""}


def spatial_rows() -> list[dict[str, Any]]:
    kinds = [("qualitative", "left_predicate", "Yes, Region [0] is to the left of Region [1].")] * 557
    kinds += [("qualitative", "tall_choice", "Region [1] is taller.")] * 100
    kinds += [("quantitative", "width_data", "6.91 feet")] * 642
    kinds += [("quantitative", "direction", "Region [1] is roughly at 3 o'clock from Region [0].")] * 107
    return [
        {
            "id": f"{kind}_{number}",
            "image": {"bytes": picture(number), "path": None},
            "text_q": f"What about Region [0] and Region [1], {number}?",
            "conversations": str([{"from": "human", "value": "?"}, {"from": "gpt", "value": gold}]),
            "bbox": str([[2, 3, 20, 30], [22, 5, 60, 38]]),
            "qa_info": json.dumps({"type": kind, "category": category}),
        }
        for number, (kind, category, gold) in enumerate(kinds)
    ]


def spatial_files() -> dict[str, bytes]:
    return {"data/val-00000-of-00001.parquet": parquet(spatial_rows(), ("image",)), "README.md": b"# a card\n"}


def write_catalogue(folder: Path, commits: dict[str, str]) -> None:
    """Entries of the four repositories, pinned."""
    entries: list[dict[str, Any]] = []
    for name, commit in commits.items():
        recipe = {"kind": "urls", "url_column": "image_link"} if name in SPLITS else {"kind": "embedded"}
        entries.append(
            {
                "name": name, "title": name, "task": "a benchmark", "roles": ["eval"], "group": "eval:datacomp",
                "media": "image", "tracks": ["datacomp"], "access": "url" if name in SPLITS else "auto",
                "hub": [{"repo": REPOSITORIES[name], "revision": commit}], "recipe": recipe, "sources": ["a test"],
            }
        )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "evaluation.yaml").write_text(yaml.safe_dump({"datasets": entries}))


def published(hub: LoopbackHub, urls: list[str], names: tuple[str, ...]) -> Iterator[tuple[str, HubSource]]:
    """Put repositories on a hub; their pinned sources by entry."""
    for name in names:
        files = (
            vsr_files(SPLITS[name], urls) if name in SPLITS else (blink_files() if name == "blink" else spatial_files())
        )
        commit = hub.add_repository(REPOSITORIES[name], files)
        yield name, HubSource(repo=REPOSITORIES[name], revision=commit)
