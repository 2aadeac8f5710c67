import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trackyard.acquire import conversion, records
from trackyard.acquire.importing import ImportStream, open_import
from trackyard.errors import DataError
from trackyard.row import Row

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = REPOSITORY / "examples/import"
REAL = REPOSITORY.parent / "shared/data/real"
PLAIN = {"dataset": "own", "licence": "CC0-1.0", "task": "user_qa", "question": "q", "answer": "a"}
PICTURE = PLAIN | {"id": "id", "media": [{"field": "image", "kind": "image"}], "media_root": "images"}


def png(size: tuple[int, int] = (8, 6)) -> bytes:
    stream = io.BytesIO()
    Image.new("1", size).save(stream, "PNG")
    return stream.getvalue()


def open_lines(base: Path, lines: list[Any], **mapping: Any) -> ImportStream:
    data = b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    (base / "a.jsonl").write_bytes(data)
    return open_source(base, source="a.jsonl", **mapping)


def open_source(base: Path, **mapping: Any) -> ImportStream:
    (base / "m.yaml").write_text(yaml.safe_dump(mapping))
    return open_import(base / "m.yaml", base)


def drain(stream: ImportStream) -> dict[str, list[Row]]:
    return {split: list(rows) for split, rows in stream.splits().items()}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/ok.png").write_bytes(png())
    (tmp_path / "images/bad.png").write_bytes(b"GIF89a")
    (tmp_path / "images/bomb.png").write_bytes(png((9000, 8000)))
    (tmp_path / "secret.png").write_bytes(png())
    (tmp_path / "images/link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "images/loop.png").symlink_to("loop.png")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"image": "none.png"}, "media file missing"),
        ({"image": "."}, "media file missing"),
        ({"image": "https://example.org/a.png"}, "media file missing"),
        ({"image": "bad.png"}, "unreadable image"),
        ({"image": "bomb.png"}, "image above 64 megapixels"),
        ({"image": "../secret.png"}, "media path outside the media folder"),
        ({"image": "link.png"}, "media path outside the media folder"),
        ({"image": "/etc/hostname"}, "media path outside the media folder"),
        ({"image": "zero\0.png"}, "media file cannot be read"),
        ({"image": "x" * 5000}, "media file cannot be read"),
        ({"image": "loop.png"}, "media file cannot be read"),
        ({"image": 3.5}, "media file missing"),
        ({"image": True}, "field of another type"),
        ({"image": None}, "field missing"),
        ({"id": None}, "field missing"),
        ({"q": None}, "field missing"),
        ({"q": " "}, "no question"),
        ({"a": None}, "no answer"),
        ({"a": " "}, "no answer"),
        ({"a": ["x"]}, "field of another type"),
        ({"a": "\ud800"}, "invalid UTF-8"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_reasons(base: Path, changes: dict[str, Any], reason: str) -> None:
    good = {"id": "x", "image": "ok.png", "q": "what?", "a": "this"}
    stream = open_lines(base, [good, good | {"id": "y"} | changes], **PICTURE)
    (rows,) = drain(stream).values()
    assert [row.id for row in rows] == ["x"]  # negative control: the same line without the change is a row
    assert stream.unusable == {reason: 1}
    assert "line 2" in stream.report()[2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "invalid JSON"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"q": "\xff"}', "invalid UTF-8"),
        (b"[1]", "not a JSON object"),
        (b'{"q": "' + b"x" * 2000 + b'"}', "line above 64 MB"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_lines_that_are_no_records(base: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, reason: str) -> None:
    monkeypatch.setattr(records, "MAX_LINE_BYTES", 1000 if b"xx" in line else 1_000_000)
    good = {"q": "é", "a": 1}
    stream = open_lines(base, [b"\xef\xbb\xbf" + json.dumps(good).encode(), line, b"", good], **PLAIN)
    (rows,) = drain(stream).values()
    assert [row.id for row in rows] == ["line-000001", "line-000004"]
    assert rows[0].conversations[0][0].content == "é"
    assert stream.unusable == {reason: 1}


@given(st.lists(st.sampled_from(["row", "no answer", "invalid JSON", "unknown", "no id"]), max_size=30), st.booleans())
def test_each_record_is_counted_once_in_however_many_splits(
    tmp_path_factory: Any, kinds: list[str], field: bool
) -> None:
    base = tmp_path_factory.mktemp("base")
    lines: list[Any] = [{"i": "first", "q": "q", "a": "a", "s": "train"}]
    for number, kind in enumerate(kinds):
        good = {"i": number, "q": "q", "a": "a", "s": ("train", "validation")[number % 2]}
        lines.append(
            {
                "row": good,
                "no answer": good | {"a": ""},
                "invalid JSON": b"{",
                "unknown": good | ({"s": "test"} if field else {"a": ""}),
                "no id": good | {"i": ""},
            }[kind]
        )
    how = {"split_field": "s"} if field else {"validation_fraction": 0.5}
    stream = open_lines(base, lines, **(PLAIN | {"id": "i"} | how))
    first = drain(stream)
    assert sum(map(len, first.values())) + stream.unusable.total() == len(lines)
    counted = Counter(stream.unusable)
    assert drain(stream) == first
    assert stream.unusable == counted  # read twice, counted once
    if field:
        assert all(
            row.id == "first" or int(row.id) % 2 == (split == "validation") for split in first for row in first[split]
        )
        assert counted["split not in the mapping"] == kinds.count("unknown")


def test_the_split_of_a_row_depends_on_its_id_alone(base: Path) -> None:
    lines = [{"i": k, "q": "q", "a": "a"} for k in range(2000)]
    found = drain(open_lines(base, lines, **(PLAIN | {"id": "i", "validation_fraction": 0.1})))
    again = drain(open_lines(base, lines[::-1][:1000], **(PLAIN | {"id": "i", "validation_fraction": 0.1})))
    assert 150 < len(found["validation"]) < 250
    assert {row.id for row in again["validation"]} <= {row.id for row in found["validation"]}


CHOICE = {key: value for key, value in PICTURE.items() if key != "answer"} | {
    "options": "o",
    "answer_letter": "a",
    "media": [{"field": "image_{n}", "kind": "image", "numbers": 7, "mark": "<image {n}>"}],
}


def test_choices_and_marks(base: Path) -> None:
    good = {"id": "x", "q": "See<image 3>and <image 1>.", "o": ["<image 3>", "no"], "a": "B"}
    good |= {"image_1": "ok.png", "image_3": "ok.png"}
    bad = [good | {"a": "C"}, good | {"a": "b"}, good | {"q": "<image 2>"}, good | {"o": "A"}]
    stream = open_lines(base, [good, *bad], **CHOICE)
    ((row,),) = drain(stream).values()
    assert [turn.content for turn in row.conversations[0]] == ["See image 2 and image 1.", ""]
    assert row.meta == {"options": [["image 2", "no"]], "answer_index": [1]}
    assert len(row.media) == 2
    assert stream.unusable == {
        "answer is not one of the options": 2,
        "text mentions media that the row lacks": 1,
        "field of another type": 1,
    }


def test_media_of_a_row_have_a_limit(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversion, "MAX_MEDIA_BYTES", len(png()) * 2)
    good = {"id": "x", "q": "q", "a": "a", "image": ["ok.png"] * 2}
    stream = open_lines(base, [good, good | {"image": ["ok.png"] * 3}], **PICTURE)
    ((row,),) = drain(stream).values()
    assert len(row.media) == 2
    assert stream.unusable == {"media above 2 GB": 1}


def test_parquet_with_embedded_images(base: Path) -> None:
    picture = {"bytes": png((5, 4)), "path": "five.png"}
    table = pa.table({"image": [picture, {"bytes": b"x", "path": "x.png"}], "q": ["q", "q"], "a": ["a", "a"]})
    pq.write_table(table, base / "a.parquet")
    mapping = {key: value for key, value in PICTURE.items() if key != "id"}
    stream = open_source(base, source="a.parquet", **mapping)
    ((row,),) = drain(stream).values()
    assert (row.media[0].path, row.media[0].width) == ("five.png", 5)
    assert stream.unusable == {"unreadable image": 1}
    (base / "a.parquet").write_bytes((base / "a.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        drain(stream)


def test_documents_hold_all_the_text_but_what_is_reported(base: Path) -> None:
    (base / "a.txt").write_bytes(b"one\ntwo\n" + b"x" * 50 + b"\nbad \xff\nend")
    mapping = {"dataset": "own", "licence": "x", "task": "text_sft", "prompt": "p", "answer": "text"}
    stream = open_source(base, source="a.txt", document_characters=10, **mapping)
    (rows,) = drain(stream).values()
    assert [row.conversations[0][1].content for row in rows] == ["one\ntwo", "x" * 50, "end"]
    assert stream.unusable == {"invalid UTF-8": 1}


def test_nothing_usable_says_why(base: Path) -> None:
    stream = open_lines(base, [b"{", {"q": "q", "a": ""}], **(PLAIN | {"validation_fraction": 0.5}))
    with pytest.raises(DataError, match="no row of own is usable") as caught:
        drain(stream)
    assert "1 × invalid JSON" in caught.value.why
    assert "line 2 (line-000002): 'a' is empty" in caught.value.why
    assert "trackyard data import" in caught.value.fix
    with pytest.raises(DataError, match="0 records"):
        drain(open_lines(base, [], **PLAIN))
    with pytest.raises(DataError, match="does not exist"):
        open_source(base, source="b.jsonl", **PLAIN)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real inputs are not beside this repository")
@pytest.mark.parametrize(
    ("name", "counts", "media"),
    [
        ("mmmu_pro", {"train": 21}, 25),
        ("photos", {"train": 7}, 7),
        ("videos", {"train": 3}, 3),
        ("shakespeare", {"train": 530, "validation": 34}, 0),
    ],
)
def test_real_inputs(name: str, counts: dict[str, int], media: int) -> None:
    stream = open_import(EXAMPLES / f"{name}.yaml", REAL)
    rows = drain(stream)
    assert {split: len(found) for split, found in rows.items()} == counts
    assert sum(len(row.media) for found in rows.values() for row in found) == media
    assert not stream.unusable
    assert "<image" not in str([row.conversations for found in rows.values() for row in found])
    assert str(REAL) not in str(stream.source)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real inputs are not beside this repository")
def test_captions_without_pixels() -> None:
    stream = open_import(EXAMPLES / "coco_captions.yaml", REAL)
    with pytest.raises(DataError, match="no row of coco_captions is usable") as caught:
        drain(stream)
    assert stream.unusable == {"media file missing": 80}
    assert "80 × media file missing" in caught.value.why
