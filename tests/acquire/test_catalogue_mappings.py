"""Every mapping of the catalogue, on a table with the columns that its source names."""

import hashlib
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trackyard.acquire.importing.mapping import read_mapping
from trackyard.acquire.importing.stream import open_import
from trackyard.row import Row

MAPPINGS = Path(__file__).resolve().parents[2] / "catalog/mappings"


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (200, 100)).save(stream, "PNG")
    return stream.getvalue()


IMAGE = {"bytes": picture(), "path": "a.png"}
URL = {"image_url": "http://a", "image_sha256": "0" * 64}
POINTS = [{"x": 25.0, "y": 50.0}, {"x": 75.0, "y": 101.0}]
SAID = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
]
TULU = {
    "id": "t1",
    "messages": SAID,
    "source": "allenai/tulu",
    "category": "chat",
    "first_message_qwen3_tokens": 9,
    "empty_messages": False,
    "has_special_token": False,
}
COSYN = {
    "id": "c",
    "image": IMAGE,
    "qa_pairs": {"question": ["q1", "q2"], "explanation": ["e", "e"], "answer": ["a1", "a2"]},
    "code": "x",
}
SCIENCE = {"image": IMAGE, "question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "See it."}
RECORDS: dict[str, list[dict[str, Any]]] = {
    "pixmo-cap": [{"image_url": "http://a", "caption": "A cap.", "transcripts": ["one", "two"]}],
    "pixmo-cap-transcripts": [{"image_url": "http://a", "caption": "A cap.", "transcripts": ["one", "two"]}],
    "pixmo-points": [
        URL | {"points": POINTS, "count": 2, "label": "cup", "collection_method": "pointing"},
        URL | {"points": [], "count": 0, "label": "jug", "collection_method": "counting"},
        URL | {"image_url": "http://held", "points": [], "count": 0, "label": "x", "collection_method": "counting"},
    ],
    "pixmo-count": [URL | {"count": 1, "points": {"x": [50.0], "y": [50.0]}, "label": "cup"}],
    "cosyn-point": [
        {
            "id": "c1",
            "image": IMAGE,
            "questions": ["Where?", "And?"],
            "answer_points": [{"x": [25.0], "y": [50.0]}, {"x": [], "y": []}],
            "names": ["bar", "line"],
        }
    ],
    "tulu": [
        TULU,
        TULU | {"id": "t2", "category": "code"},
        TULU | {"id": "t3", "first_message_qwen3_tokens": 5000},
        TULU | {"id": "t4", "source": "allenai/hardcoded-olmo"},
        TULU | {"id": "t5", "empty_messages": True},
    ],
    "pixmo-capqa": [
        {"image_url": "http://a", "question": "[USER] q1 [ASSISTANT] r [USER] q2 [ASSISTANT]", "answer": "a2"},
        {"image_url": "http://a", "question": "[USER] q3 [ASSISTANT]", "answer": "a3"},
    ],
    "pixmo-askmodelanything": [URL | {"question": "q1", "answer": "a1"}, URL | {"question": "q2", "answer": "a2"}],
    "chartqa": [{"image": IMAGE, "query": "How many?", "label": ["12"], "human_or_machine": 0}],
    "scienceqa": [SCIENCE, SCIENCE | {"image": None}],
    "datacomp-small": [{"uid": "u1", "url": "http://a", "text": "A cat.", "sha256": "0"}],
}
RECORDS |= {f"cosyn-{name}": [COSYN] for name in ("chart", "doc", "math", "table", "diagram", "music", "chemical")}


@dataclass(frozen=True)
class Found:
    bytes: bytes
    sha256: str


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[list[Row], dict[str, int]]:
    """Rows and reasons of the mapping, all splits together."""
    images = type(
        "UrlImages",
        (),
        {
            "open": classmethod(lambda cls, directory: cls()),
            "find": lambda self, url: Found(picture(), hashlib.sha256(picture()).hexdigest()),
        },
    )
    module = SimpleNamespace(UrlImages=images, Lost=type("Lost", (), {}))
    monkeypatch.setitem(sys.modules, "trackyard.acquire.images.fetch", module)
    mapping = read_mapping(MAPPINGS / f"{name}.yaml")
    table = pa.Table.from_pylist(RECORDS[name])
    for number, (_, pattern) in enumerate(mapping.patterns()):
        path = tmp_path / pattern.replace("**/", "").replace("*", "00000-of-00001")
        path.parent.mkdir(parents=True, exist_ok=True)
        # The ids of a dataset are its own: only the first split has rows.
        pq.write_table(table if number == 0 else table.slice(0, 0), path)
    held = tmp_path / "pixmo-points-eval/data/test-00000-of-00001.parquet"
    held.parent.mkdir(parents=True)
    pq.write_table(pa.table({"image_url": ["http://held"]}), held)
    stream = open_import(MAPPINGS / f"{name}.yaml", tmp_path)
    found = [row for rows in stream.splits().values() for row in rows]
    return found, dict(stream.unusable)


def said(row: Row) -> list[list[str]]:
    return [[turn.content for turn in turns] for turns in row.conversations]


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_every_mapping_reads_the_columns_of_its_source(name: str, rows: tuple[list[Row], dict[str, int]]) -> None:
    ((row,), reasons) = rows
    assert all("not wanted" in reason for reason in reasons)
    assert len(row.media) == (name != "tulu")
    expected = {
        "pixmo-cap": [["", "A cap."]],
        "pixmo-cap-transcripts": [["", "one"], ["", "two"]],
        "pixmo-points": [["", ""], ["", ""]],
        "pixmo-count": [["", ""]],
        "cosyn-point": [["Where?", ""], ["And?", ""]],
        "tulu": [["System: Be brief.\nu", "a"]],
        "pixmo-capqa": [["q1", "r", "q2", "a2"], ["q3", "a3"]],
        "pixmo-askmodelanything": [["q1", "a1"], ["q2", "a2"]],
        "chartqa": [["How many?", "12"]],
        "scienceqa": [["See it.\nWhich?", ""]],
        "datacomp-small": [["", "A cat."]],
    }
    assert said(row) == expected.get(name, [["q1", "a1"], ["q2", "a2"]])
    if name in ("pixmo-points", "pixmo-count", "cosyn-point"):
        first = row.meta["points"][0][0]
        assert (first["x"], first["y"]) == (0.25, 0.5)
    if name == "pixmo-points":
        assert row.meta["label"] == ["cup", "jug"]
        assert row.meta["points"][0][1]["y"] == 1.01  # kept: the feed clamps, and counts
        assert reasons == {"not wanted: held out for evaluation": 1}
    if name == "tulu":
        assert sum(reasons.values()) == 4
    if name == "scienceqa":
        assert row.meta == {"options": [["x", "y"]], "answer_index": [1]}


def test_no_mapping_is_untested() -> None:
    assert {path.stem for path in MAPPINGS.glob("*.yaml")} == set(RECORDS)
