"""A look at data: counts over all rows, samples evenly spread, what cannot be decoded is said."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.system.repository import mini_rows
from trackyard.errors import ConfigError, DataError
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.contact_sheet import CELL, contact_sheet
from trackyard.snapshot.inspect import evenly, inspect_path
from trackyard.snapshot.inspect_page import write_page
from trackyard.snapshot.writer import write_dataset

MARK = (230, 25, 75)
"""The colour that points are drawn in."""


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Points on images, and tracks through videos."""
    root = tmp_path_factory.mktemp("data") / "small"
    for name in ("pixmo-points", "molmo2-videotrack"):
        write_dataset(
            root / name,
            {"train": mini_rows(name, "train", 6), "validation": mini_rows(name, "validation", 3)},
            dataset=name,
            source={},
            licence="Apache-2.0",
        )
    return root


@given(st.integers(0, 500), st.integers(1, 30))
def test_samples_are_spread_over_all_rows(rows: int, samples: int) -> None:
    chosen = evenly(rows, samples)
    assert len(chosen) == min(rows, samples)
    assert chosen == sorted(set(chosen))
    assert all(0 <= number < rows for number in chosen)
    if rows > samples > 1:
        assert (chosen[0], chosen[-1]) == (0, rows - 1)


def test_facts_are_counted_over_every_row(snapshot: Path) -> None:
    found = inspect_path(snapshot, samples=2)
    facts = {(item.name, item.split): item for item in found.facts}
    assert {key: item.rows for key, item in facts.items()} == {
        ("molmo2-videotrack", "train"): 6,
        ("molmo2-videotrack", "validation"): 3,
        ("pixmo-points", "train"): 6,
        ("pixmo-points", "validation"): 3,
    }
    videos = facts["molmo2-videotrack", "train"]
    assert videos.media == {"video": 6}
    assert videos.frames is not None
    assert videos.frames.least > 1
    assert facts["pixmo-points", "train"].frames is None
    assert list(facts["pixmo-points", "train"].columns) == ["id", "task", "media", "conversations", "meta"]
    assert len(found.samples) == 8
    assert found.decoded == 4 + 3 * 4, "an image each, and three frames of each video"
    assert found.undecodable == 0
    json.dumps(found.document()["samples"])


def test_one_dataset_or_split(snapshot: Path) -> None:
    assert {item.name for item in inspect_path(snapshot, dataset="pixmo-points").facts} == {"pixmo-points"}
    assert {item.split for item in inspect_path(snapshot / "pixmo-points", split="train").facts} == {"train"}
    with pytest.raises(ConfigError, match="its splits are train, validation"):
        inspect_path(snapshot, split="test")


def test_media_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    broken = Media(kind="image", data=b"no image", path="broken.png", width=8, height=8)
    turns = (Turn(role="user", content="What?"), Turn(role="assistant", content="Nothing."))
    row = Row(id="1", task="user_qa", media=(broken,), conversations=(turns,))
    write_dataset(tmp_path / "d", {"train": [row]}, dataset="d", source={}, licence="Apache-2.0")
    found = inspect_path(tmp_path / "d")
    assert (found.decoded, found.undecodable) == (0, 1)
    assert "broken.png" in found.samples[0].undecodable[0]
    with pytest.raises(DataError, match="none of the 1 samples"):
        contact_sheet(found, tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()


def test_any_parquet_and_jsonl(tmp_path: Path) -> None:
    table = pa.table({"url": ["http://a", "http://b"], "n": [1, 2]})
    pq.write_table(table, tmp_path / "list.parquet")
    found = inspect_path(tmp_path / "list.parquet")
    assert found.facts[0].columns == {"url": "string", "n": "int64"}
    assert [sample.texts[0] for sample in found.samples] == [("url", "http://a"), ("url", "http://b")]
    (tmp_path / "list.jsonl").write_text('{"a": 1}\n{"a": "x", "b": [2]}\n')
    assert inspect_path(tmp_path / "list.jsonl").facts[0].columns == {"a": "int or str", "b": "list"}


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 no footer")
    (tmp_path / "a.jsonl").write_text("[1]\n")
    for name in ("a.txt", "a.parquet", "a.jsonl", "absent.parquet"):
        with pytest.raises(DataError):
            inspect_path(tmp_path / name)


def test_the_sheet_shows_every_picture_and_its_points(snapshot: Path, tmp_path: Path) -> None:
    found = inspect_path(snapshot / "pixmo-points", samples=3)
    contact_sheet(found, tmp_path / "sheet.png", columns=3)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 3 * CELL
        assert sheet.height > found.decoded / 3 * CELL
        pixels = set(sheet.convert("RGB").get_flattened_data())
    points = sum(len(picture.points) for sample in found.samples for picture in sample.pictures)
    assert points > 0
    assert MARK in pixels


def test_the_page_needs_no_network_and_escapes_the_data(tmp_path: Path) -> None:
    turns = (Turn(role="user", content="<script>alert(1)</script>"), Turn(role="assistant", content="é & <b>"))
    row = Row(id='"><img src=x>', task="text_sft", conversations=(turns,))
    write_dataset(tmp_path / "d", {"train": [row]}, dataset="d", source={}, licence="Apache-2.0")
    write_page(inspect_path(tmp_path / "d"), tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "http://" not in page
    assert "https://" not in page
