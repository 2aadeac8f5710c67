"""Digests equal the published blake3 vectors and depend on content alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.digest import SHORT, canonical_json, digest_bytes, digest_file, digest_json, short

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def _reversed_keys(value: Any) -> Any:
    """The same value with every mapping built in the opposite order."""
    if isinstance(value, dict):
        return {key: _reversed_keys(value[key]) for key in reversed(value)}
    return [_reversed_keys(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("length", "digest"),
    [
        (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
        (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
    ],
)
def test_published_test_vectors(length: int, digest: str) -> None:
    """Input bytes count 0, 1, … 250 and start again (test_vectors.json of the BLAKE3 reference)."""
    assert digest_bytes(bytes(i % 251 for i in range(length))) == digest


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200_000))
def test_a_file_has_the_digest_of_its_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert digest_file(path) == digest_bytes(data)


@given(st.binary(min_size=1, max_size=200), st.integers(min_value=0), st.integers(0, 7))
def test_one_flipped_bit_changes_the_digest(data: bytes, position: int, bit: int) -> None:
    flipped = bytearray(data)
    flipped[position % len(data)] ^= 1 << bit
    assert digest_bytes(bytes(flipped)) != digest_bytes(data)


@given(JSON)
def test_the_order_of_keys_does_not_count(value: Any) -> None:
    assert digest_json(_reversed_keys(value)) == digest_json(value)


@given(JSON, JSON)
def test_different_documents_have_different_canonical_forms(one: Any, other: Any) -> None:
    assert (canonical_json(one) == canonical_json(other)) == (repr(_sorted(one)) == repr(_sorted(other)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def test_the_canonical_form_is_this() -> None:
    assert canonical_json({"b": [1, 0.5, None], "a": "ü"}) == '{"a":"ü","b":[1,0.5,null]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(value)


def test_a_missing_file_is_an_error_and_not_an_empty_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        digest_file(tmp_path / "absent")


def test_short_is_a_prefix() -> None:
    assert short(digest_bytes(b"")) == "af1349b9f5f9"
    assert SHORT == 12
