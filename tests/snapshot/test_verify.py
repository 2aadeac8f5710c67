import io
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.snapshot.conftest import Write
from trackyard.acquire.files import stat_cache
from trackyard.digest import digest_bytes, digest_file
from trackyard.errors import DataError
from trackyard.row import IMAGE_MARK, VIDEO_MARK, Media, Row, Turn
from trackyard.snapshot import writer
from trackyard.snapshot.manifest import RESTORE, Manifest
from trackyard.snapshot.verify import verify_dataset, verify_snapshot
from trackyard.snapshot.writer import write_dataset

SHARD = "train/part-00001.parquet"


def test_a_whole_dataset_is_proved(dataset: Path) -> None:
    found = verify_dataset(dataset)
    manifest = Manifest.read(dataset)
    assert (found.dataset, found.files, found.rows) == ("numbers", len(manifest.files), 45)
    assert found.bytes == sum(path.stat().st_size for path in dataset.rglob("*.parquet"))


def test_every_flip_anywhere_is_found(dataset: Path) -> None:
    path = dataset / SHARD
    whole = path.read_bytes()
    for seed in range(40):
        content = bytearray(whole)
        content[random.Random(seed).randrange(len(content))] ^= 1 << seed % 8
        path.write_bytes(content)
        with pytest.raises(DataError, match="part-00001"):
            verify_dataset(dataset)
    path.write_bytes(whole)
    verify_dataset(dataset)


@pytest.mark.parametrize(
    "damage",
    {
        "truncated": lambda data: data[:-1],
        "trailing garbage": lambda data: data + b"x",
        "zero length": lambda data: b"",
        "zeroed page": lambda data: data[:100] + bytes(500) + data[600:],
    }.items(),
    ids=lambda item: item[0],
)
def test_other_damage_is_found_with_both_digests(dataset: Path, damage) -> None:
    path = dataset / SHARD
    expected = digest_file(path)
    path.write_bytes(damage[1](path.read_bytes()))
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset)
    assert expected in caught.value.what
    assert digest_file(path) in caught.value.what
    assert caught.value.fix == RESTORE


def test_all_failing_files_are_listed(dataset: Path) -> None:
    paths = sorted(dataset.rglob("*.parquet"))
    for path in paths[1:]:
        path.write_bytes(b"x" * path.stat().st_size)
    paths[0].unlink()
    shutil.copy(paths[1], dataset / "train/part-00009.parquet")
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset, restore="restore it")
    assert caught.value.what.count("\n") == len(paths)  # one line each, and one for the stranger
    assert all(str(path) in caught.value.what for path in paths)
    assert "part-00009.parquet: not in the manifest" in caught.value.what
    assert caught.value.fix == "restore it"


def rewrite(directory: Path, change) -> None:
    path = directory / "manifest.json"
    body = json.loads(path.read_text())
    change(body)
    path.write_text(json.dumps(body))


def test_row_counts_come_from_the_footers(dataset: Path) -> None:
    def one_more(body: dict) -> None:
        body["files"][0]["rows"] += 1
        body["splits"]["train"] += 1

    rewrite(dataset, one_more)
    with pytest.raises(DataError, match="the manifest says"):
        verify_dataset(dataset)


def test_a_check_that_examined_nothing_fails(dataset: Path) -> None:
    rewrite(dataset, lambda body: body.update(files=[], splits={}))
    for path in dataset.rglob("*.parquet"):
        path.unlink()
    with pytest.raises(DataError, match="lists no files"):
        verify_dataset(dataset)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def problems_of(dataset: Path, **options) -> list[str]:
    with pytest.raises(DataError) as caught:
        verify_dataset(dataset, **options)
    return caught.value.what.split("\n      ")


def test_a_flip_that_keeps_size_and_time_is_found_and_named(dataset: Path) -> None:
    path = dataset / SHARD
    status = path.stat()
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    for mode in ("fast", "full"):
        (line,) = problems_of(dataset, mode=mode)
        assert line.startswith(f"{path}: blake3 {digest_file(path)} ({status.st_size} bytes), expected blake3 ")


