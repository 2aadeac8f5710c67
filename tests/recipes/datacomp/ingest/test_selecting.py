"""Keyed order: against a plain sort, however rows are cut into files, chunks and buckets."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.recipes.datacomp.ingest.small_study import row, small_study, write_rows
from trackyard.errors import DataError
from trackyard.recipes.datacomp.ingest import selecting
from trackyard.recipes.datacomp.ingest.rows import order_key
from trackyard.recipes.datacomp.ingest.selecting import select, wanted_rows
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study


def silent(_: str) -> None:
    """Nobody listens."""


def selected(study: Study) -> list[dict[str, Any]]:
    select(study, silent)
    found: list[dict[str, Any]] = pq.read_table(study.selected).to_pylist()
    return found


@settings(max_examples=25, deadline=None)
@given(
    uids=st.lists(st.text("abcdef", min_size=1, max_size=3), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=2),
    seed=st.integers(0, 3),
    samples=st.integers(1, 12),
    bucket=st.integers(1, 9),
    chunk=st.integers(1, 40),
    held=st.integers(1, 20),
)
def test_the_first_rows_in_keyed_order(
    uids: list[str], cuts: list[int], seed: int, samples: int, bucket: int, chunk: int, held: int
) -> None:
    rows = [row(uid, f"http://h.test/{uid}/{number % 2}") for number, uid in enumerate(uids)]
    edges = [0, *sorted(cuts), len(rows)]
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        for name, value in (("BUCKET_ROWS", bucket), ("CHUNK", chunk), ("HELD_ROWS", held), ("BATCH_ROWS", 7)):
            patch.setattr(selecting, name, value)
        study = small_study(Path(place), samples=samples, seed=seed, block_rows=4, images={"acceptance": (0.5, 1.0)})
        write_rows(study, *(rows[first:end] for first, end in pairwise(edges)))
        found = selected(study)
        groups = pq.ParquetFile(study.selected).metadata
        body = read_result(study.document("select"), "select").body
        assert not list(study.selected.parent.glob(".partial-*"))
    once = {one["uid"]: min(other["url"] for other in rows if other["uid"] == one["uid"]) for one in rows}
    wanted = sorted(once, key=lambda uid: order_key(seed, uid))[: -(-2 * samples // 4) * 4]
    assert [(one["uid"], one["url"]) for one in found] == [(uid, once[uid]) for uid in wanted]
    assert [groups.row_group(number).num_rows for number in range(groups.num_row_groups)] == [
        min(4, len(wanted) - first) for first in range(0, len(wanted), 4)
    ]
    if len(wanted) == len(once):
        assert body["repeated"] == len(rows) - len(once)


def test_neither_files_nor_their_order_matter_but_the_seed_does(tmp_path: Path) -> None:
    rows = [row(f"{number:032x}") for number in range(300)]
    orders = []
    for name, files, seed in (("a", [rows], 0), ("b", [rows[100:], rows[:100][::-1]], 0), ("c", [rows], 1)):
        study = small_study(tmp_path / name, seed=seed, samples=40, block_rows=8)
        write_rows(study, *files)
        orders.append(selected(study))
    assert orders[0] == orders[1] != orders[2]
    assert len(orders[0]) == wanted_rows(study.parameters.data) == 120
    # More samples go on where fewer end.
    study = small_study(tmp_path / "b", samples=80, block_rows=8)
    assert selected(study)[:120] == orders[0]


def test_wanted_rows_are_those_of_the_lowest_acceptance(tmp_path: Path) -> None:
    """10,000 / 0.35 = 28,571.4; whole blocks of 16,384."""
    study = small_study(tmp_path, samples=10_000, block_rows=1)
    assert wanted_rows(study.parameters.data) == 28_572
    assert wanted_rows(study.parameters.data.model_copy(update={"block_rows": 16_384})) == 32_768


def test_nothing_to_select_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no rows"):
        selected(small_study(tmp_path))
