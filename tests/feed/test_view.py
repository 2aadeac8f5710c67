"""Packs of a plan and rows of a snapshot as they are seen: the numbers are those of the feed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.feed.small_plan import PACKS, small_plan
from tests.tiny_molmo2 import feed, tokens
from trackyard.acquire.mini.datasets import MINI
from trackyard.errors import ConfigError
from trackyard.feed.sample import measure
from trackyard.feed.view import spread, view_plan, view_rows
from trackyard.feed.view_page import page
from trackyard.plan.plan import Plan
from trackyard.row import Row, Turn
from trackyard.snapshot.reader import SnapshotDataset
from trackyard.snapshot.writer import write_dataset

SIZES = {"pixmo-points": 5, "molmo2-capqa": 3, "vqa-v2": 4}
EVIL = "</p><script>alert(1)</script>"


def rows_of(name: str) -> list[Row]:
    """Rows of a generated dataset; the last image of one is cut off, and a text of another is hostile."""
    rows = [MINI[name].row("train", index) for index in range(SIZES[name])]
    if name == "pixmo-points":
        rows[1] = replace(rows[1], media=(replace(rows[1].media[0], data=rows[1].media[0].data[:80]),))
        rows[2] = replace(rows[2], meta=rows[2].meta | {"label": [EVIL] * len(rows[2].conversations)})
    return rows


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SnapshotDataset]:
    root = tmp_path_factory.mktemp("snapshot")
    for name in SIZES:
        write_dataset(
            root / name, {"train": iter(rows_of(name))}, dataset=name, source={"from": "tests"}, licence="CC0"
        )
    return {name: SnapshotDataset.open(root / name) for name in SIZES}


@pytest.fixture(scope="module")
def plan(snapshot: Mapping[str, SnapshotDataset], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(snapshot, tmp_path_factory.mktemp("plan"), steps=2)


def test_packs_are_those_of_the_plan(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    together = list(view_plan(plan, snapshot, feed(), tokens(), packs=2 * PACKS + 1))
    places = [(step, slot) for step in range(2) for slot in range(PACKS)]
    assert [pack.title for pack in together] == [f"step {step} · slot {slot}" for step, slot in places]
    assert [pack.title for pack in view_plan(plan, snapshot, feed(), tokens(), step=1, packs=1)] == ["step 1 · slot 0"]
    for pack, (step, slot) in zip(together, places, strict=True):
        planned = plan.pack(step, slot)
        assert [(row.dataset, row.number, row.epoch) for row in pack.rows] == [
            (item.dataset, item.row, item.epoch) for item in planned
        ]
        assert [row.start for row in pack.rows] == list(np.cumsum([0, *(row.tokens for row in pack.rows)])[:-1])
        for row, item in zip(pack.rows, planned, strict=True):
            expected = measure(snapshot[item.dataset].row("train", item.row), item.dataset, feed(), tokens())
            assert row.tokens == expected.tokens
            if row.reason is None:
                assert (row.visual, row.inputs, row.targets) == (expected.visual, expected.inputs, expected.labels)
    totals = plan.step_table.sum(axis=0)
    assert sum(pack.tokens for pack in together) == totals[0]
    # The page states the same, and says which rows failed.
    broken = [row for pack in together for row in pack.rows if row.reason]
    assert {row.dataset for row in broken} == {"pixmo-points"}
    assert {row.number for row in broken} == {1}
    text = page("t", {"plan": plan.fingerprint}, together)
    assert plan.fingerprint in text
    assert text.count("This row teaches nothing") == len(broken)
    assert text.count('<article class="row"') == totals[4]


def test_every_point_is_taught_where_it_is_stored(snapshot: Mapping[str, SnapshotDataset]) -> None:
    (first, *_) = view_rows({"pixmo-points": snapshot["pixmo-points"]}, feed(), tokens(), rows=1)
    (row,) = first.rows
    taught = [mark for mark in row.marks if not mark.stored]
    assert taught
    assert all(mark.agrees for mark in taught)
    assert len(row.pictures) == len(rows_of("pixmo-points")[0].media)


def test_the_page_is_closed_to_the_data_and_to_the_network(snapshot: Mapping[str, SnapshotDataset]) -> None:
    seen = list(view_rows(snapshot, feed(), tokens(), rows=12))
    text = page(f"a {EVIL}", {"fact": EVIL}, seen)
    assert EVIL not in text
    # Its own script and no other; what is drawn is inside it.
    assert text.count("<script") == 1
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:|//|file:)""", text)
    assert set(re.findall(r'<img[^>]* src="([^,]*),', text)) <= {"data:image/png;base64", "data:image/jpeg;base64"}
    assert text.count("<img") == sum(len(row.pictures) for pack in seen for row in pack.rows) + sum(
        pack.mask is not None for pack in seen
    )
    # Weights are on the page as often as targets are learned.
    assert text.count('data-w="') == sum(row.targets for pack in seen for row in pack.rows)
    for name in ("div", "i", "article", "p", "span", "ul", "figure"):
        assert len(re.findall(rf"<{name}[ >]", text)) == text.count(f"</{name}>"), name


def test_a_row_that_no_pack_holds_says_why(tmp_path: Path) -> None:
    answer = Turn(role="assistant", content="word " * 400)
    long = Row(id="a", task="user_qa", conversations=((Turn(role="user", content="?"), answer),))
    clip = replace(MINI["molmo2-capqa"].row("train", 0), id="b", meta={"clip": [100.0, 200.0]})
    write_dataset(tmp_path / "own", {"train": iter([long, clip])}, dataset="own", source={"from": "t"}, licence="CC0")
    seen = list(view_rows({"own": SnapshotDataset.open(tmp_path / "own")}, feed(), tokens()))
    reasons = [pack.rows[0].reason or "" for pack in seen]
    assert reasons[0] == "longer than a pack: not even the first branch fits"
    assert reasons[1].startswith("clip [100.0, 200.0] s of train-00000-1.mp4")
    assert page("t", {}, seen).count("No pack holds it.") == 2


def test_refusals(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    with pytest.raises(ConfigError, match="step 2 of a plan with 2 steps"):
        next(view_plan(plan, snapshot, feed(), tokens(), step=2))
    with pytest.raises(ConfigError, match="no row in split 'test' of molmo2-capqa, pixmo-points, vqa-v2"):
        next(view_rows(snapshot, feed(), tokens(), split="test"))


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 9), max_size=5), st.integers(1, 30))
def test_rows_are_spread(sizes: dict[str, int], wanted: int) -> None:
    chosen = spread(sizes, wanted)
    assert len(chosen) == min(wanted, sum(sizes.values())) == len(set(chosen))
    shares = {name: sum(other == name for other, _ in chosen) for name in sizes}
    assert all(0 <= number < sizes[name] for name, number in chosen)
    open_shares = [share for name, share in shares.items() if share < sizes[name]]
    assert not open_shares or max(shares.values()) - min(open_shares) <= 1
