import hashlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.recipes.pile_ffn.text.document_ids import DocumentIds, document_id, halved, hashed_split


def test_the_id_is_the_start_of_sha256() -> None:
    # SHA-256 of "abc" as FIPS 180-2 prints it.
    assert document_id(b"abc").hex() == "ba7816bf8f01cfea414140de5dae2223"


@given(st.lists(st.binary(min_size=16, max_size=16).filter(any)))
def test_it_is_a_set(names: list[bytes]) -> None:
    found, expected = DocumentIds(), set()
    for name in names:
        assert found.add(name) is (name not in expected)
        expected.add(name)
    assert len(found) == len(expected)
    assert all(name in found for name in names)


@given(st.sets(st.integers(1, 2**30), max_size=40))
def test_ids_that_begin_alike_are_told_apart(numbers: set[int]) -> None:
    """All of them begin to look at the same place."""
    found = DocumentIds()
    for number in numbers:
        assert found.add(b"\7" * 8 + number.to_bytes(8, "big"))
    assert not any(found.add(b"\7" * 8 + number.to_bytes(8, "big")) for number in numbers)
    assert b"\7" * 8 + bytes(8) not in found


def test_it_grows_and_stays_small() -> None:
    names = [hashlib.sha256(str(i).encode()).digest()[:16] for i in range(40_000)]
    found = DocumentIds()
    assert all(found.add(name) for name in names[:30_000])
    assert all(name in found for name in names[:30_000])
    assert not any(name in found for name in names[30_000:])
    size = sys.getsizeof(found._slots) / len(found)
    plain = set(names[:30_000])
    assert 24 <= size <= 48.1
    assert size < (sys.getsizeof(plain) + sum(map(sys.getsizeof, plain))) / len(plain) / 1.8


@pytest.mark.parametrize("name", [bytes(16), b"a" * 15, b"a" * 17])
def test_what_is_no_id(name: bytes) -> None:
    with pytest.raises(ValueError, match="not the id of a document"):
        DocumentIds().add(name)


def test_splits_by_hash() -> None:
    names = [(number).to_bytes(8, "big") + b"\1" * 8 for number in range(3_000)]
    found = [hashed_split(name) for name in names]
    assert found[:11] == ["val"] * 5 + ["test"] * 5 + [None]
    assert (found.count("val"), found.count("test"), found.count(None)) == (15, 15, 2_970)
    assert [halved(name) for name in names[:3]] == ["val", "test", "val"]


def test_shares_of_real_ids() -> None:
    found = [hashed_split(document_id(str(i).encode())) for i in range(20_000)]
    assert 70 <= found.count("val") <= 130
    assert 70 <= found.count("test") <= 130
