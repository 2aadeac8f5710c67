"""The list that a directory belongs to."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.images.pinned_list import FILE, PinnedList, UrlRow, rows_digest
from trackyard.errors import ConfigError, DataError

RULES = {"max_side": 384}
ROWS = st.lists(
    st.builds(UrlRow, st.text(st.characters(codec="utf-8"), max_size=3), st.none()), min_size=1, max_size=60
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