def test_fast_says_what_it_trusted(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stat_cache, "RACY_NS", 0)
    full = verify_dataset(dataset)
    assert (full.hashed, full.trusted, full.notes) == (full.files, 0, ())
    fast = verify_dataset(dataset, mode="fast")
    assert (fast.hashed + fast.trusted, fast.trusted) == (full.files, full.files - 1)
    assert fast.notes[0].startswith(f"{fast.trusted} files were trusted")


def test_files_that_no_reader_loads_are_named_and_no_problem(dataset: Path) -> None:
    (dataset / "README.md").write_text("a card")
    (dataset / "train" / "notes.txt").write_text("x")
    assert verify_dataset(dataset).extra == ("README.md", "train/notes.txt")


def test_progress_counts_bytes_and_rows(pictures: Path) -> None:
    seen = []
    found = verify_dataset(pictures, decode="all", progress=lambda *state: seen.append(state))
    assert ("pictures", "bytes", found.bytes, found.bytes) in seen
    assert seen[-1] == ("pictures", "rows", found.rows, found.rows)
    assert found.decoded == found.rows


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


def picture_row(number: int, text: str = "What?", **changes) -> Row:
    medium = Media(kind="image", data=png(8, 6), path=f"{number}.png", width=8, height=6)
    turns = (Turn(role="user", content=text), Turn(role="assistant", content="red"))
    return Row(id=f"row-{number}", task="user_qa", conversations=(turns,), **({"media": (medium,)} | changes))


@pytest.fixture
def pictures(tmp_path: Path, write: Write) -> Path:
    write(tmp_path / "s" / "pictures", {"train": map(picture_row, range(6)), "validation": [picture_row(7)]})
    return tmp_path / "s" / "pictures"


def test_media_that_are_no_media_are_found_by_decoding_only(dataset: Path) -> None:
    """The negative control: noise under right digests passes every check but that one."""
    assert verify_dataset(dataset).decoded == 0
    lines = problems_of(dataset, decode=3)
    assert len(lines) == 3
    for line, row in zip(lines, ("number 0 of train", "number 22 of train", "number 4 of validation"), strict=True):
        assert row in line
        assert "not a readable image" in line


def test_stated_sizes_are_compared_with_the_pixels(tmp_path: Path, write: Write) -> None:
    wrong = Media(kind="image", data=png(8, 6), path="x.png", width=6, height=8)
    write(tmp_path / "d", {"train": [picture_row(0), picture_row(1, media=(wrong,))]})
    with pytest.raises(DataError) as caught:
        verify_dataset(tmp_path / "d", decode="all")
    assert "row 'row-1' (number 1 of train): x.png has width 8, stated as 6" in caught.value.what
    assert caught.value.fix != RESTORE, "the same bytes again would be no better"


def test_references_without_media_are_found(tmp_path: Path, write: Write) -> None:
    rows = [
        picture_row(0, f"{IMAGE_MARK} What?"),
        picture_row(1, f"{IMAGE_MARK} or {IMAGE_MARK}?"),
        picture_row(2, f"{VIDEO_MARK} What?"),
        picture_row(3, f"What is {IMAGE_MARK}, and {VIDEO_MARK}?", media=()),
    ]
    write(tmp_path / "good", {"train": [rows[0], rows[3]]})
    assert verify_dataset(tmp_path / "good").notes == (
        "1 rows without media mention some; the feed keeps that as plain text",
    )
    write(tmp_path / "bad", {"train": rows})
    (line,) = problems_of(tmp_path / "bad")
    assert f"row 'row-1': a text mentions 2 x {IMAGE_MARK}, the row holds 1" in line
    assert f"row 'row-2': a text mentions 1 x {VIDEO_MARK}, the row holds 0" in line
    assert "row-0" not in line


def test_a_shard_with_other_columns_is_found(dataset: Path) -> None:
    path = dataset / SHARD
    pq.write_table(pq.read_table(path).drop_columns(["meta"]), path)

    def record(body: dict) -> None:
        (entry,) = [entry for entry in body["files"] if entry["path"] == SHARD]
        entry.update(bytes=path.stat().st_size, blake3=digest_file(path))

    rewrite(dataset, record)
    (line,) = problems_of(dataset)
    assert f"{path}: its columns are ['id', 'task', 'media', 'conversations'], expected" in line


