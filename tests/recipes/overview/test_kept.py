"""What a stage put out, as it was before it was sealed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.recipes.nine.results import Header
from trackyard.recipes.overview.kept import exports, in_order, kept_picture, origin, times, unchanged, with_interval
from trackyard.recipes.overview.track import StageTime


def made(commit: str, image: str, wall_s: float) -> Header:
    return Header(
        spec_digest="s", git_commit=commit, image_digest=image, libs={}, model=None, inputs={}, device="cpu",
        wall_s=wall_s,
    )  # fmt: skip


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


def test_an_origin_is_of_all_results_and_its_times_of_those_that_train_nothing() -> None:
    found = origin(
        [("train", made("a", "none", 9.0)), ("eval", made("b", "sha256:1", 1.0)), ("eval", made("a", "none", 2.0))],
        trains="train",
    )
    assert found.commits == {"a", "b"}
    assert found.images == {"none", "sha256:1"}
    assert found.times == (StageTime(stage="eval", results=2, seconds=3.0, device="cpu"),)


def test_of_the_first_export_the_chain_is_drawn() -> None:
    one, other = exports("t", Path("export"), [("world-1", "world/1"), ("world-2", "world/2")])
    assert (one.name, one.directory, one.drawn) == ("t world-1", Path("export/world/1"), True)
    assert not other.drawn


def test_results_of_another_run_than_the_tables_are_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("of the first run")
    read = {"result.json": digest_file(tmp_path / "result.json")}
    assert unchanged(tmp_path, read, again="dvc repro") == ["result.json"]
    (tmp_path / "result.json").write_text("of the second run")
    with pytest.raises(DataError, match=r"result\.json is [0-9a-f]{12}, the tables were made from [0-9a-f]{12}"):
        unchanged(tmp_path, read, again="dvc repro")
    (tmp_path / "result.json").unlink()
    with pytest.raises(DataError, match=r"result\.json is absent"):
        unchanged(tmp_path, read, again="dvc repro")


def test_a_figure_that_is_absent_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.svg").write_text("<svg/>")
    with pytest.raises(DataError, match=r"a\.png does not exist"):
        kept_picture(tmp_path, "a", track="t", caption="", alt="", again="dvc repro")
