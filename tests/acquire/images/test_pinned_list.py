"""The list that a directory belongs to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.images.pinned_list import FILE, PinnedList, UrlRow, rows_digest, url_key
from trackyard.errors import ConfigError, DataError

RULES = {"max_side": 384}
ROWS = st.lists(
    st.builds(UrlRow, st.text(st.characters(codec="utf-8", exclude_characters="@"), max_size=3), st.none()),
    min_size=1,
    max_size=60,
)


def pin(rows: list[UrlRow], directory: Path, urls_per_shard: int = 7) -> PinnedList:
    return PinnedList.pin(iter(rows), directory, urls_per_shard=urls_per_shard, rules=RULES)


@settings(deadline=None)
@given(ROWS, st.integers(1, 20))
def test_shards_are_the_different_urls_in_their_order(rows: list[UrlRow], size: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        directory = Path(place)
        made = pin(rows, directory, size)
        different = list(dict.fromkeys(rows))
        shards = [made.shard(number) for number in range(made.shards)]
        assert [row for shard in shards for row in shard] == different
        assert [made.rows_of(number)[1] - made.rows_of(number)[0] for number in range(made.shards)] == list(
            map(len, shards)
        )
        assert made.urls + made.repeated == len(rows)
        assert PinnedList.read(directory) == made == pin(rows, directory, size)
        with pytest.raises(ConfigError, match="another list"):
            pin([*rows, rows[0]], directory, size)
        with pytest.raises(ConfigError, match=f"urls_per_shard={size}, now {size + 1}"):
            pin(rows, directory, size + 1)


def test_the_digest_tells_url_from_sha256() -> None:
    assert rows_digest([UrlRow("ab")]) != rows_digest([UrlRow("a"), UrlRow("b")])
    assert rows_digest([UrlRow("a", "b")]) != rows_digest([UrlRow("ab")])
    assert rows_digest([UrlRow("a", "b")]) != rows_digest([UrlRow("b", "a")])


def test_digests_are_compared_in_lower_case(tmp_path: Path) -> None:
    made = pin([UrlRow("a", "AB" * 32)], tmp_path)
    assert made.shard(0) == (UrlRow("a", "ab" * 32),)
    assert pin([UrlRow("a", "ab" * 32)], tmp_path) == made


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (UrlRow("a", "xyz"), "'xyz' is not 64 hexadecimal digits"),
        (UrlRow("http://\ud800/"), "is not text"),
    ],
)
def test_what_cannot_be_a_row(row: UrlRow, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        pin([row], tmp_path)
    assert not (tmp_path / FILE).exists()


def test_a_damaged_list_is_told(tmp_path: Path) -> None:
    made = pin([UrlRow(str(number)) for number in range(50)], tmp_path)
    data = bytearray((tmp_path / FILE).read_bytes())
    data[30] ^= 0xFF
    (tmp_path / FILE).write_bytes(data)
    with pytest.raises(DataError, match="cannot be read"):
        made.shard(0)


def test_faces_are_pinned_and_decide_whose_directory_it_is(tmp_path: Path) -> None:
    row = UrlRow("http://a/", None, ((0.1, 0.2, 0.3, 0.4), (0.0, 0.0, 1.0, 1.0)))
    made = pin([row, UrlRow("http://b/")], tmp_path)
    assert made.shard(0) == (row, UrlRow("http://b/"))
    assert pin([row, UrlRow("http://b/")], tmp_path) == made
    for other in (UrlRow("http://a/"), UrlRow("http://a/", None, row.faces[:1])):
        with pytest.raises(ConfigError, match="another list of URLs"):
            pin([other, UrlRow("http://b/")], tmp_path)


def test_no_user_or_password_is_written_down(tmp_path: Path) -> None:
    rows = [
        UrlRow("http://somebody:hunter2@h.org/a.jpg"),  # secret-scan: allow
        UrlRow("//token@h.org/b.jpg"),
        UrlRow("http://h.org/c@d.jpg?e@f"),
    ]
    made = pin(rows, tmp_path)
    assert [row.url for row in made.shard(0)] == [
        "http://[redacted]@h.org/a.jpg",
        "//[redacted]@h.org/b.jpg",
        "http://h.org/c@d.jpg?e@f",
    ]
    assert url_key(rows[0].url) == url_key(made.shard(0)[0].url)
    assert not [path for path in tmp_path.iterdir() if b"hunter2" in path.read_bytes()]


def test_a_list_that_was_pinned_before_there_were_faces_goes_on(tmp_path: Path) -> None:
    """Its file has no column for them, its rules do not speak of them, and its digest is what it was."""
    rows = [UrlRow("http://a/"), UrlRow("http://b/", "ab" * 32)]
    made = pin(rows, tmp_path)
    table = pq.read_table(tmp_path / FILE).drop_columns(["faces"])
    pq.write_table(table, tmp_path / FILE, row_group_size=7)
    assert PinnedList.read(tmp_path).shard(0) == tuple(rows)
    rules = {"blur_faces": True, "hash_mismatch": "reject"}
    assert PinnedList.pin(rows, tmp_path, urls_per_shard=7, rules=RULES | rules).digest == made.digest
    with pytest.raises(ConfigError, match="blur_faces=True, now False"):
        PinnedList.pin(rows, tmp_path, urls_per_shard=7, rules=RULES | rules | {"blur_faces": False})
    assert rows_digest(rows) == "455202b38b8d07b8d3f0c209ea99df8106b291114f68fbe5137d69bed860b6ca"