@pytest.fixture
def snapshot(dataset: Path, write: Write) -> Path:
    """Four datasets: numbers, and three that a test may damage."""
    for name in ("b", "c", "d"):
        write(dataset.parent / name, {"train": map(picture_row, range(3))})
    return dataset.parent


def test_a_whole_snapshot(snapshot: Path) -> None:
    seen = set()
    report = verify_snapshot(snapshot, progress=lambda name, *_: seen.add(name))
    assert report.ok
    assert (report.examined, [found.dataset for found in report.datasets]) == (4, ["b", "c", "d", "numbers"])
    assert seen == {"b", "c", "d", "numbers"}


def test_all_problems_of_all_datasets_are_listed_with_their_repair(snapshot: Path, tmp_path: Path) -> None:
    gone, stranger = snapshot / "numbers" / SHARD, snapshot / "b" / "train" / "part-00009.parquet"
    gone.unlink()
    shutil.copy(snapshot / "b" / "train" / "part-00000.parquet", stranger)
    linked = snapshot / "b" / "train" / "part-00000.parquet"
    linked.rename(tmp_path / "an object")
    linked.symlink_to(tmp_path / "an object")
    os.truncate(linked, linked.stat().st_size - 1)
    (snapshot / "c" / "manifest.json").unlink()
    (snapshot / "d" / "manifest.json").write_text("{}")
    (snapshot / "empty").mkdir()
    report = verify_snapshot(snapshot)
    assert not report.ok
    assert (report.examined, report.datasets) == (4, ())
    assert {problem.path: problem.repair for problem in report.problems} == {
        linked: f"rm -f '{tmp_path}/an object' {linked} && dvc pull {linked}",
        stranger: f"rm {stranger}",
        gone: f"rm -f {gone} && dvc pull {gone}",
        snapshot / "c" / "manifest.json": f"rm -f {snapshot}/c/manifest.json && dvc pull {snapshot}/c/manifest.json",
        snapshot / "d" / "manifest.json": f"rm -f {snapshot}/d/manifest.json && dvc pull {snapshot}/d/manifest.json",
    }
    assert all(str(snapshot) in problem.what for problem in report.problems)


def test_a_place_without_a_snapshot_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no snapshot"):
        verify_snapshot(tmp_path / "absent")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_purged_file_in_a_hundred_is_found_with_a_list(seed: int, purged: tuple[Path, list[Path]]) -> None:
    directory, paths = purged
    lost = random.Random(seed).choice(paths)
    content = lost.read_bytes()
    lost.unlink()
    try:
        assert problems_of(directory) == [f"{lost}: absent, expected blake3 {digest_bytes(content)}"]
    finally:
        lost.write_bytes(content)


@pytest.fixture(scope="module")
def purged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """A dataset of a hundred shards."""
    directory = tmp_path_factory.mktemp("purge") / "many"
    rows = (picture_row(number, "x" * 200) for number in range(100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "ROWS_WITH_IMAGES", 1)
        write_dataset(directory, {"train": rows}, dataset="many", source={}, licence="CC0-1.0", shard_bytes=1)
    return directory, sorted(directory.rglob("*.parquet"))


@pytest.mark.system
def test_the_repair_repairs_what_a_checkout_does_not(snapshot: Path, tmp_path: Path) -> None:
    """Real DVC, with files linked to its cache, and a flip behind the link that keeps size, time and mode."""
    environment = os.environ | {"DVC_SITE_CACHE_DIR": str(tmp_path / "site"), "DVC_NO_ANALYTICS": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"

    def sh(command: str) -> None:
        subprocess.run(command, shell=True, check=True, cwd=snapshot.parent, env=environment, capture_output=True)

    sh("dvc init --no-scm && dvc config cache.type symlink && dvc remote add -d site remote")
    sh(f"dvc add {snapshot.name} && dvc push")
    shard = snapshot / "numbers" / SHARD
    assert shard.is_symlink()
    status, damaged = shard.stat(), bytearray(shard.read_bytes())
    damaged[10] ^= 1
    shard.resolve().chmod(0o644)
    shard.write_bytes(damaged)
    shard.resolve().chmod(status.st_mode)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))
    sh(f"dvc checkout --force {snapshot.name}")
    (problem,) = verify_snapshot(snapshot).problems
    assert problem.path == shard
    sh(problem.repair)
    assert verify_snapshot(snapshot).ok
