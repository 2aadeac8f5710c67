"""`trackyard data list|show|instructions|plan` and `catalog check`: what is known, as text and as a document."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cli.world import ROOT, Done, World, make_world, servers
from trackyard.catalog.entries import Entry, load_catalogue
from trackyard.catalog.selection import select

CATALOGUE = load_catalogue(ROOT / "catalog")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A root with the shipped catalogue; its servers are gone, and nothing here may ask them."""
    with servers() as (hub, web):
        world = make_world(tmp_path_factory.mktemp("known") / "root", hub, web)
    shutil.rmtree(world.root / "catalog")
    shutil.copytree(ROOT / "catalog", world.root / "catalog")
    (world.root / "profiles").mkdir()
    shutil.copy(ROOT / "profiles" / "report.yaml", world.root / "profiles")
    return world


@pytest.mark.parametrize("selection", [[], ["nine"], ["tulu", "pixmo-cap"]])
def test_a_list_names_every_entry_of_a_selection(shipped: World, selection: list[str]) -> None:
    expected = [entry.name for entry in (select(CATALOGUE, selection) if selection else CATALOGUE.values())]
    body = shipped("data", "list", *selection, "--json").json()
    assert [entry["name"] for entry in body["entries"]] == expected
    lines = shipped("data", "list", *selection).out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == expected
    assert lines[-1] == f"{len(expected)} entries"


@settings(max_examples=3, deadline=None)
@given(name=st.sampled_from(sorted(CATALOGUE)))
def test_the_document_of_an_entry_is_the_entry(shipped: World, name: str) -> None:
    body = shipped("data", "show", name, "--json").json()
    del body["schema"]
    assert Entry.model_validate(body) == CATALOGUE[name]


def test_an_entry_as_text_is_the_same(shipped: World) -> None:
    text = shipped("data", "show", "pixmo-points").out
    assert Entry.model_validate(yaml.safe_load(text)) == CATALOGUE["pixmo-points"]


def test_an_alias_leads_to_its_entry(shipped: World) -> None:
    assert shipped("data", "show", "stvqa", "--json").json()["name"] == "st-vqa"


@pytest.mark.parametrize("command", ["list", "show", "instructions", "status", "plan", "fetch", "snapshot", "verify"])
def test_every_command_names_the_nearest_for_an_unknown_name(shipped: World, command: str) -> None:
    done = shipped("data", command, "pixmo-cat", "--json")
    assert done.code == 2
    assert done.out == ""
    (parts,) = done.errors()
    assert "did you mean 'pixmo-cap'?" in parts["what"]


@pytest.mark.parametrize("command", ["list", "status", "plan"])
def test_outside_of_a_repository(tmp_path: Path, shipped: World, command: str) -> None:
    done = World(tmp_path, shipped.hub, shipped.web)("data", command)
    assert done.code == 2
    assert "is not the root of a trackyard repository" in done.errors()[0]["what"]


def test_instructions_name_page_steps_and_layout(shipped: World) -> None:
    manual = CATALOGUE["docvqa"].manual
    assert manual is not None
    done = shipped("data", "instructions", "docvqa")
    for text in (manual.page, *manual.steps, *manual.layout, "trackyard data fetch docvqa --archive PATH"):
        assert text in done.out
    body = shipped("data", "instructions", "docvqa", "--json").json()
    assert (body["page"], body["steps"], body["layout"]) == (manual.page, list(manual.steps), list(manual.layout))


def test_nothing_to_do_by_hand(shipped: World) -> None:
    done = shipped("data", "instructions", "tulu")
    assert done.code == 2
    assert "trackyard data fetch tulu" in done.errors()[0]["fix"]


def test_the_check_of_the_catalogue(shipped: World) -> None:
    body = shipped("catalog", "check", "--json").json()
    assert body["ok"]
    assert body["entries"] == len(CATALOGUE)
    assert f"0 problems, {len(body['contradictions'])} contradictions" in shipped("catalog", "check").out


def test_a_catalogue_that_lacks_a_file_is_a_problem_or_an_error(shipped: World) -> None:
    moved = shipped.root / "captions.yaml"
    (shipped.root / "catalog" / "captions.yaml").rename(moved)
    try:
        done = shipped("catalog", "check", "--json")
    finally:
        moved.rename(shipped.root / "catalog" / "captions.yaml")
    assert done.code != 0
    assert done.err if not done.out else done.json()["problems"]


def _plan(world: World, *line: str) -> Done:
    before = world.files()
    done = world("data", "plan", *line)
    assert world.files() == before, "a plan writes nothing"
    return done


def test_a_plan_compares_with_the_disk_and_ends_with_1_where_it_does_not_fit(
    shipped: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackyard.acquire import places, space

    needed = sum(total["bytes"] for total in _plan(shipped, "stage1", "--json").json()["totals"])
    assert needed > 80 * 10**9
    for free, code in ((needed, 0), (needed - 1, 1)):
        room = places.Room(device=1, free_bytes=free, free_inodes=10**9)
        monkeypatch.setattr(space, "room", lambda _path, room=room: room)
        done = _plan(shipped, "stage1", "--json")
        assert done.code == code
        assert bool(done.json()["problems"]) == bool(code)
    assert "does not fit: " in _plan(shipped, "stage1").out
