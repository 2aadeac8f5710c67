"""`trackyard data verify`: ends in proved, or names each damage with the command that mends exactly that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.world import World, zipped


@pytest.fixture
def fetched(world: World) -> World:
    done = world("data", "fetch", "rows", "pictures", "packed", "pinned")
    assert done.code == 0, done.err
    return world


def shard(world: World) -> Path:
    assert world("data", "snapshot", "rows").code == 0
    (found,) = (world.root / "data" / "molmo2" / "rows").rglob("*.parquet")
    return found


def flip(path: Path) -> None:
    """One bit in the middle, also of a file that is read-only or a link."""
    path = path.resolve()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def proved(world: World, *line: str) -> tuple[bool, list[tuple[str, str]]]:
    """Whether all was proved, and (problem, repair) of everything that is wrong, by the document."""
    done = world("data", "verify", *line, "--json")
    body = done.json()
    assert done.code == (0 if body["proved"] else 1)
    found = []
    for target in body["targets"]:
        parts = target.get("proofs", [target])
        found += [(problem["what"], problem["repair"]) for part in parts for problem in part["problems"]]
    return body["proved"], found


def test_what_was_fetched_is_proved_and_then_each_damage_is_named(fetched: World) -> None:
    names = ("rows", "pictures", "packed", "pinned")
    assert proved(fetched, *names) == (True, [])
    cache = fetched.root / "hf" / "hub"
    flip(next((cache / "datasets--owner--pinned" / "snapshots").rglob("*.parquet")))
    flip(fetched.root / "raw" / "packed" / "a.txt")
    ok, found = proved(fetched, *names)
    assert not ok
    packed = fetched.root / "raw" / "packed"
    assert sorted(found) == sorted(
        [
            ("data.parquet: other bytes than the hub states", "trackyard data fetch pinned"),
            (f"{packed / 'a.txt'}: other bytes than its record", f"rm -r {packed}, then: trackyard data fetch packed"),
        ]
    )


def test_people_are_told_the_same(fetched: World) -> None:
    path = shard(fetched)
    (fetched.root / "raw" / "packed" / "a.txt").unlink()
    path.unlink()
    targets = ("data/molmo2", "data/nothing", "packed", "rows")
    ok, found = proved(fetched, *targets)
    plain = fetched("data", "verify", *targets)
    assert not ok
    assert plain.code == 1
    assert len(found) == 3
    for text in (text for problem in found for text in problem):
        assert text in plain.out
    assert plain.out.count("stopped: ") == 3


def test_a_copy_that_lost_its_proof_stays_unproved(fetched: World) -> None:
    flip(next((fetched.root / "hf" / "hub" / "datasets--owner--pinned" / "snapshots").rglob("*.parquet")))
    for _ in range(2):
        ok, [(what, repair)] = proved(fetched, "pinned")
        assert not ok
        assert "data.parquet" in what
        assert repair == "trackyard data fetch pinned"


def test_the_named_repair_mends_it(fetched: World) -> None:
    blob = next((fetched.root / "hf" / "hub" / "datasets--owner--pinned" / "snapshots").rglob("*.parquet"))
    flip(blob)
    _, [(_, repair)] = proved(fetched, "pinned")
    assert fetched(*repair.split()[1:]).code == 0
    assert proved(fetched, "pinned") == (True, [])
    asked = fetched.hub.counts("GET")["owner/rows/data.parquet"]
    assert asked == 1, "nothing else was brought again"


def test_files_that_nobody_recorded_are_named_one_by_one(fetched: World) -> None:
    extra = fetched.root / "raw" / "packed" / "it's extra.txt"
    extra.write_text("?")
    _, [(what, repair)] = proved(fetched, "packed")
    assert what.startswith(str(extra))
    assert repair == f"rm '{extra.parent}/it'\"'\"'s extra.txt'"


def test_images_that_changed_are_named_with_their_shard(fetched: World) -> None:
    images = fetched.root / "raw" / "pictures" / "images"
    flip(next(path for path in images.glob("part-*.parquet") if "outcomes" not in path.name))
    ok, [(what, repair)] = proved(fetched, "pictures")
    assert not ok
    assert "part-00000" in what
    assert "trackyard data fetch pictures" in repair


def test_what_is_not_there_is_a_problem_and_zero_objects_prove_nothing(world: World) -> None:
    ok, found = proved(world, "rows", "pictures", "packed", "by-hand", "gone")
    assert not ok
    assert [repair for _, repair in found] == [
        "trackyard data fetch rows", "trackyard data fetch pictures", "trackyard data fetch pictures",
        "trackyard data fetch packed", "trackyard data instructions by-hand", "leave it out of the selection",
    ]  # fmt: skip
    assert world("data", "verify", "rows", "--json").json()["targets"][0]["examined"] == 0


def test_archives_alone_do_not_prove_what_a_person_must_bring(fetched: World, tmp_path: Path) -> None:
    # The same archive by URL, and from now on another that only a person can bring.
    catalogue = fetched.root / "catalog" / "own.yaml"
    body = yaml.safe_load(catalogue.read_text())
    (packed,) = (entry for entry in body["datasets"] if entry["name"] == "packed")
    packed |= {"access": "manual", "manual": {"page": "https://example.org", "steps": ["Fill in the form."]}}
    packed["recipe"]["archives"].append({"name": "more.zip", "unpack": "more"})
    catalogue.write_text(yaml.safe_dump(body))
    ok, found = proved(fetched, "packed")
    assert not ok
    assert found == [("not taken in yet: more.zip", "trackyard data instructions packed")]
    (tmp_path / "more.zip").write_bytes(zipped({"d.txt": b"d"}))
    assert fetched("data", "fetch", "packed", "--archive", str(tmp_path / "more.zip")).code == 0
    assert proved(fetched, "packed") == (True, [])


def test_a_snapshot_and_one_dataset_of_it(fetched: World) -> None:
    path = shard(fetched)
    assert proved(fetched, "data/molmo2") == (True, [])
    assert proved(fetched, "data/molmo2/rows") == (True, [])
    flip(path)
    for target in ("data/molmo2", "data/molmo2/rows"):
        ok, found = proved(fetched, target)
        assert not ok
        assert all(str(path.relative_to(fetched.root)) in what for what, _ in found)
        assert found


def test_a_bad_folder_keeps_no_other_from_being_examined(fetched: World) -> None:
    shard(fetched)
    (fetched.root / "empty").mkdir()
    done = fetched("data", "verify", "data/nothing", "empty", "data/molmo2", "rows", "--json")
    assert done.code == 1
    assert [target["examined"] for target in done.json()["targets"]] == [0, 0, 1, 1]


def test_fast_mode_says_what_it_trusted(fetched: World) -> None:
    shard(fetched)
    fetched("data", "verify", "data/molmo2")
    body = fetched("data", "verify", "data/molmo2", "--fast", "--json").json()
    (dataset,) = body["targets"][0]["datasets"]
    assert dataset["trusted"] + dataset["hashed"] == 1


def test_rows_are_decoded_if_asked(fetched: World) -> None:
    shard(fetched)
    for line, decoded in (([], 0), (["--sample", "2"], 2), (["--all"], 5)):
        body = fetched("data", "verify", "data/molmo2", *line, "--json").json()
        assert body["targets"][0]["datasets"][0]["decoded"] == decoded


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (["rows", "--sample", "3"], "--sample or --all for rows"),
        (["rows", "--all"], "--sample or --all for rows"),
        (["rows", "--quick"], "--models, --profile, --quick, --full or --offline for rows"),
        (["rows", "--allow-missing", "x"], "--allow-missing without --at"),
        (["data/molmo2", "--sample", "3", "--all"], "--sample and --all together"),
        (["nine", "--at", "x", "--fast"], "--fast with --at"),
        (["rose"], "'rows'"),
    ],
)
def test_options_that_would_prove_nothing_are_refused(world: World, line: list[str], what: str) -> None:
    done = world("data", "verify", *line)
    assert done.code == 2
    assert what in done.errors()[0]["what"]


def test_a_folder_with_a_file_manifest(fetched: World) -> None:
    path = str(fetched.root / "raw" / "packed")
    done = fetched("data", "verify", path, "--json")
    assert done.code == 0
    assert done.json()["targets"][0]["examined"] == 2
    flip(fetched.root / "raw" / "packed" / "a.txt")
    assert fetched("data", "verify", path).code == 1
    body = json.loads(fetched("data", "verify", path, "--json").out)
    assert "a.txt" in body["targets"][0]["problems"][0]
