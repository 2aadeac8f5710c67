"""Snapshots through DVC: an S3 server, a directory, a cache on another file system; and remotes that have rotted.

The S3 server is moto's, on loopback. Source: reliability spec F8 and section 4.1, issue of the data path.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from trackyard.errors import DataError
from trackyard.row import Media, Row, Turn
from trackyard.snapshot.manifest import Manifest
from trackyard.snapshot.verify import verify_dataset
from trackyard.snapshot.writer import write_dataset

pytestmark = pytest.mark.system

GIGABYTE = 1_000_000_000
BUCKET = "trackyard"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def rows(count: int, media_bytes: int) -> Iterator[Row]:
    noise = np.random.default_rng(0)
    for number in range(count):
        media = Media(kind="image", data=noise.bytes(media_bytes), path=f"{number}.png", width=8, height=8)
        turns = (Turn(role="user", content="<|image|> What?"), Turn(role="assistant", content=str(number)))
        yield Row(id=str(number), task="vqa2", media=(media,), conversations=(turns,))


def write(repository: Path, count: int, media_bytes: int, **limits: int) -> Manifest:
    return write_dataset(
        repository / "data" / "big" / "noise",
        {"train": rows(count, media_bytes)},
        dataset="noise",
        source={"generator": "noise"},
        licence="Apache-2.0",
        **limits,
    )


def dvc(repository: Path, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=repository,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not check or done.returncode == 0, f"dvc {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
    return done


def new_repository(path: Path, remote: Mapping[str, str]) -> Path:
    """A DVC repository with the shipped .dvcignore."""
    path.mkdir()
    dvc(path, "init", "--no-scm", "--quiet")
    shutil.copy(Path(__file__).parents[2] / ".dvcignore", path / ".dvcignore")
    return connected(path, remote)


def connected(path: Path, remote: Mapping[str, str]) -> Path:
    """The repository with one remote, which checks what it gives."""
    lines = "".join(f"    {name} = {value}\n" for name, value in {**remote, "verify": "true"}.items())
    head = "[core]\n    remote = site\n    analytics = false\n    no_scm = true\n"
    (path / ".dvc" / "config").write_text(f"{head}['remote \"site\"']\n{lines}")
    return path


@pytest.fixture(scope="module")
def gigabyte(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    """A repository with a snapshot of 1 GB, and its manifest."""
    origin = new_repository(tmp_path_factory.mktemp("gigabyte") / "origin", {"url": "nowhere"})
    made = write(origin, count=1000, media_bytes=GIGABYTE // 1000)
    assert len(made.files) >= 4
    dvc(origin, "add", "data")
    return origin, made


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty S3 server, a process of its own as a real one is."""
    import boto3

    # It notes every request: a pipe that nobody reads would be full in the end, and hold it up.
    log = tmp_path_factory.mktemp("s3") / "log.txt"
    argv = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with open(log, "wb") as file:
        server = subprocess.Popen(argv, stdout=file, stderr=file)
    try:
        while (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())) is None:
            assert server.poll() is None, log.read_text()
            time.sleep(0.1)
        address = found[0]
        client = boto3.client(
            "s3", endpoint_url=address, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
        )
        client.create_bucket(Bucket=BUCKET)
        yield address
    finally:
        server.terminate()
        server.wait()


def restored(origin: Path, path: Path, remote: Mapping[str, str], **environment: str) -> Path:
    """Another repository that has nothing but data.dvc and the remote."""
    other = new_repository(path, remote)
    shutil.copy(origin / "data.dvc", other / "data.dvc")
    dvc(other, "pull", "data.dvc", **environment)
    return other


def pushed_and_pulled(gigabyte: tuple[Path, Manifest], other: Path, remote: Mapping[str, str], **keys: str) -> None:
    """The snapshot comes back with the same fingerprint, every byte proved."""
    origin, made = gigabyte
    connected(origin, remote)
    started = time.monotonic()
    dvc(origin, "push", **keys)
    dataset = restored(origin, other, remote, **keys) / "data" / "big" / "noise"
    print(f"push and pull: {time.monotonic() - started:.0f} s")
    proved = verify_dataset(dataset)
    assert (proved.bytes, proved.rows) == (sum(entry.bytes for entry in made.files), 1000)
    assert proved.bytes > GIGABYTE
    assert Manifest.read(dataset).fingerprint == made.fingerprint
    shutil.rmtree(other)


