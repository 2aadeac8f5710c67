import hashlib
import io
import json
import sys
import threading
from collections import Counter
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from trackyard.acquire.importing import records, references
from trackyard.acquire.importing.account import Account
from trackyard.acquire.importing.parts import plan_import
from trackyard.acquire.importing.stream import ImportStream, open_import
from trackyard.errors import DataError
from trackyard.row import Row

REPOSITORY = Path(__file__).resolve().parents[3]
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
    return open_source(base, **(mapping | {"source": "a.jsonl"}))


def open_source(
    base: Path, *, strict: bool = False, max_bad_records: float | None = None, **mapping: Any
) -> ImportStream:
    (base / "m.yaml").write_text(yaml.safe_dump(mapping))
    return open_import(base / "m.yaml", base, strict=strict, max_bad_records=max_bad_records)


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
    monkeypatch.setattr(references, "MAX_MEDIA_BYTES", len(png()) * 2)
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


# Images by address: the folder of fetched images is another module's; here is one that holds what a test says.


@dataclass(frozen=True)
class Stored:
    bytes: bytes
    width: int
    height: int
    sha256: str = ""


@dataclass(frozen=True)
class LostImage:
    cause: str


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was fetched, by address; an address that is not there was lost with a 404."""
    known: dict[str, Any] = {}

    class UrlImages:
        @classmethod
        def open(cls, directory: Path) -> "UrlImages":
            return cls()

        def find(self, url: str) -> Any:
            return known.get(url, LostImage("http_404"))

    module = SimpleNamespace(UrlImages=UrlImages, Lost=LostImage, StoredImage=Stored)
    monkeypatch.setitem(sys.modules, "trackyard.acquire.images.fetch", module)
    return known


BY_URL = {"media": [{"field": "url", "kind": "image", "from": "url"}], "task": "pointing", "label": "label"}
POINTING = {"dataset": "own", "licence": "x", "source": "a.jsonl", "points": {"field": "points", "unit": "percent"}}


def test_a_lost_image_leaves_its_record_out(base: Path, fetched: dict[str, Any]) -> None:
    fetched["http://a"] = Stored(png(), 8, 6)
    lines = [{"url": url, "points": [{"x": 50, "y": 120}], "label": "cup"} for url in ("http://a", "http://b")]
    stream = open_lines(base, [*lines, {"url": None, "points": [], "label": "x"}], **(POINTING | BY_URL))
    ((row,),) = drain(stream).values()
    assert row.media[0].path == "http://a"
    assert row.meta == {
        "label": ["cup"],
        "points": [[{"media": 0, "t": 1.0, "id": 1, "x": 0.5, "y": 1.2, "occluded": False}]],
    }
    assert stream.unusable == {"image lost: http_404": 1, "field missing": 1}
    # A lost image is no fault of the source; a null address is.
    assert ImportStream(reading=stream.reading, max_bad_records=0.34).splits()
    with pytest.raises(DataError, match="1 of 3 records of own are bad"):
        drain(open_source(base, **(POINTING | BY_URL), max_bad_records=0.3))


@pytest.mark.parametrize(("unit", "x", "y"), [("percent", 25, 50), ("pixel", 2, 3), ("fraction", 0.25, 0.5)])
def test_units_of_points(base: Path, unit: str, x: float, y: float) -> None:
    mapping = POINTING | {"points": {"field": "p", "unit": unit}, "label": "l", "task": "pointing"}
    mapping |= {"media": [{"field": "image", "kind": "image"}], "media_root": "images"}
    stream = open_lines(base, [{"p": {"x": [x], "y": [y]}, "l": "cup", "image": "ok.png"}], **mapping)
    ((row,),) = drain(stream).values()
    assert (row.meta["points"][0][0]["x"], row.meta["points"][0][0]["y"]) == (0.25, 0.5)
    two = {"p": {"x": [x], "y": [y]}, "l": "cup", "image": ["ok.png", "ok.png"]}
    with pytest.raises(DataError, match="no row of own"):  # which of the images would be pointed at?
        drain(open_lines(base, [two], **mapping))


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), max_size=25), st.integers(1, 4))
def test_records_of_one_image_become_one_row(
    tmp_path_factory: Any, records: list[tuple[str, bool]], limit: int
) -> None:
    base = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        known = {f"http://{name}": Stored(png(), 8, 6) for name in "abc"}
        find = lambda self, url: known.get(url, LostImage("dns"))  # noqa: E731
        images = type("UrlImages", (), {"open": classmethod(lambda cls, directory: cls()), "find": find})
        patch.setitem(sys.modules, "trackyard.acquire.images.fetch", SimpleNamespace(UrlImages=images, Lost=LostImage))
        lines = [
            {"url": f"http://{name}", "points": [{"x": 1, "y": 2}], "label": f"{k}" if good else ["?"]}
            for k, (name, good) in enumerate([("a", True), *records])
        ]
        mapping = POINTING | BY_URL | {"group_by": "url", "group_limit": limit, "validation_fraction": 0.5}
        stream = open_lines(base, lines, **mapping)
        found = drain(stream)
        # Buckets, which worker processes read, hold the same rows.
        reading, account = stream.reading, Account()
        parts = [row for k in range(3) for _, _, row in replace(reading, bucket=(k, 3)).rows(account)]
    rows = [row for split in found.values() for row in split]
    assert sorted(parts, key=lambda row: row.id) == sorted(rows, key=lambda row: row.id)
    labels = {row.media[0].path: [] for row in rows}
    for row in rows:
        assert len(row.conversations) <= limit
        labels[row.media[0].path] += row.meta["label"]
    for url, said in labels.items():
        assert said == [line["label"] for line in lines if line["url"] == url and isinstance(line["label"], str)]
    assert (
        sum(map(len, labels.values())) + stream.unusable.total()
        == len(lines)
        == account.records + account.unusable.total()
    )
    homes = {split: {row.media[0].path for row in rows} for split, rows in found.items()}
    assert not homes["train"] & homes["validation"]  # no image is on both sides


def test_what_is_held_out_is_not_trained_on(base: Path, fetched: dict[str, Any]) -> None:
    fetched |= {"http://a": Stored(png(), 8, 6), "http://b": Stored(png(), 8, 6)}
    rule = {"held_out": {"entry": "eval", "source": "*.jsonl", "field": "url"}}
    lines = [{"url": f"http://{name}", "points": [], "label": name} for name in "ab"]
    with pytest.raises(DataError, match="eval does not exist"):
        drain(open_lines(base, lines, **(POINTING | BY_URL | rule)))
    (base / "eval").mkdir()
    (base / "eval/test.jsonl").write_text('{"url": "http://b"}\n')
    stream = open_lines(base, lines, **(POINTING | BY_URL | rule))
    ((row,),) = drain(stream).values()
    assert row.meta["label"] == ["a"]
    assert stream.unusable == {"not wanted: held out for evaluation": 1}


TULU = {"dataset": "tulu", "licence": "x", "task": "text_sft", "id": "id", "messages": "messages", "source": "*.jsonl"}


def test_several_files_and_filters(base: Path) -> None:
    turns = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]
    for number in range(2):
        lines = [{"messages": turns, "kind": kind} for kind in ("text", "code")]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (base / f"train-{number:05d}-of-00002-{'0' * 15}{number}.jsonl").write_text(text)
    mapping = {key: value for key, value in TULU.items() if key != "id"}
    keep = [{"field": "kind", "none_of": ["code"], "reason": "code"}]
    stream = open_source(base, **mapping, keep=keep)
    (rows,) = drain(stream).values()
    names = [f"train-{number:05d}-of-00002-{'0' * 15}{number}" for number in range(2)]
    assert [row.id for row in rows] == [f"{name}-000001" for name in names]
    assert stream.unusable == {"not wanted: code": 2}
    assert f"  {names[0]}.jsonl line 2 " in "\n".join(stream.report())
    assert set(stream.source["files"]) == {f"{name}.jsonl" for name in names}
    (base / f"{names[1]}.jsonl").unlink()
    with pytest.raises(DataError, match="1 numbered files are missing: train-00001-of-00002"):
        open_source(base, **mapping)
    with pytest.raises(DataError, match="no file below"):
        open_source(base, **(mapping | {"source": "none/*.jsonl"}))


def test_files_by_split(base: Path) -> None:
    for name in ("train", "val"):
        (base / f"{name}.jsonl").write_text(json.dumps({"q": name, "a": "a"}) + "\n{\n")
    source = {"train": "train.jsonl", "validation": "val.jsonl"}
    stream = open_source(base, **(PLAIN | {"source": source}))
    found = drain(stream)
    assert {split: [row.conversations[0][0].content for row in rows] for split, rows in found.items()} == {
        "train": ["train"],
        "validation": ["val"],
    }
    assert stream.unusable == {"invalid JSON": 2}


def test_a_strict_import_stops_at_the_first_bad_record(base: Path) -> None:
    lines = [{"q": "q", "a": "a"}, {"q": "q", "a": 3.5}, {"q": "q", "a": ["x"]}, {"q": ""}]
    with pytest.raises(DataError, match=r"field of another type: line 3 .*'a' holds a list"):
        drain(open_lines(base, lines, **PLAIN, strict=True))
    assert len(drain(open_lines(base, lines[:2], **PLAIN, strict=True))["train"]) == 2


def test_long_texts_are_counted(base: Path) -> None:
    stream = open_lines(base, [{"q": "q", "a": "a"}, {"q": "q", "a": "x" * 10_000_000}], **PLAIN)
    assert len(drain(stream)["train"]) == 1
    assert stream.unusable == {"text above 1 million characters": 1}
    assert "'a' holds 10,000,000" in stream.report()[2]


def test_an_absent_field_is_told_with_those_that_are_there(base: Path) -> None:
    with pytest.raises(DataError, match="no row of own") as caught:
        drain(open_lines(base, [{"question": "q", "a": "a"}], **PLAIN))
    assert "'q' is absent; there are question, a" in caught.value.why


def test_pixels_of_an_image_that_was_scaled_down_are_refused(base: Path, fetched: dict[str, Any]) -> None:
    whole = hashlib.sha256(png()).hexdigest()
    fetched |= {"http://a": Stored(png(), 8, 6, whole), "http://b": Stored(png(), 8, 6, "of the image before")}
    lines = [{"url": f"http://{name}", "points": [{"x": 4, "y": 3}], "label": name} for name in "ab"]
    mapping = POINTING | BY_URL | {"points": {"field": "points", "unit": "pixel"}}
    stream = open_lines(base, lines, **mapping)
    ((row,),) = drain(stream).values()
    assert row.meta["points"][0][0]["x"] == 0.5
    assert stream.unusable == {"points in pixels of an image that was scaled down": 1}
    # Fractions stay what they are, whatever the size.
    assert len(drain(open_lines(base, lines, **(POINTING | BY_URL)))["train"]) == 2


class _Images(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        number = self.path[1:-4]
        found = number.isdecimal() and int(number) % 4 != 3
        body = png((40 + int(number), 40)) if found else b"gone"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "image/png")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: the test reads the import's own account."""


