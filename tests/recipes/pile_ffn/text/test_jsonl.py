import json
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.text import jsonl
from trackyard.recipes.pile_ffn.text.jsonl import UNLABELLED, read_jsonl


def written(path: Path, lines: list[bytes]) -> Path:
    data = b"\n".join(lines) + b"\n"
    path.write_bytes(zstandard.ZstdCompressor().compress(data) if path.suffix == ".zst" else data)
    return path


@pytest.mark.parametrize("name", ["00.jsonl", "00.jsonl.zst"])
def test_records_are_read_as_the_pile_has_them(tmp_path: Path, name: str) -> None:
    lines = [{"text": "é\nb", "meta": {"pile_set_name": "ArXiv"}}, {"text": ""}, {"text": "c", "meta": None}]
    found = list(read_jsonl(written(tmp_path / name, [json.dumps(line).encode() for line in lines])))
    assert [(item.text, item.size, item.component, item.source, item.row) for item in found] == [
        ("é\nb", 4, "ArXiv", name, 0),
        ("", 0, UNLABELLED, name, 1),
        ("c", 1, UNLABELLED, name, 2),
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "row 1: JSONDecodeError"),
        (b"[]", "row 1: TypeError"),
        (b'{"content": "a"}', "row 1: KeyError: 'text'"),
        (b'{"text": 3}', "row 1: TypeError: text is a int"),
        (b'{"text": "\\ud800"}', "row 1: 'utf-8' codec"),
        (b'"\xff"', "row 1: UnicodeDecodeError"),
    ],
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(read_jsonl(written(tmp_path / "00.jsonl", [b'{"text": "a"}', line])))


def test_files_that_are_cut_or_absent(tmp_path: Path) -> None:
    lines = [json.dumps({"text": str(i) * 50}).encode() for i in range(500)]
    whole = written(tmp_path / "00.jsonl.zst", lines)
    data = whole.read_bytes()
    for kept in (len(data) - 40, len(data) - 1, 3):
        whole.write_bytes(data[:kept])
        with pytest.raises(DataError, match=r"00\.jsonl\.zst, row \d+"):
            list(read_jsonl(whole))
    with pytest.raises(DataError, match="FileNotFoundError"):
        list(read_jsonl(tmp_path / "none.jsonl"))


def test_a_file_cut_after_a_line_looks_whole_to_the_usual_reader(tmp_path: Path) -> None:
    """Negative control: why frames are followed. The first block ends with a line, and the rest is not there."""
    frame = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    first = frame.compress(b'{"text": "a"}\n') + frame.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    path = tmp_path / "00.jsonl.zst"
    path.write_bytes(first)
    with zstandard.open(path, "rb") as plain:
        assert plain.read() == b'{"text": "a"}\n'
    with pytest.raises(DataError, match="its last frame has no end"):
        list(read_jsonl(path))


def test_frames_one_after_another_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"text {i} " * 40 for i in range(30)]
    frames = [zstandard.ZstdCompressor().compress(json.dumps({"text": text}).encode() + b"\n") for text in texts]
    path = tmp_path / "00.jsonl.zst"
    path.write_bytes(b"".join(frames))
    for chunk in (7, 100, 1 << 14):
        monkeypatch.setattr(jsonl, "CHUNK", chunk)
        assert [item.text for item in read_jsonl(path)] == texts


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_RECORD", 100)
    monkeypatch.setattr(jsonl, "CHUNK", 50)
    with pytest.raises(DataError, match="longer than 100 bytes"):
        list(read_jsonl(written(tmp_path / "00.jsonl", [b'{"text": "' + b"a" * 200 + b'"}'])))


def test_a_stream_is_held_in_pieces(tmp_path: Path) -> None:
    line = json.dumps({"text": "a word " * 700}).encode() + b"\n"
    path = tmp_path / "00.jsonl.zst"
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(line * 100) for _ in range(60)))
    tracemalloc.start()
    size = sum(item.size for item in read_jsonl(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size == 6_000 * 4_900
    assert peak < 4_000_000
