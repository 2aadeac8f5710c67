import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.hostile import HostileServer, Served
from trackyard.acquire.files.tree import FileManifest, verify_files
from trackyard.acquire.raw import folder as raw_folder
from trackyard.acquire.raw import manual
from trackyard.acquire.raw.fetch import fetch_archives
from trackyard.acquire.raw.manual import find, instructions, take
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.catalog.entries import Archive, Entry, Manual, MediaRecipe
from trackyard.errors import ConfigError, DataError, EnvironmentLacking

PAGE = "https://example.org/scene-text"
LAYOUT = ("train_task_3.json", "images")
FILES = {"train_task_3.json": b"[]", **{f"images/{k % 4}/{k}.jpg": bytes([k]) * 99 for k in range(250)}}


def zipped(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def spread(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def entry_of(*archives: Archive, layout: tuple[str, ...] = LAYOUT, **fields: Any) -> Entry:
    return Entry(
        name="scene-text", title="Scene text", roles=("media",), group="nine:media", media="image", access="manual",
        recipe=MediaRecipe(kind="manual", archives=archives), needs=("coco-val2014",),
        manual=Manual(page=PAGE, steps=("Register.", "Download task 3."), layout=layout), **fields,
    )  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def held(root: Path) -> dict[str, bytes]:
    directory = root / "scene-text"
    found = {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert found.pop("files.json")
    assert verify_files(directory, mode="full").ok
    assert not (root / ".incoming/scene-text/staged").exists()
    return found


@pytest.fixture
def both(tmp_path: Path) -> tuple[Entry, Path, Path]:
    """An entry of two archives that only a person can bring, and the archives."""
    images = zipped(tmp_path / "images.zip", {k: v for k, v in FILES.items() if k.startswith("images")})
    task = zipped(tmp_path / "task3.zip", {"train_task_3.json": b"[]"})
    entry = entry_of(
        Archive(name="images.zip", bytes=images.stat().st_size, sha256=sha256(images), unpack="."),
        Archive(name="task3.zip", unpack="."),
    )
    return entry, images, task


def test_instructions_say_page_steps_archives_layout_and_terms(both: tuple[Entry, Path, Path]) -> None:
    found = instructions(both[0])
    text = "\n".join(found.lines())
    for part in (
        PAGE, "1. Register.", "2. Download task 3.", "images.zip", str(both[0].recipe.archives[0].sha256), "task3.zip",
        "not published", "raw/scene-text/train_task_3.json", "raw/scene-text/images", "unknown (unknown)",
        "coco-val2014",
    ):  # fmt: skip
        assert part in text
    assert (found.page, found.layout) == (PAGE, LAYOUT)


def test_what_a_program_fetches_has_no_instructions() -> None:
    entry = Entry(
        name="x", title="X", roles=("train",), group="g", media="image", access="auto", recipe=MediaRecipe(kind="none")
    )
    with pytest.raises(ConfigError, match="no steps for a person"):
        instructions(entry)


def test_archives_are_taken_once_and_stay_where_they_are(tmp_path: Path, both: tuple[Entry, Path, Path]) -> None:
    entry, *archives = both
    before = [path.read_bytes() for path in archives]
    taken = take(entry, archives, tmp_path / "raw")
    assert held(tmp_path / "raw") == FILES
    assert (taken.files, taken.bytes, taken.changed) == (len(FILES), sum(map(len, FILES.values())), True)
    assert [(item.name, item.sha256) for item in taken.sources] == [(path.name, sha256(path)) for path in archives]
    assert [path.read_bytes() for path in archives] == before
    again = take(entry, archives, tmp_path / "raw")
    assert (again.changed, again.files) == (False, len(FILES))


def test_a_dry_run_checks_and_writes_nothing(tmp_path: Path, both: tuple[Entry, Path, Path]) -> None:
    entry, images, task = both
    assert [item.into for item in take(entry, [images, task], tmp_path / "raw", dry_run=True).sources] == ["", ""]
    with open(images, "ab") as out:
        out.write(b"!")
    with pytest.raises(DataError):
        take(entry, [images, task], tmp_path / "raw", dry_run=True)
    assert not (tmp_path / "raw").exists()


def test_found_in_folders_by_name_files_as_told(tmp_path: Path, both: tuple[Entry, Path, Path]) -> None:
    entry, images, task = both
    (tmp_path / "down/scene-text").mkdir(parents=True)
    task.rename(tmp_path / "down/scene-text/task3.zip")
    renamed = images.rename(tmp_path / "images (1).zip")
    places = [tmp_path / "absent", tmp_path / "down", renamed]
    assert set(find(entry, places)) == {tmp_path / "down/scene-text/task3.zip", renamed}
    take(entry, find(entry, places), tmp_path / "raw")  # the renamed one is known by its digest
    assert held(tmp_path / "raw") == FILES


def test_found_as_a_folder_only_where_the_layout_is_whole(tmp_path: Path) -> None:
    entry = entry_of()
    partial = spread(tmp_path / "one", {"train_task_3.json": b"[]"})
    whole = spread(tmp_path / "two", FILES)
    assert find(entry, [partial]) == ()
    assert find(entry, [partial, whole]) == (whole,)
    assert find(entry, [whole / "images"]) == (whole / "images",)


def test_a_wrong_archive_names_what_was_expected_and_the_page(tmp_path: Path, both: tuple[Entry, Path, Path]) -> None:
    entry, images, task = both
    other = zipped(tmp_path / "other.zip", {"x": b""})
    with pytest.raises(ConfigError) as caught:
        take(entry, [images, task, other], tmp_path / "raw")
    assert {"other.zip", "images.zip", "task3.zip"} <= {word.strip(",:(") for word in caught.value.what.split()}
    assert sha256(other) in caught.value.what
    assert sha256(images) in caught.value.what
    assert PAGE in caught.value.fix


def test_a_damaged_archive_names_both_digests_and_the_page(tmp_path: Path, both: tuple[Entry, Path, Path]) -> None:
    entry, images, task = both
    published = sha256(images)
    data = bytearray(images.read_bytes())
    data[200] ^= 1
    images.write_bytes(data)
    with pytest.raises(DataError) as caught:
        take(entry, [images, task], tmp_path / "raw")
    assert published in caught.value.what
    assert sha256(images) in caught.value.what
    assert PAGE in caught.value.fix
    assert not (tmp_path / "raw").exists()


def test_a_missing_archive_or_none_at_all(tmp_path: Path, both: tuple[Entry, Path, Path]) -> None:
    entry, images, task = both
    for given, problem in (
        ([images], "task3.zip missing"),
        ([], "images.zip, task3.zip missing"),
        ([images, task, task], "given twice"),
        ([tmp_path / "no.zip"], "does not exist"),
    ):
        with pytest.raises(ConfigError, match=problem) as caught:
            take(entry, given, tmp_path / "raw")
        assert PAGE in caught.value.fix
    assert not (tmp_path / "raw").exists()


def test_a_missing_path_of_the_layout_is_named_with_what_came(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "any-name.zip", {f"ST-VQA/{name}": data for name, data in FILES.items()})
    with pytest.raises(DataError) as caught:
        take(entry_of(), [archive], tmp_path / "raw")
    assert "train_task_3.json, images did not come; what was given holds ST-VQA" in caught.value.what
    assert PAGE in caught.value.fix
    assert not (tmp_path / "raw/scene-text").exists()
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(tmp_path / "unpacked")
    take(entry_of(), [tmp_path / "unpacked/ST-VQA"], tmp_path / "raw")
    assert held(tmp_path / "raw") == FILES


def test_an_empty_folder_of_the_layout_does_not_count(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"train_task_3.json": b"[]", "images/": b"", "imagesX/1.jpg": b""})
    with pytest.raises(DataError, match="images did not come"):
        take(entry_of(), [archive], tmp_path / "raw")


def test_a_folder_is_copied_and_not_shared(tmp_path: Path) -> None:
    source = spread(tmp_path / "unpacked", FILES)
    taken = take(entry_of(), [source], tmp_path / "raw")
    assert held(tmp_path / "raw") == FILES
    assert taken.files == len(FILES)
    assert not (tmp_path / "raw/scene-text/train_task_3.json").samefile(source / "train_task_3.json")
    (source / "train_task_3.json").write_text("edited later")
    assert verify_files(tmp_path / "raw/scene-text", mode="full").ok
    assert not take(entry_of(), [spread(source, FILES)], tmp_path / "raw").changed


def test_parts_of_the_layout_are_taken_by_their_names(tmp_path: Path) -> None:
    source = spread(tmp_path / "parts", FILES)
    take(entry_of(), [source / "images", source / "train_task_3.json"], tmp_path / "raw")
    assert held(tmp_path / "raw") == FILES
    deep = entry_of(layout=("annotations/train_task_3.json", "images"))
    take(deep, [source / "train_task_3.json", source / "images"], tmp_path / "deep")
    assert "annotations/train_task_3.json" in held(tmp_path / "deep")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds nothing of train_task_3\.json, images"):
        take(entry_of(), [spread(tmp_path / "holiday", {"beach.jpg": b""})], tmp_path / "raw")


@pytest.mark.parametrize("kind", ["file link", "folder link", "pipe", "backslash"])
def test_what_is_no_plain_file_is_not_copied(tmp_path: Path, kind: str) -> None:
    source = spread(tmp_path / "unpacked", FILES)
    odd = source / "images/odd"
    if kind == "file link":
        odd.symlink_to(source / "train_task_3.json")
    elif kind == "folder link":
        odd.symlink_to(source / "images/1")
    elif kind == "pipe":
        os.mkfifo(odd)
    else:
        (source / "images/a\\b").write_bytes(b"")
    with pytest.raises(DataError, match=r"images/(odd|a.b): .*(regular file|backslash)"):
        take(entry_of(), [source], tmp_path / "raw")
    assert not (tmp_path / "raw/scene-text").exists()


def test_an_archive_that_leads_outside(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", FILES | {"../out": b"!"})
    with pytest.raises(DataError, match=r"'\.\./out'"):
        take(entry_of(), [archive], tmp_path / "raw")
    assert not (tmp_path / "raw/scene-text").exists()
    assert not list(tmp_path.rglob("out"))


def test_archives_fetched_and_taken_share_one_record_in_either_order(tmp_path: Path) -> None:
    images = zipped(tmp_path / "images.zip", {k: v for k, v in FILES.items() if k.startswith("images")})
    with HostileServer() as server:
        server.files["images.zip"] = Served(images.read_bytes())
        entry = entry_of(
            Archive(name="images.zip", url=server.url("/file/images.zip"), unpack="images"),
            Archive(name="train_task_3.json"),
            layout=("train_task_3.json", "images/images"),
        )
        task = spread(tmp_path / "by-hand", {"train_task_3.json": b"[]"}) / "train_task_3.json"
        policy = AddressPolicy.parse(("127.0.0.0/8",))
        expected = {(f"images/{name}" if name.startswith("images") else name): data for name, data in FILES.items()}
        for number, steps in enumerate(("tf", "ft")):
            root = tmp_path / f"raw{number}"
            for step in steps:
                if step == "t":
                    assert take(entry, [task], root).changed
                else:
                    assert fetch_archives(entry, root, policy=policy).changed
            assert held(root) == expected
            archives = FileManifest.read(root / "scene-text").source["archives"]
            assert {facts["name"]: facts["url"] is None for facts in archives} == {
                "images.zip": False,
                "train_task_3.json": True,
            }
        # What a program would fetch can be brought by hand as well, where there is no network.
        assert take(entry, [images, task], tmp_path / "raw-by-hand").changed
        assert held(tmp_path / "raw-by-hand") == expected
        requests = len(server.seen)
        assert not fetch_archives(entry, tmp_path / "raw-by-hand", policy=policy).changed
        assert len(server.seen) == requests


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    source = spread(tmp_path / "unpacked", FILES)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfile", full)
        with pytest.raises(EnvironmentLacking, match="No space left"):
            take(entry_of(), [source], tmp_path / "raw")
    take(entry_of(), [source], tmp_path / "raw")
    assert held(tmp_path / "raw") == FILES


class Killed(BaseException):
    pass


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("at", [1, 3, 4, 60, 200])
def test_stopped_while_files_move_the_next_call_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool, at: int
) -> None:
    given = spread(tmp_path / "unpacked", FILES) if folder else zipped(tmp_path / "x.zip", FILES)
    calls, original = 0, os.replace

    def dying(*args: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(raw_folder.os, "replace", dying)
        with pytest.raises(Killed):
            take(entry_of(), [given], tmp_path / "raw")
    assert not (tmp_path / "raw/scene-text/files.json").exists()
    take(entry_of(), [given], tmp_path / "raw")
    assert held(tmp_path / "raw") == FILES


def test_the_negative_control_without_a_layout_anything_is_taken(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", {"other": b"1"})
    assert take(entry_of(layout=()), [archive], tmp_path / "raw").files == 1
    assert manual.find(entry_of(layout=()), [tmp_path]) == ()