def test_a_gigabyte_through_a_directory(tmp_path: Path, gigabyte: tuple[Path, Manifest]) -> None:
    pushed_and_pulled(gigabyte, tmp_path / "other", {"url": str(tmp_path / "remote")})


def test_a_gigabyte_through_s3(tmp_path: Path, s3: str, gigabyte: tuple[Path, Manifest]) -> None:
    pushed_and_pulled(gigabyte, tmp_path / "other", {"url": f"s3://{BUCKET}/big", "endpointurl": s3}, **KEYS)


def test_a_flipped_bit_in_a_directory_remote_is_found_at_pull(tmp_path: Path) -> None:
    remote = {"url": str(tmp_path / "remote")}
    origin = new_repository(tmp_path / "origin", remote)
    write(origin, count=8, media_bytes=100_000)
    dvc(origin, "add", "data")
    dvc(origin, "push")
    largest = max((path for path in (tmp_path / "remote").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    damaged = bytearray(largest.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    largest.chmod(0o644)
    largest.write_bytes(damaged)
    other = new_repository(tmp_path / "other", remote)
    shutil.copy(origin / "data.dvc", other / "data.dvc")
    pulled = dvc(other, "pull", "data.dvc", check=False)
    assert pulled.returncode != 0, pulled.stdout
    # What DVC left there does not pass for the snapshot either.
    with pytest.raises(DataError):
        verify_dataset(other / "data" / "big" / "noise")


def test_a_changed_object_on_s3_is_found_at_pull(tmp_path: Path, s3: str) -> None:
    import boto3

    remote = {"url": f"s3://{BUCKET}/rotten", "endpointurl": s3}
    origin = new_repository(tmp_path / "origin", remote)
    write(origin, count=8, media_bytes=100_000)
    dvc(origin, "add", "data")
    dvc(origin, "push", **KEYS)
    client = boto3.client(
        "s3", endpoint_url=s3, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )
    objects = client.list_objects_v2(Bucket=BUCKET, Prefix="rotten/")["Contents"]
    largest = max(objects, key=lambda item: item["Size"])
    body = bytearray(client.get_object(Bucket=BUCKET, Key=largest["Key"])["Body"].read())
    body[len(body) // 2] ^= 1
    client.put_object(Bucket=BUCKET, Key=largest["Key"], Body=bytes(body))
    other = new_repository(tmp_path / "other", remote)
    shutil.copy(origin / "data.dvc", other / "data.dvc")
    pulled = dvc(other, "pull", "data.dvc", check=False, **KEYS)
    assert pulled.returncode != 0, pulled.stdout
    with pytest.raises(DataError):
        verify_dataset(other / "data" / "big" / "noise")


def test_a_cache_on_another_file_system_is_linked(tmp_path: Path) -> None:
    """Symbolic links into the cache pass for the files that they lead to; a bit that flips behind them does not."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not a writable file system of its own here")
    cache = memory / f"trackyard-cache-{os.getpid()}"
    try:
        repository = new_repository(tmp_path / "repository", {"url": str(tmp_path / "remote")})
        dvc(repository, "config", "cache.dir", str(cache))
        dvc(repository, "config", "cache.type", "symlink")
        made = write(repository, count=8, media_bytes=100_000)
        dvc(repository, "add", "data")
        (shard,) = (repository / "data").rglob("*.parquet")
        assert shard.is_symlink()
        assert shard.resolve().is_relative_to(cache)
        assert verify_dataset(repository / "data" / "big" / "noise").rows == 8
        assert Manifest.read(repository / "data" / "big" / "noise").fingerprint == made.fingerprint
        object_path = shard.resolve()
        damaged = bytearray(object_path.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        object_path.chmod(0o644)
        object_path.write_bytes(damaged)
        with pytest.raises(DataError, match=re.escape(made.files[0].blake3)):
            verify_dataset(repository / "data" / "big" / "noise")
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def test_unfinished_things_are_kept_out(tmp_path: Path) -> None:
    """What a killed process left is no part of a version, and adding it again changes nothing."""
    repository = new_repository(tmp_path / "repository", {"url": str(tmp_path / "remote")})
    write(repository, count=4, media_bytes=1000)
    dvc(repository, "add", "data")
    before = (repository / "data.dvc").read_text()
    left = repository / "data" / "big" / ".partial-noise.1.2"
    left.mkdir()
    (left / "part-00000.parquet").write_bytes(b"half")
    (repository / "data" / "big" / "noise" / ".partial-manifest.json.1.2").write_bytes(b"half")
    dvc(repository, "add", "data")
    assert (repository / "data.dvc").read_text() == before
