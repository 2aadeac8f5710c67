"""The space plan: sums, bases, what is there already, and file systems that are too small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trackyard.acquire.places import Places, room
from trackyard.acquire.space import bytes_per_visual, entry_bytes, needs_of, plan_space
from trackyard.catalog.entries import Entry

GB = 10**9


def entry(name: str, kind: str = "embedded", **changes: Any) -> Entry:
    recipe = {"kind": kind} | ({"url_column": "image_url"} if kind == "urls" else {})
    values = {
        "name": name, "title": name, "roles": ["train"], "group": "sft:image_qa", "media": "image", "access": "auto",
        "stages": [2], "recipe": recipe, "hub": [{"repo": f"owner/{name}"}],
    }  # fmt: skip
    return Entry.model_validate(values | changes)


def expected(size: int | None = None, visual: int | None = None, files: int | None = None) -> dict[str, Any]:
    figures = {"bytes": size, "visual": visual, "files": files}
    return {name: {"value": value, "basis": "stated"} for name, value in figures.items() if value is not None}


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(hub=tmp_path / "hub", raw=tmp_path / "raw", data=tmp_path / "data")


def test_what_nobody_states_is_estimated_from_the_same_medium() -> None:
    known = [entry(f"known-{size}", expected=expected(size * 1000, 10)) for size in (1, 2, 50)]
    typical = bytes_per_visual([*known, entry("without")])
    assert typical == {"image": 200.0}, "the median: one odd entry does not decide"
    assert entry_bytes(known[2], typical) == (50_000, "stated")
    assert entry_bytes(entry("counted", expected=expected(visual=7)), typical) == (1400, "estimated")
    assert entry_bytes(entry("uncounted"), typical) == (None, "unknown")
    assert entry_bytes(entry("clips", media="video", expected=expected(visual=7)), typical) == (None, "unknown")


def test_parts_of_an_entry_and_the_place_of_each() -> None:
    embedded = needs_of(entry("a", expected=expected(3 * GB, 9)), {})
    assert [(need.part, need.place, need.bytes, need.files) for need in embedded] == [
        ("tables", "hub", 3 * GB, 6), ("snapshot", "data", 3 * GB, 12),
    ]  # fmt: skip
    by_url = needs_of(entry("b", "urls", access="url", expected=expected(3 * GB, 10_000)), {})
    assert [(need.part, need.place, need.files, need.loose_files) for need in by_url] == [
        ("media", "raw", 9, 10_000), ("snapshot", "data", 12, 12),
    ]  # fmt: skip
    assert needs_of(entry("c", access="none"), {}) == ()


def test_totals_are_sums_and_name_what_is_unknown(places: Places) -> None:
    entries = [entry("a", expected=expected(2 * GB, 4)), entry("b", expected=expected(visual=2)), entry("c")]
    plan = plan_space(entries, bytes_per_visual(entries), places, present={("a", "tables"): GB})
    hub, data = plan.totals
    assert (hub.place, data.place) == ("hub", "data")
    assert hub.bytes == 3 * GB == sum(need.bytes or 0 for need in plan.needs if need.place == "hub")
    assert hub.bytes_by_basis == {"estimated": GB, "stated": 2 * GB}
    assert hub.unknown == ("c",)
    assert (hub.present_bytes, data.present_bytes) == (GB, 0)
    assert hub.room == room(places.hub)


def test_places_on_one_file_system_share_its_room(places: Places) -> None:
    free = room(places.hub).free_bytes
    half = entry("half", expected=expected(free * 6 // 10, 1))
    plan = plan_space([half], {}, places, present={})
    (problem,) = plan.problems
    assert not plan.fits
    assert str(places.hub) in problem
    assert str(places.data) in problem
    # What is there already needs no room.
    assert plan_space([half], {}, places, present={("half", "tables"): free * 6 // 10}).fits


def test_inodes_are_counted_too(places: Places) -> None:
    inodes = room(places.raw).free_inodes
    if inodes is None:
        pytest.skip("this file system does not count inodes")
    many = entry("many", "manual", access="manual", manual={"page": "p", "steps": ["s"]}, stages=[])
    many = many.model_copy(update={"expected": type(many.expected).model_validate(expected(1, inodes + 1))})
    (problem,) = plan_space([many], {}, places, present={}).problems
    assert f"{inodes + 1:,} more files are needed" in problem


def test_what_one_entry_has_too_much_makes_no_room_for_another(places: Places) -> None:
    entries = [entry("a", expected=expected(2 * GB, 4), stages=[]), entry("b", expected=expected(3 * GB, 4), stages=[])]
    (hub,) = plan_space(entries, {}, places, present={("a", "tables"): 5 * GB}).totals
    assert (hub.bytes, hub.present_bytes, hub.missing_bytes) == (5 * GB, 5 * GB, 3 * GB)
    assert (hub.files, hub.missing_files) == (4 + 6, 6)
    whole = {("a", "tables"): 2 * GB, ("b", "tables"): 3 * GB}
    (hub,) = plan_space(entries, {}, places, present=whole).totals  # type: ignore[arg-type]
    assert (hub.missing_bytes, hub.missing_files) == (0, 0)


def test_places_follow_the_environment(tmp_path: Path) -> None:
    assert Places.of(tmp_path, {"HOME": "/h"}).hub == Path("/h/.cache/huggingface/hub")
    found = Places.of(tmp_path, {"HF_HOME": "/hf", "TRACKYARD_RAW": "/raw"})
    assert (found.hub, found.raw, found.data) == (Path("/hf/hub"), Path("/raw"), tmp_path / "data")
    assert Places.of(tmp_path, {"HF_HOME": "/hf", "HF_HUB_CACHE": "/c"}).hub == Path("/c")
