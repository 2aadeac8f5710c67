import hashlib
import io
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.hostile import HostileServer, Served
from trackyard.acquire.files.tree import FileManifest, verify_files
from trackyard.acquire.raw import fetch as raw
from trackyard.acquire.raw import folder as raw_folder
from trackyard.acquire.raw.fetch import FetchedRaw, fetch_archives
from trackyard.acquire.web.addresses import AddressPolicy
from trackyard.catalog.entries import Archive, Entry, MediaRecipe
from trackyard.errors import ConfigError, DataError, EnvironmentLacking, TrackyardError
from trackyard.exclusive import exclusive

LOOPBACK = AddressPolicy.parse(("127.0.0.0/8",))
IMAGES = {f"images/{k % 3}/{k:03}.jpg": bytes([k % 256]) * (k * 7) for k in range(200)}
TEXTS = {"questions.json": b"{}", "files.json/inner": b"not the record"}


def zipped(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return stream.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as out:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            out.addfile(member, io.BytesIO(data))
    return stream.getvalue()


def entry_of(*archives: Archive, **fields: Any) -> Entry:
    return Entry(
        name="set", title="A set", roles=("train",), group="sft:image_qa", media="image", access="auto",
        recipe=MediaRecipe(kind="archives", archives=archives), **fields,
    )  # fmt: skip


BODIES = {"images.zip": zipped(IMAGES), "texts.tar.gz": tarred({"a/b.txt": b"text"}), "ids.csv": b"id\n1\n"}


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        for name, body in BODIES.items():
            running.files[name] = Served(body)
        yield running


def archive(server: HostileServer, name: str, unpack: str | None, *, stated: bool = True) -> Archive:
    body = BODIES[name]
    return Archive(
        name=name,
        url=server.url(f"/file/{name}"),
        bytes=len(body) if stated else None,
        sha256=hashlib.sha256(body).hexdigest() if stated else None,
        unpack=unpack,
    )


def three(server: HostileServer, *, stated: bool = True) -> Entry:
    return entry_of(
        archive(server, "images.zip", ".", stated=stated),
        archive(server, "texts.tar.gz", "texts/en", stated=stated),
        archive(server, "ids.csv", None, stated=stated),
    )


EXPECTED = IMAGES | {"texts/en/a/b.txt": b"text", "ids.csv": b"id\n1\n"}


def found(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def assert_complete(root: Path) -> None:
    held = found(root / "set")
    assert held.pop("files.json")
    assert held == EXPECTED
    report = verify_files(root / "set", mode="full")
    assert report.ok
    assert report.examined == len(EXPECTED)
    assert not (root / ".incoming/set").exists()


@pytest.mark.parametrize("stated", [True, False])
def test_archives_are_brought_unpacked_and_recorded_once(tmp_path: Path, server: HostileServer, stated: bool) -> None:
    entry = three(server, stated=stated)
    seen: list[tuple[str, int, int | None]] = []
    brought = fetch_archives(entry, tmp_path, policy=LOOPBACK, progress=lambda *at: seen.append(at))
    assert_complete(tmp_path)
    assert (brought.files, brought.bytes, brought.changed) == (
        len(EXPECTED), sum(map(len, EXPECTED.values())), True,
    )  # fmt: skip
    assert {item.state for item in brought.archives} == {"recorded"}
    assert [facts["sha256"] for facts in FileManifest.read(tmp_path / "set").source["archives"]] == [
        hashlib.sha256(body).hexdigest() for body in BODIES.values()
    ]
    size = len(BODIES["images.zip"])
    assert ("download images.zip", size, size if stated else None) in seen
    assert {what for what, _, _ in seen} > {"unpack images.zip", "unpack texts.tar.gz"}
    requests = len(server.seen)
    again = fetch_archives(entry, tmp_path, policy=LOOPBACK)
    assert (len(server.seen), again.changed, again.files) == (requests, False, brought.files)


def test_a_dry_run_only_says(tmp_path: Path, server: HostileServer) -> None:
    found_ = fetch_archives(three(server), tmp_path, policy=LOOPBACK, dry_run=True)
    assert [(item.name, item.state) for item in found_.archives] == [(name, "absent") for name in BODIES]
    assert (found_.files, found_.changed, found_.directory) == (0, False, tmp_path / "set")
    assert not list(tmp_path.iterdir())
    assert not server.seen


def test_archives_are_kept_if_asked(tmp_path: Path, server: HostileServer) -> None:
    fetch_archives(three(server), tmp_path, policy=LOOPBACK, keep_archives=True)
    assert {
        name: data for name, data in found(tmp_path / ".incoming/set/downloads").items() if name in BODIES
    } == BODIES
    assert verify_files(tmp_path / "set", mode="full").ok
    fetch_archives(three(server), tmp_path, policy=LOOPBACK)
    assert_complete(tmp_path)


def test_a_wrong_digest_names_both_and_leaves_no_data(tmp_path: Path, server: HostileServer) -> None:
    entry = entry_of(archive(server, "images.zip", ".").model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(DataError) as caught:
        fetch_archives(entry, tmp_path, policy=LOOPBACK)
    assert "0" * 64 in caught.value.what
    assert hashlib.sha256(BODIES["images.zip"]).hexdigest() in caught.value.what
    assert not (tmp_path / "set").exists()


def test_a_refused_archive_without_a_digest_is_not_found_again(tmp_path: Path, server: HostileServer) -> None:
    entry = three(server, stated=False)
    server.files["images.zip"] = Served(b"<html>please log in</html>")
    with pytest.raises(DataError, match=r"images\.zip"):
        fetch_archives(entry, tmp_path, policy=LOOPBACK)
    assert not (tmp_path / "set").exists()
    server.files["images.zip"] = Served(BODIES["images.zip"])
    fetch_archives(entry, tmp_path, policy=LOOPBACK)
    assert_complete(tmp_path)


def test_a_page_instead_of_a_plain_file(tmp_path: Path, server: HostileServer) -> None:
    server.files["ids.csv"] = Served(b"\n<!DOCTYPE HTML><p>moved")
    with pytest.raises(DataError, match=r"is a web page, not ids\.csv"):
        fetch_archives(entry_of(archive(server, "ids.csv", None, stated=False)), tmp_path, policy=LOOPBACK)
    assert not (tmp_path / "set").exists()


def test_a_malicious_archive_with_its_own_digest(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(BODIES, "bad.zip", zipped({"../../out": b"!"}))
    server.files["bad.zip"] = Served(BODIES["bad.zip"])
    for _ in range(2):
        with pytest.raises(DataError, match=r'"\.\."'):
            fetch_archives(entry_of(archive(server, "bad.zip", ".")), tmp_path / "raw", policy=LOOPBACK)
    assert not (tmp_path / "raw/set").exists()
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["set.lock", "bad.zip"]
    assert len(server.seen) == 1  # the bytes are as published: another download would bring them again


@pytest.mark.parametrize(
    ("bodies", "clash"),
    [
        ({"a.zip": {"x": b"1"}, "b.zip": {"x": b"2"}}, "'x' is there already"),
        ({"a.zip": {"A/x": b"1"}, "b.zip": {"a/y": b"2"}}, "case"),
        ({"a.zip": {"files.json": b"{}"}}, "files.json"),
        ({"a.zip": {".partial-x": b"1", "y": b"2"}}, r"\.partial-"),
    ],
)
def test_archives_must_not_hide_each_other_or_the_record(
    tmp_path: Path, server: HostileServer, bodies: dict[str, dict[str, bytes]], clash: str
) -> None:
    for name, files in bodies.items():
        server.files[name] = Served(zipped(files))
    entry = entry_of(*(Archive(name=name, url=server.url(f"/file/{name}"), unpack=".") for name in bodies))
    with pytest.raises(DataError, match=clash):
        fetch_archives(entry, tmp_path, policy=LOOPBACK)
    assert not (tmp_path / "set").exists()


def test_files_that_nobody_recorded_are_not_replaced(tmp_path: Path, server: HostileServer) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set/ids.csv").write_text("mine")
    with pytest.raises(DataError, match="no record says where it is from"):
        fetch_archives(three(server), tmp_path, policy=LOOPBACK)
    assert found(tmp_path / "set") == {"ids.csv": b"mine"}
    (tmp_path / "set/ids.csv").unlink()
    requests = len(server.seen)
    fetch_archives(three(server), tmp_path, policy=LOOPBACK)
    assert_complete(tmp_path)
    assert len(server.seen) == requests


@pytest.mark.parametrize("damage", ["remove", "truncate"])
def test_a_recorded_folder_that_lost_files_is_named(tmp_path: Path, server: HostileServer, damage: str) -> None:
    fetch_archives(three(server), tmp_path, policy=LOOPBACK)
    victim = tmp_path / "set/images/1/100.jpg"
    victim.unlink() if damage == "remove" else victim.write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 202 recorded files .* images/1/100\.jpg first") as caught:
        fetch_archives(three(server), tmp_path, policy=LOOPBACK)
    assert f"rm -r {tmp_path / 'set'}" in caught.value.fix


def test_a_catalogue_that_means_other_bytes_now(tmp_path: Path, server: HostileServer) -> None:
    first = entry_of(archive(server, "images.zip", "."))
    fetch_archives(first, tmp_path, policy=LOOPBACK)
    moved = archive(server, "images.zip", ".").model_copy(update={"url": server.url("/file/moved.zip")})
    assert not fetch_archives(entry_of(moved), tmp_path, policy=LOOPBACK).changed
    for change in ({"sha256": "1" * 64}, {"unpack": "other"}, {"sha256": None, "url": server.url("/file/v2.zip")}):
        with pytest.raises(DataError, match=r"made from another images\.zip"):
            fetch_archives(
                entry_of(archive(server, "images.zip", ".").model_copy(update=change)), tmp_path, policy=LOOPBACK
            )


def test_an_archive_that_is_added_later_joins_the_record(tmp_path: Path, server: HostileServer) -> None:
    fetch_archives(entry_of(archive(server, "images.zip", ".")), tmp_path, policy=LOOPBACK)
    assert fetch_archives(three(server), tmp_path, policy=LOOPBACK).changed
    assert_complete(tmp_path)
    assert [request.path for request in server.seen].count("/file/images.zip") == 1


@pytest.mark.parametrize(
    "wrong",
    [
        Archive(name="../x.zip", url="http://127.0.0.1/x"),
        Archive(name="a/x.zip", url="http://127.0.0.1/x"),
        Archive(name=".hidden", url="http://127.0.0.1/x"),
        Archive(name="x.zip", url="http://127.0.0.1/x", unpack="../y"),
        Archive(name="x.zip", url="http://127.0.0.1/x", unpack="/y"),
    ],
)
def test_names_of_the_catalogue_must_stay_inside(tmp_path: Path, wrong: Archive) -> None:
    with pytest.raises(ConfigError, match="of set"):
        fetch_archives(entry_of(wrong), tmp_path, policy=LOOPBACK)


def test_what_has_no_address_is_brought_another_way(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no archive of set has an address"):
        fetch_archives(entry_of(Archive(name="x.zip")), tmp_path, policy=LOOPBACK)
    with pytest.raises(ConfigError, match="two archives have that name"):
        fetch_archives(entry_of(*(Archive(name="x", url="http://h/x"),) * 2), tmp_path, policy=LOOPBACK)


def test_two_at_once_are_refused_with_the_owner(tmp_path: Path, server: HostileServer) -> None:
    with (
        exclusive(tmp_path / ".incoming/set.lock", what="x", why="y"),
        pytest.raises(TrackyardError, match="the raw folder of set is in use by process"),
    ):
        fetch_archives(three(server), tmp_path, policy=LOOPBACK)


def test_a_full_disk_says_so_and_the_next_call_goes_on(
    tmp_path: Path, server: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(raw_folder.os, "replace", full)
        patch.setattr(raw, "unpack", full)
        with pytest.raises(EnvironmentLacking, match="No space left"):
            fetch_archives(three(server), tmp_path, policy=LOOPBACK)
    requests = len(server.seen)
    fetch_archives(three(server), tmp_path, policy=LOOPBACK)
    assert_complete(tmp_path)
    assert len(server.seen) <= requests + 3


class Killed(BaseException):
    pass


def crashing(patch: pytest.MonkeyPatch, owner: Any, name: str, at: int, *, after: bool) -> None:
    """Replace a function by one that dies at its `at`-th call, before or after the work is done."""
    original, calls = getattr(owner, name), 0

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise Killed
        result = original(*args, **kwargs)
        if calls == at:
            raise Killed
        return result

    patch.setattr(owner, name, call)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize(
    ("owner", "name", "times"),
    [
        (raw, "download_file", (1, 2, 3)),
        (raw, "unpack", (1, 2)),
        (raw_folder, "manifest_of", (1, 3)),
        (FileManifest, "write", (1, 3, 4)),
        (raw_folder.os, "replace", (1, 2, 5, 8, 100, 200)),
        (raw_folder.RawFolder, "discard", (1,)),
    ],
)
def test_stopped_at_any_step_the_next_call_completes_it(
    tmp_path: Path,
    server: HostileServer,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    times: Any,
    after: bool,
) -> None:
    for at in times:
        root = tmp_path / str(at)
        with monkeypatch.context() as patch:
            crashing(patch, owner, name, at, after=after)
            with pytest.raises(Killed):
                fetch_archives(three(server), root, policy=LOOPBACK)
        if (root / "set/files.json").exists():
            assert verify_files(root / "set", mode="full").ok
        fetch_archives(three(server), root, policy=LOOPBACK)
        assert_complete(root)


def test_killed_at_random_times_it_ends_complete(tmp_path: Path) -> None:
    with HostileServer() as server:
        for name, body in BODIES.items():
            server.files[name] = Served(body, bytes_per_s=200_000)
        code = (
            "import sys; from pathlib import Path\n"
            "from trackyard.acquire.web.addresses import AddressPolicy\n"
            "from trackyard.acquire.raw.fetch import fetch_archives\n"
            "from trackyard.catalog.entries import Entry\n"
            "print('ready', flush=True)\n"
            "fetch_archives(Entry.model_validate_json(sys.argv[1]), Path(sys.argv[2]),\n"
            "               policy=AddressPolicy.parse(('127.0.0.0/8',)))\n"
        )
        entry = three(server)
        argv = [sys.executable, "-c", code, entry.model_dump_json(), str(tmp_path)]
        for delay in (0.05, 0.15, 0.3):
            child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(delay)
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
            if (tmp_path / "set/files.json").exists():
                assert verify_files(tmp_path / "set", mode="full").ok
        result: FetchedRaw = fetch_archives(entry, tmp_path, policy=LOOPBACK)
    assert result.files == len(EXPECTED)
    assert_complete(tmp_path)
