"""Which of several results is that of a run's weights."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from trackyard.recipes.comparison.own_results import own_result, weights_of
from trackyard.recipes.stage_results import StageResult

OWN = frozenset({"shard 1", "shard 2"})


@dataclass(frozen=True)
class Made:
    cell: str
    inputs: Mapping[str, str]


@pytest.fixture
def results(tmp_path: Path) -> dict[Path, StageResult[Made]]:
    """One that is shown and three that were kept, the first of them last."""
    paths = [tmp_path / "shown.json", *(tmp_path / "kept" / f"world-42-{name}.json" for name in ("c", "b", "a"))]
    paths[1].parent.mkdir()
    for age, path in enumerate(paths):
        path.touch()
        os.utime(path, (1000 - age, 1000 - age))
    return {path: result_of(*OWN, text="test", origin=path.stem) for path in paths}


def result_of(*weights: str, cell: str = "world", **inputs: str) -> StageResult[Made]:
    return StageResult(header=Made(cell, {name: name for name in weights} | inputs), body={})


def found(results: Mapping[Path, StageResult[Made]], root: Path) -> str | None:
    result = own_result(
        OWN,
        root / "shown.json",
        root / "kept",
        "world-42",
        read=results.__getitem__,
        of_cell=lambda header: header.cell == "world",
    )
    return None if result is None else result.header.inputs["origin"]


def test_what_is_shown_comes_first_and_then_the_newest(tmp_path: Path, results: dict[Path, StageResult[Made]]) -> None:
    for expected in results:
        assert found(results, tmp_path) == expected.stem
        expected.unlink()
    assert found(results, tmp_path) is None


@pytest.mark.parametrize(
    "other", [result_of("shard 1", origin="other"), result_of(*OWN, cell="soft_prompt", origin="other")]
)
def test_a_part_of_the_weights_and_another_cell_are_not_its_own(
    tmp_path: Path, results: dict[Path, StageResult[Made]], other: StageResult[Made]
) -> None:
    results[tmp_path / "shown.json"] = other
    assert found(results, tmp_path) == "world-42-c"


def test_weights_are_all_files_of_them(tmp_path: Path) -> None:
    assert weights_of(tmp_path / "absent") == frozenset()
    for name in ("a.safetensors", "b.safetensors", "config.json"):
        (tmp_path / name).write_text(name)
    assert len(weights_of(tmp_path)) == 2
