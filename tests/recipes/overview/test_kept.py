"""What a stage put out, as it was before it was sealed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.recipes.overview.kept import in_order, kept_picture, times, with_interval
from trackyard.recipes.overview.track import StageTime


@given(st.permutations(["a-42", "a-1337", "a-7"]))
def test_cells_get_their_order_back(order: list[str]) -> None:
    sealed = {"ppl": {"cells": dict.fromkeys(sorted(order), 1.0), "mean": 1.0}, "other": {"x": [1]}}
    found = in_order(sealed, order)
    assert list(found["ppl"]["cells"]) == order
    assert found == sealed


def test_intervals_by_their_ends() -> None:
    assert with_interval({"ci95": [1, 2], "n": 3}, "ci95") == {"ci95": {"low": 1, "high": 2}, "n": 3}


def test_times_by_stage() -> None:
    assert times([("a", 1.0, "cpu"), ("b", 2.0, "cpu"), ("a", 3.0, "gpu")]) == (
        StageTime(stage="a", results=2, seconds=4.0, device="cpu, gpu"),
        StageTime(stage="b", results=1, seconds=2.0, device="cpu"),
    )


def test_a_figure_that_is_absent_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises(DataError, match=r"a\.png does not exist"):
        kept_picture(tmp_path, "a", track="t", caption="", alt="", again="dvc repro")
