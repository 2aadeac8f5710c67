"""`trackyard data inspect`: a page and a sheet, or only their names."""

from __future__ import annotations

import pytest

from tests.cli.world import World


@pytest.fixture
def made(world: World) -> World:
    world("data", "fetch", "rows")
    assert world("data", "snapshot", "rows").code == 0
    return world


def test_what_is_written_is_what_the_dry_run_names(made: World) -> None:
    before = made.files()
    dry = made("data", "inspect", "data/molmo2", "--out", "seen", "--dry-run", "--json")
    assert dry.code == 0
    assert made.files() == before
    real = made("data", "inspect", "data/molmo2", "--out", "seen", "--json")
    assert dry.json()["written"] == real.json()["written"] == ["seen/index.html"], "rows of text have no sheet"
    assert set(made.files()) - set(before) == {"seen/index.html"}
    assert dry.json() | {"dry_run": False} == real.json()
    assert real.json()["facts"][0]["rows"] == 5


def test_a_table_as_it_was_fetched(made: World) -> None:
    (table,) = (made.root / "hf").rglob("snapshots/*/data.parquet")
    done = made("data", "inspect", str(table), "--samples", "2")
    assert done.code == 0
    assert "5 rows" in done.out
    assert "wrote inspection/index.html" in done.out


@pytest.mark.parametrize("line", [["data/nothing"], ["params.yaml"], ["data/molmo2", "--split", "tests"]])
def test_what_cannot_be_looked_at(made: World, line: list[str]) -> None:
    before = made.files()
    done = made("data", "inspect", *line, "--json")
    assert done.code in (1, 2)
    assert len(done.errors()) == 1
    assert made.files() == before
