"""`trackyard data fetch|status` as a user meets them: decided, shown, done; each failure on its own; nothing twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import pytest

from tests.cli.world import LATE, LAYOUT, LOST, PICTURES, ROOT, World, zipped
from tests.loopback.hostile import Served
from tests.loopback.hub import Fault
from tests.loopback.stage1 import picture
from trackyard.acquire.places import Places
from trackyard.cli.data.bringing import _part, _work

EVERYTHING = ("pinned", "moving", "gated", "pictures", "packed", "by-hand", "gone")


@pytest.mark.parametrize("json_", [[], ["--json"]])
def test_a_dry_run_asks_nobody_and_changes_nothing(world: World, json_: Sequence[str]) -> None:
    before = world.files()
    done = world("data", "fetch", *EVERYTHING, "--dry-run", *json_)
    assert world.files() == before
    assert world.asked() == (0, 0)
    # What is already known to stop, stops the dry run in the same way: by-hand with 3 and gone with 1 are 1 together.
    assert done.code == 1
    assert [parts["class"] for parts in done.errors()] == ["EnvironmentLacking", "DataError"]


def test_a_dry_run_names_the_steps_and_targets_of_the_real_run(world: World) -> None:
    names = ("pinned", "pictures", "packed", "by-hand")
    dry = world("data", "fetch", *names, "--dry-run", "--json").json()
    real = world("data", "fetch", *names, "--json").json()
    would = [(step["entry"], step["kind"], step["target"]) for step in dry["steps"] if step["does"] != "stop"]
    did = [(one["step"]["entry"], one["step"]["kind"], one["step"]["target"]) for one in real["brought"]]
    assert would == did
    assert len(did) == 4
    assert dry["stopped"] == real["stopped"]
    again = world("data", "fetch", "pinned", "pictures", "packed", "--dry-run", "--json").json()
    assert [step["does"] for step in again["steps"]] == ["nothing"] * 4


def test_one_that_fails_keeps_no_other_from_being_brought(world: World) -> None:
    world.hub.faults.plan("info owner/moving", Fault(kind="status", status=404, times=None))
    done = world("data", "fetch", "moving", "pinned", "gone", "packed", "--json")
    body = done.json()
    assert done.code == 1
    assert [one["step"]["entry"] for one in body["brought"]] == ["pinned", "packed"]
    assert [one["entry"] for one in body["stopped"]] == ["moving", "gone"]
    assert [(one["what"], one["fix"]) for one in body["stopped"]] == [
        (parts["what"], parts["fix"]) for parts in done.errors()
    ]


@pytest.mark.parametrize(
    ("names", "code"), [(["gone"], 1), (["by-hand"], 3), (["by-hand", "gone"], 1), (["packed"], 0)]
)
def test_the_exit_code_is_the_one_that_all_failures_share(world: World, names: list[str], code: int) -> None:
    assert world("data", "fetch", *names).code == code


def test_a_second_fetch_does_nothing(world: World) -> None:
    first = world("data", "fetch", "pinned", "pictures", "packed", "--json")
    asked = world.asked()
    assert first.code == 0
    assert min(asked) > 0
    second = world("data", "fetch", "pinned", "pictures", "packed", "--json")
    assert second.code == 0
    assert world.asked() == asked
    assert [one["does"] for one in first.json()["brought"]] == ["fetch"] * 4
    assert [one["does"] for one in second.json()["brought"]] == ["nothing"] * 4
    assert [(one["files"], one["bytes"], one["counts"]) for one in second.json()["brought"]] == [
        (one["files"], one["bytes"], one["counts"]) for one in first.json()["brought"]
    ]


def test_machines_share_the_entries_and_the_command_without_a_shard_finds_all_of_them_there(world: World) -> None:
    names = ("pinned", "pictures", "packed")
    parts = [world("data", "fetch", *names, "--shard", f"{number}/2", "--json").json() for number in range(2)]
    brought = [{one["step"]["entry"] for one in part["brought"]} for part in parts]
    assert brought[0] & brought[1] == set()
    assert all(brought)
    again = world("data", "fetch", *names, "--json").json()
    assert {one["step"]["entry"] for one in again["brought"]} == brought[0] | brought[1]
    assert {one["does"] for one in again["brought"]} == {"nothing"}
    more = world("data", "fetch", *names, "--shard", "3/4")
    assert more.code == 2
    assert "nothing to do" in more.err


@pytest.mark.parametrize("machines", [2, 4])
def test_machines_share_no_repository(tmp_path: Path, machines: int) -> None:
    """A copy of one is brought by one process at a time: the others would stop at its lock."""
    names = ["stage2"]
    whole = _work(ROOT, names, Places.of(tmp_path, {"HF_HOME": str(tmp_path)}))
    parts = [_part(whole, names, f"{number}/{machines}") for number in range(machines)]
    repositories = [{step.source.repo for _, step in part if step.source is not None} for part in parts]
    for mine, others in combinations(repositories, 2):
        assert mine & others == set()
    assert sorted(step.entry for part in parts for _, step in part) == sorted(step.entry for _, step in whole)
    shared = Counter(repo for repo, _ in {(step.source.repo, entry.name) for entry, step in whole if step.source})
    assert max(shared.values()) > 1, "several entries have one repository, so that something is shown"


def test_options_are_of_the_whole_and_a_part_without_their_use_is_done(world: World, tmp_path: Path) -> None:
    (tmp_path / "task.zip").write_bytes(zipped(LAYOUT))
    # Of two machines the first brings `pinned` alone.
    for name, option in (("pictures", ["--retry-failed"]), ("by-hand", ["--archive", str(tmp_path / "task.zip")])):
        for number, entry in enumerate(("pinned", name)):
            done = world("data", "fetch", "pinned", name, *option, "--shard", f"{number}/2", "--json")
            assert done.code == 0, done.err
            assert {one["step"]["entry"] for one in done.json()["brought"]} == {entry}


def test_a_repository_without_a_commit_is_asked_for_again_and_comes_anew_when_it_moved(world: World) -> None:
    world("data", "fetch", "moving")
    assert "would ask the hub" in world("data", "fetch", "moving", "--dry-run").out
    assert "there already" in world("data", "fetch", "moving").out
    world.hub.add_repository("owner/moving", {"data.txt": b"other"})
    assert "there already" not in world("data", "fetch", "moving").out
    assert world.hub.counts("GET")["owner/moving/data.txt"] == 1


def test_only_what_failed_is_asked_for_again(world: World) -> None:
    counts = world("data", "fetch", "pictures", "--json").json()["brought"][1]["counts"]
    assert counts == {"ok": PICTURES - LOST - LATE, "http_404": LOST + LATE}
    for number in range(LOST, LOST + LATE):
        world.web.files[f"{number}.jpg"] = Served(picture(number))
    world.web.seen.clear()
    retried = world("data", "fetch", "pictures", "--retry-failed", "--json").json()["brought"][1]
    assert retried["does"] == "retry"
    assert retried["counts"] == {"ok": PICTURES - LOST, "http_404": LOST}
    assert sorted(request.path for request in world.web.seen) == [f"/file/{n}.jpg" for n in range(LOST + LATE)]


def test_images_are_not_tried_without_their_addresses(world: World) -> None:
    world.hub.faults.plan("owner/pictures/*", Fault(kind="status", status=404, times=None, methods=("GET", "HEAD")))
    done = world("data", "fetch", "pictures", "--json")
    assert done.code != 0
    assert [(step["entry"], step["kind"]) for step in done.json()["not_tried"]] == [("pictures", "images")]
    assert len(done.json()["stopped"]) == 1
    assert world.web.seen == []


def test_a_fetch_that_died_before_its_list_was_settled_goes_on(world: World) -> None:
    (world.root / "raw" / "pictures" / "images").mkdir(parents=True)
    assert "partial" in world("data", "status", "pictures").out
    assert world("data", "fetch", "pictures").code == 0


def test_a_gated_repository_stops_with_the_page_to_visit(world: World) -> None:
    other = "hf_" + "another" * 4
    done = world("data", "fetch", "gated", HF_TOKEN=other)
    assert done.code == 3
    assert other not in done.out + done.err
    (parts,) = done.errors()
    assert "is gated" in parts["what"]
    assert f"{world.hub.url}/datasets/owner/gated" in parts["fix"]
    assert "hf auth login" in parts["fix"]
    assert world("data", "fetch", "gated").code == 0, "with the right token it comes"


def test_the_token_is_in_no_file(world: World) -> None:
    world("data", "fetch", "gated", "pictures")
    secret = world.environment["HF_TOKEN"].encode()
    assert any(request.token for request in world.hub.log), "it was sent"
    assert not [name for name, data in world.files().items() if secret in data]


def test_offline_is_known_beforehand(world: World) -> None:
    for line in (["--dry-run"], []):
        done = world("data", "fetch", "moving", *line, HF_HUB_OFFLINE="1")
        assert done.code == 3
        assert "HF_HUB_OFFLINE" in done.errors()[0]["fix"]
    world("data", "fetch", "pinned")
    assert world("data", "fetch", "pinned", HF_HUB_OFFLINE="1").code == 0


def test_unknown_names_give_the_nearest_and_nothing_is_brought(world: World) -> None:
    done = world("data", "fetch", "pinned", "pictres")
    assert done.code == 2
    assert "'pictures'" in done.errors()[0]["what"]
    assert world.asked() == (0, 0)


def test_by_hand_from_an_archive_anywhere(world: World, tmp_path: Path) -> None:
    archive = tmp_path / "Downloads" / "task 3.zip"
    archive.parent.mkdir()
    archive.write_bytes(zipped(LAYOUT))
    dry = world("data", "fetch", "by-hand", "--archive", str(archive), "--dry-run")
    assert dry.code == 0
    assert str(archive) in dry.out
    assert not (world.root / "raw").exists()
    assert world("data", "fetch", "by-hand", "--archive", str(archive)).code == 0
    assert {name: (world.root / "raw" / "by-hand" / name).read_bytes() for name in LAYOUT} == LAYOUT
    assert archive.exists()
    again = world("data", "fetch", "by-hand")
    assert again.code == 0
    assert f"{len(LAYOUT)} files" in again.out
    assert "there already" in again.out


def test_by_hand_for_an_entry_that_has_all_from_another(world: World, tmp_path: Path) -> None:
    (tmp_path / "stvqa.zip").write_bytes(zipped(LAYOUT))
    done = world("data", "fetch", "asks", "--archive", str(tmp_path / "stvqa.zip"))
    assert done.code == 0, done.err
    assert (world.root / "raw" / "by-hand" / "train.json").is_file()
    assert world("data", "verify", "asks").code == 0


def test_by_hand_from_a_folder(world: World, tmp_path: Path) -> None:
    for name, data in LAYOUT.items():
        (tmp_path / "unpacked" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "unpacked" / name).write_bytes(data)
    assert world("data", "fetch", "by-hand", "--archive", str(tmp_path / "unpacked")).code == 0
    assert world("data", "verify", "by-hand").code == 0


def test_a_wrong_archive_leaves_nothing(world: World, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.zip"
    wrong.write_bytes(zipped({"elsewhere.json": b"[]"}))
    done = world("data", "fetch", "by-hand", "--archive", str(wrong))
    assert done.code == 1
    assert "train.json" in done.errors()[0]["what"]
    assert not (world.root / "raw" / "by-hand").exists()
    assert "absent" in world("data", "status", "by-hand").out


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (["by-hand", "--archive", "nowhere.zip"], "nowhere.zip does not exist"),
        (["pinned", "--archive", "params.yaml"], "nothing of pinned is taken by hand"),
        (["by-hand", "by-hand-too", "--archive", "params.yaml"], "for 2 sets: by-hand, by-hand-too"),
        (["pinned", "--retry-failed"], "--retry-failed for pinned"),
    ],
)
def test_options_that_would_do_nothing_or_the_wrong_thing_are_refused(world: World, line: list[str], what: str) -> None:
    done = world("data", "fetch", *line)
    assert done.code == 2
    assert what in done.errors()[0]["what"]
    assert world.asked() == (0, 0)
    assert not (world.root / "raw").exists()


def test_by_hand_says_what_to_do(world: World) -> None:
    done = world("data", "fetch", "by-hand", "--json")
    assert done.code == 3
    (parts,) = done.errors()
    assert "https://example.org/form" in parts["what"]
    assert "trackyard data fetch by-hand --archive PATH" in parts["fix"]
    assert done.json()["stopped"][0]["exit_code"] == 3


def test_status_part_by_part(world: World) -> None:
    def states() -> dict[tuple[str, str], str]:
        body = world("data", "status", "pinned", "pictures", "packed", "--json").json()
        return {(step["entry"], step["kind"]): step["state"] for step in body["steps"]}

    assert set(states().values()) == {"absent"}
    world("data", "fetch", "pictures")
    assert states() == {
        ("pinned", "repository"): "absent", ("pictures", "repository"): "complete", ("pictures", "images"): "complete",
        ("packed", "archives"): "absent",
    }  # fmt: skip
    world("data", "fetch", "pinned", "packed")
    assert set(states().values()) == {"complete"}
    (world.root / "raw" / "packed" / "a.txt").unlink()
    for blob in (world.root / "hf").rglob("blobs/*"):
        blob.write_bytes(b"")
    next((world.root / "raw" / "pictures" / "images").glob("part-*.json")).unlink()
    assert set(states().values()) == {"partial"}


def test_a_purge_below_the_raw_folder_is_no_success(world: World) -> None:
    world("data", "fetch", "packed")
    (world.root / "raw" / "packed" / "a.txt").unlink()
    for line in ([], ["--dry-run"]):
        done = world("data", "fetch", "packed", *line)
        assert done.code == 1
        assert "a.txt" in done.errors()[0]["what"]
        assert f"rm -r {world.root / 'raw' / 'packed'}" in done.errors()[0]["fix"]


def test_a_place_without_room_is_told_in_the_document(world: World) -> None:
    (world.root / "raw").write_text("a file where the folder should be")
    done = world("data", "fetch", "pictures", "rows", "--json")
    assert done.code == 3
    body = done.json()
    assert [(one["entry"], one["kind"]) for one in body["stopped"]] == [("pictures", "images")]
    assert {one["step"]["entry"] for one in body["brought"]} == {"pictures", "rows"}
