"""Losses of all runs as DVC draws them."""

from __future__ import annotations

from pathlib import Path

from trackyard.recipes.reporting.curves import write_curves


def test_a_file_of_every_run_in_place_of_the_earlier_ones(tmp_path: Path) -> None:
    write_curves(tmp_path, {"gone-1": [{"step": 1, "train_nll": 1.0}]})
    rows = [{"step": 1, "train_nll": 2.5, "lr": 0.1}, {"step": 3, "train_nll": 2.25, "lr": 0.1}]
    write_curves(tmp_path, {"world-42": rows})
    assert [path.name for path in (tmp_path / "curves").iterdir()] == ["world-42.csv"]
    assert (tmp_path / "curves" / "world-42.csv").read_text() == "step,loss\n1,2.5\n3,2.25\n"
