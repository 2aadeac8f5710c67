"""Arrays written in pieces are ordinary .npy files; what does not fit their type is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trackyard.plan.arrays import ArrayWriter


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.lists(st.integers(0, 2**16 - 1), max_size=50), max_size=6))
def test_pieces_are_one_array(pieces: list[list[int]], tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with ArrayWriter(path, "<u2") as out:
        for piece in pieces:
            out.append(np.array(piece, dtype=np.int64))
    found = np.load(path)
    assert (found.dtype, found.tolist()) == (np.dtype("<u2"), [value for piece in pieces for value in piece])
    assert out.length == len(found)
    plain = path.with_name("plain.npy")
    np.save(plain, found)
    assert path.read_bytes() == plain.read_bytes()


@pytest.mark.parametrize("value", [-1, 2**16])
def test_too_large_numbers_are_refused(value: int, tmp_path: Path) -> None:
    with pytest.raises(OverflowError, match=str(value)), ArrayWriter(tmp_path / "a.npy", "<u2") as out:
        out.append(np.array([0, value]))