def test_images_that_were_really_fetched(tmp_path: Path) -> None:
    """From the mapping of the catalogue to the rows, through the module that fetches."""
    from trackyard.acquire.images.fetch import UrlImageParameters, UrlRow, fetch_images
    from trackyard.acquire.web.addresses import AddressPolicy

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Images)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    urls = [f"http://127.0.0.1:{server.server_address[1]}/{number}.png" for number in range(12)]
    images = tmp_path / "raw" / "pixmo-points" / "images"
    parameters = UrlImageParameters(acceptance=(0.1, 0.99), workers=1)
    policy = AddressPolicy.parse(["127.0.0.0/8"])
    try:
        fetch_images([UrlRow(url) for url in urls], images, parameters=parameters, policy=policy)
    finally:
        server.shutdown()
        server.server_close()
    (tmp_path / "hub/data").mkdir(parents=True)
    (tmp_path / "eval/data").mkdir(parents=True)
    rows = [{"image_url": url, "points": [{"x": 50.0, "y": 50.0}], "label": f"{k}"} for k in range(2) for url in urls]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "hub/data/train-00000-of-00001.parquet")
    pq.write_table(pa.table({"image_url": urls[:1]}), tmp_path / "eval/data/test-00000-of-00001.parquet")
    mapping = REPOSITORY / "catalog/mappings/pixmo-points.yaml"
    entries = {"pixmo-points-eval": tmp_path / "eval"}
    stream = open_import(mapping, tmp_path / "hub", images=images, entries=entries)
    found = [row for rows in drain(stream).values() for row in rows]
    assert sorted(row.media[0].path for row in found) == sorted(urls[k] for k in range(12) if k % 4 != 3 and k)
    assert all(row.meta["label"] == ["0", "1"] for row in found)
    assert stream.unusable == {"image lost: http_404": 6, "not wanted: held out for evaluation": 2}
    plan = plan_import(mapping, tmp_path / "hub", shard_bytes=1000, images=images, entries=entries)
    account = Account()
    assert len(plan.parts) > 1
    assert sorted(row.id for part in plan.parts for _, _, row in part.rows(account)) == sorted(row.id for row in found)
    assert account.unusable == stream.unusable
