import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.memory import in_a_new_process, peak_growth
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.pile_ffn.text.reading import TEXT_CHARACTERS, form_of, read_documents

REAL = Path(__file__).parents[5] / "shared" / "data" / "real" / "text" / "tinyshakespeare.txt"
TEXTS = ["first é\n", "", "third 中文"]


def lines(texts: list[str]) -> bytes:
    return b"".join(json.dumps({"text": text, "url": "made"}).encode() + b"\n" for text in texts)


def write(path: Path, texts: list[str]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": texts, "other": [0] * len(texts)}), path)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines(texts[:1])) + gzip.compress(lines(texts[1:])))
    elif path.suffix == ".zst":
        path.write_bytes(zstandard.compress(lines(texts)))
    else:
        path.write_bytes(lines(texts))
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.jsonl.zst", "c4-train.00000-of-01024.json.gz", "a.jsonl.gz", "a.parquet"]
)
def test_every_form_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, TEXTS)
    assert [(item.text, item.row, item.source) for item in read_documents(path)] == [
        (text, row, name) for row, text in enumerate(TEXTS)
    ]
    assert {item.source for item in read_documents(path, source="en/a")} == {"en/a"}


def test_text_is_cut_at_blank_lines_and_nowhere_else(tmp_path: Path) -> None:
    paragraphs = [f"{number} " + "words of a paragraph\nin lines\n" * (number % 7) for number in range(300)]
    path = tmp_path / "book.txt"
    path.write_text("\n\n".join(paragraphs))
    found = list(read_documents(path))
    assert "".join(item.text for item in found) == path.read_text()
    assert all(item.size >= TEXT_CHARACTERS and item.text.endswith("\n\n") for item in found[:-1])
    assert max(item.size for item in found) < TEXT_CHARACTERS + 500
    assert [item.row for item in found] == list(range(len(found)))


@pytest.mark.skipif(not REAL.is_file(), reason="shared/data/real/text lies beside the project, not in it")
def test_real_text_is_read_whole() -> None:
    found = list(read_documents(REAL))
    assert "".join(item.text for item in found).encode() == REAL.read_bytes()
    assert len({item.id for item in found}) == len(found) > 200


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json.gz", gzip.compress(lines(TEXTS), mtime=0)[:-3], r"a\.json\.gz, row \d: ValueError: the file is cut"),
        ("a.json.gz", gzip.compress(lines(TEXTS), mtime=0)[:20] + b"xxxxxxxxxxxxxxxxxxxx", r"row 0: error"),
        ("a.json.gz", lines(TEXTS), "incorrect header"),
        ("a.parquet", b"PAR1 and no more", r"a\.parquet, row 0: ArrowInvalid"),
        ("a.txt", b"good\n\xff", r"a\.txt, row 0: UnicodeDecodeError"),
    ],
    ids=("cut", "spoilt", "not compressed", "parquet", "no UTF-8"),
)
def test_what_is_damaged_is_named_with_its_row(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        list(read_documents(tmp_path / name))


def test_rows_without_text_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", "b", None]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 2: TypeError: text is a NoneType"):
        list(read_documents(tmp_path / "a.parquet"))
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="no column 'text', only content"):
        list(read_documents(tmp_path / "b.parquet"))
    with pytest.raises(DataError, match="FileNotFoundError"):
        list(read_documents(tmp_path / "none.parquet"))


def test_a_text_without_blank_lines_must_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackyard.recipes.pile_ffn.text.reading.MAX_RECORD", 5_000)
    (tmp_path / "a.txt").write_bytes(b"word " * 2_000)
    with pytest.raises(DataError, match="5,000 bytes without a blank line"):
        list(read_documents(tmp_path / "a.txt"))


def test_other_endings_are_refused() -> None:
    assert form_of("train/00.jsonl.zst") == ".jsonl.zst"
    for name in ("a.csv", "a.zst", "a.txt.gz"):
        with pytest.raises(ConfigError, match=r"\.jsonl\.zst"):
            form_of(name)


def growth(path: Path, whole: bool) -> int:
    """Bytes, after one document."""
    next(read_documents(path))
    with peak_growth() as grown:
        if whole:
            assert pq.read_table(path).num_rows == 8_000
        else:
            assert sum(item.size for item in read_documents(path)) > 39_000_000
    return grown()


def test_a_large_table_is_read_in_pieces(tmp_path: Path) -> None:
    """Negative control within: the whole column is several times what the reader may take."""
    path = tmp_path / "large.parquet"
    texts = [f"{number} " + "a word " * 700 for number in range(8_000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=8_000, use_dictionary=False, compression="snappy")
    assert in_a_new_process(growth, path, whole=False) < 20_000_000
    assert in_a_new_process(growth, path, whole=True) > 35_000_000
