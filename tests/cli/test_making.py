"""`trackyard data snapshot|import|mini`: shown beforehand, each dataset on its own, nothing overwritten."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.world import MAPPING, World


@pytest.fixture
def fetched(world: World) -> World:
    world("data", "fetch", "rows", "pinned")
    # A second entry with a mapping, whose table lacks what the mapping names.
    text = MAPPING.replace("dataset: rows", "dataset: pinned")
    (world.root / "catalog" / "mappings" / "pinned.yaml").write_text(text)
    return world


def test_a_dry_run_names_what_the_real_run_writes_and_changes_nothing(fetched: World) -> None:
    before, asked = fetched.files(), fetched.asked()
    dry_run = fetched("data", "snapshot", "rows", "--dry-run", "--json")
    assert fetched.files() == before
    done = fetched("data", "snapshot", "rows", "--json")
    assert (dry_run.code, done.code) == (0, 0)
    dry, real = dry_run.json(), done.json()
    assert fetched.asked() == asked, "a snapshot is made of what lies here"
    assert (dry["dry_run"], real["dry_run"]) == (True, False)
    assert [(made["dataset"], made["directory"]) for made in dry["datasets"]] == [
        (made["dataset"], made["directory"]) for made in real["datasets"]
    ]
    assert real["datasets"][0]["splits"] == {"train": 5}
    again = fetched("data", "snapshot", "rows", "--dry-run", "--json").json()
    assert again["datasets"][0]["state"] == "there already"


def test_a_second_snapshot_leaves_the_bytes_alone(fetched: World) -> None:
    fetched("data", "snapshot", "rows")
    before = fetched.files()
    done = fetched("data", "snapshot", "rows")
    assert done.code == 0
    assert "there already" in done.out
    assert fetched.files() == before


def test_one_that_fails_keeps_no_other_from_being_made(fetched: World) -> None:
    done = fetched("data", "snapshot", "pinned", "rows", "--json")
    assert done.code != 0
    assert [made["dataset"] for made in done.json()["datasets"]] == ["rows"]
    assert [one["dataset"] for one in done.json()["stopped"]] == ["pinned"]
    assert len(done.errors()) == 1


@pytest.mark.parametrize("line", [[], ["--dry-run"]])
def test_what_was_not_fetched_is_named_with_the_command_that_brings_it(world: World, line: list[str]) -> None:
    done = world("data", "snapshot", "rows", *line)
    assert done.code == 1
    assert done.errors()[0]["fix"] == "trackyard data fetch rows"


def test_images_that_were_not_fetched_are_no_lost_images(world: World) -> None:
    mapping = MAPPING.replace("dataset: rows", "dataset: pictures")
    (world.root / "catalog" / "mappings" / "pictures.yaml").write_text(mapping)
    done = world("data", "snapshot", "pictures")
    assert done.code == 1
    assert "the images of pictures were not fetched" in done.errors()[0]["what"]


def test_entries_without_a_mapping_are_all_named(world: World) -> None:
    done = world("data", "snapshot", "rows", "pinned", "packed")
    assert done.code == 2
    assert "pinned, packed" in done.errors()[0]["what"]
    assert not (world.root / "data").exists()


@pytest.mark.parametrize("line", [[], ["--dry-run"]])
def test_a_budget_of_files_is_kept_also_in_a_dry_run(fetched: World, line: list[str]) -> None:
    done = fetched("data", "snapshot", "rows", "--max-files", "1", *line)
    assert done.code == 1
    assert "1 are allowed" in done.errors()[0]["what"]
    assert fetched("data", "snapshot", "rows", "--max-files", "2", *line).code == 0, "the manifest and one shard"


@pytest.mark.parametrize("line", [[], ["--dry-run"]])
def test_a_folder_that_is_no_dataset_is_in_the_way(fetched: World, line: list[str]) -> None:
    (fetched.root / "data" / "molmo2" / "rows").mkdir(parents=True)
    done = fetched("data", "snapshot", "rows", *line)
    assert done.code == 1
    assert "rm -r data/molmo2/rows" in done.errors()[0]["fix"]


def own(root: Path) -> Path:
    lines = [{"q": f"Which number is {n}?", "a": str(n)} for n in range(4)] + [{"q": "", "a": "no question"}]
    (root / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (root / "own.yaml").write_text(
        "dataset: own\nlicence: CC0-1.0\nsource: own.jsonl\ntask: user_qa\nquestion: q\nanswer: a\n"
    )
    return root / "own.yaml"


def test_an_import_is_counted_beforehand(world: World) -> None:
    mapping = str(own(world.root))
    before = world.files()
    dry = world("data", "import", mapping, "--dry-run", "--json")
    assert dry.code == 0, dry.err
    assert world.files() == before
    real = world("data", "import", mapping, "--json")
    (would,), (did,) = dry.json()["datasets"], real.json()["datasets"]
    assert would["splits"] == did["splits"] == {"train": 4}
    assert would["exclusions"] == did["exclusions"]
    assert sum(did["exclusions"].values()) == 1
    assert (would["directory"], would["dataset"]) == (did["directory"], did["dataset"])


@pytest.mark.parametrize("line", [[], ["--dry-run"]])
def test_nothing_is_imported_over_what_is_there(world: World, line: list[str]) -> None:
    mapping = str(own(world.root))
    world("data", "import", mapping)
    done = world("data", "import", mapping, *line)
    assert done.code == 2
    assert "rm -r data/own/own" in done.errors()[0]["fix"]


def test_an_import_with_too_many_bad_records_ends_alike_with_and_without_dry_run(world: World) -> None:
    mapping = str(own(world.root))
    for line in (["--dry-run"], []):
        done = world("data", "import", mapping, "--max-bad-records", "0.1", *line)
        assert done.code == 1
        assert "1 of 5 records" in done.errors()[0]["what"]
        assert not (world.root / "data" / "own" / "own").exists()
    assert world("data", "import", mapping, "--max-bad-records", "0.2").code == 0


def test_the_mini_snapshot_is_only_named_in_a_dry_run(world: World) -> None:
    done = world("data", "mini", "elsewhere", "--dry-run", "--json")
    assert done.code == 0
    assert len(done.json()["datasets"]) > 5
    assert not (world.root / "elsewhere").exists()
    name = done.json()["datasets"][0]["dataset"]
    (world.root / "elsewhere" / name).mkdir(parents=True)
    assert world("data", "mini", "elsewhere").code == 2
