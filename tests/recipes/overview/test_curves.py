"""Loss curves: a mean that lags, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.errors import DataError
from trackyard.recipes.overview.curves import loss_curves, smoothed


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1, max_size=200))
def test_the_mean_stays_within_the_curve(values: list[float]) -> None:
    found = smoothed(values)
    assert len(found) == len(values)
    assert found[0] == values[0]
    assert all(min(values) - 1e-9 <= value <= max(values) + 1e-9 for value in found)


def test_a_panel_for_each_stage(tmp_path: Path) -> None:
    for stage, last in (("stage1", 1.5), ("stage2", 0.5)):
        (tmp_path / stage).write_text(f"step,loss\n1,3.0\n2,{last}\n")
    picture = loss_curves({stage: tmp_path / stage for stage in ("stage1", "stage2")})
    assert picture.svg.count(">stage") == 2
    assert "fall" not in picture.alt, "which nobody looked at"
    assert picture.alt.endswith("stage1 3.000 to 1.500; stage2 3.000 to 0.500")
    assert picture.png is not None
    assert picture.png.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "does not exist"),
        ("step,loss\n", "has no step"),
        ("step,loss\n1,3.0\n2\n", "line 3 of .* has no step and loss"),
        ("step,nll\n1,3.0\n", "line 2 of .* has no step and loss"),
    ],
)
def test_what_is_no_curve_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "curves.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        loss_curves({"stage1": tmp_path / "curves.csv"})
