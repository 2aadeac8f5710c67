"""Fetching from a hub as a process of its own: killed, stopped, doubled, and used offline afterwards."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.loopback.hub import Fault, LoopbackHub
from trackyard.acquire.hub.fetch import read_record, verify_repository
from trackyard.catalog.entries import HubSource
from trackyard.errors import DataError

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
REPO = "allenai/pixmo-mini"
LARGE = "data/large.parquet"
KILLS = 10
SLOW = 2e6
"""Bytes per second of each answer, with which `LARGE` takes four seconds: a kill half a second after its first byte, or
later on a machine with other work, is in the middle of it."""
LIMIT_S = 240.0
"""Longest that a process may take before the test fails, on a machine with other work."""
STALL_S = 120.0

FETCH = """
import sys
from pathlib import Path
from trackyard.acquire.hub.fetch import fetch_repository
from trackyard.catalog.entries import HubSource
from trackyard.errors import TrackyardError
repo, revision, cache, endpoint = sys.argv[1:]
try:
    fetched = fetch_repository(HubSource(repo=repo, revision=revision), cache=Path(cache), endpoint=endpoint)
except TrackyardError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
print(fetched.directory)
"""


def table(seed: int, rows: int) -> bytes:
    random_bytes = random.Random(seed).randbytes
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": list(range(rows)), "image": [random_bytes(1000) for _ in range(rows)]}), sink)
    return bytes(sink.getvalue())


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    small = {f"data/train-{n:05}.parquet": table(n, 200) for n in range(12)}
    return {LARGE: table(100, 8000), **small, "README.md": b"# small\n"}


@pytest.fixture
def hub(files: Mapping[str, bytes]) -> Iterator[LoopbackHub]:
    with LoopbackHub(bytes_per_s=SLOW) as hub:
        hub.add_repository(REPO, files)
        yield hub


def source_of(hub: LoopbackHub) -> HubSource:
    return HubSource(repo=REPO, revision=hub.repositories["dataset", REPO].branches["main"])


def environment(home: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(home), "HF_HOME": str(home), "OMP_NUM_THREADS": "1", **more}


def start(hub: LoopbackHub, home: Path, code: str = FETCH, **more: str) -> subprocess.Popen[str]:
    arguments = [REPO, source_of(hub).revision, str(home / "hub"), hub.url]
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environment(home, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def wait_for_bytes_of(hub: LoopbackHub, path: str) -> None:
    end = time.monotonic() + LIMIT_S
    while not any(r.resource == f"{REPO}/{path}" and r.sent for r in hub.log):
        assert time.monotonic() < end, "the transfer did not begin"
        time.sleep(0.01)


def assert_identical(hub: LoopbackHub, home: Path, files: Mapping[str, bytes]) -> Path:
    fetched = read_record(source_of(hub), home / "hub")
    assert {file.path: (fetched.directory / file.path).read_bytes() for file in fetched.contents} == files
    report = verify_repository(source_of(hub), home / "hub", full=True)
    assert (report.sound, report.extra) == (True, ())
    assert not list((home / "hub").rglob("*.incomplete"))
    return fetched.directory


def test_killed_ten_times_then_complete_and_identical(
    hub: LoopbackHub, tmp_path: Path, files: Mapping[str, bytes]
) -> None:
    chance = random.Random(20260101)
    for _ in range(KILLS):
        hub.forget_log()
        process = start(hub, tmp_path)
        wait_for_bytes_of(hub, LARGE)
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        assert finish(process)[0] == -signal.SIGKILL, "it was over before it was killed"
        with pytest.raises(DataError):
            read_record(source_of(hub), tmp_path / "hub")
    assert list((tmp_path / "hub").rglob("*.incomplete")), "no kill came in the middle of a file"
    hub.forget_log()
    hub.bytes_per_s = None
    assert finish(start(hub, tmp_path))[0] == 0
    assert_identical(hub, tmp_path, files)
    again = hub.counts("GET")
    assert again[f"{REPO}/{LARGE}"] == 1
    assert sum(again[f"{REPO}/{path}"] for path in files) < len(files), "what had come was fetched again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_it_resumable(
    hub: LoopbackHub, tmp_path: Path, files: Mapping[str, bytes], number: signal.Signals
) -> None:
    process = start(hub, tmp_path)
    wait_for_bytes_of(hub, LARGE)
    process.send_signal(number)
    assert finish(process)[0] != 0
    with pytest.raises(DataError):
        read_record(source_of(hub), tmp_path / "hub")
    hub.bytes_per_s = None
    assert finish(start(hub, tmp_path))[0] == 0
    assert_identical(hub, tmp_path, files)


def test_processes_on_one_copy_do_not_disturb_each_other(
    hub: LoopbackHub, tmp_path: Path, files: Mapping[str, bytes]
) -> None:
    """Two of ours and one of huggingface_hub's own."""
    foreign = """
import sys
from huggingface_hub import snapshot_download
repo, revision, cache, endpoint = sys.argv[1:]
snapshot_download(repo, repo_type="dataset", revision=revision, cache_dir=cache, endpoint=endpoint)
"""
    processes = [start(hub, tmp_path, code) for code in (FETCH, FETCH, foreign)]
    (first, _, first_err), (second, _, second_err), (other, _, other_err) = map(finish, processes)
    assert other == 0, other_err
    assert 0 in (first, second), first_err + second_err
    if (first, second) != (0, 0):
        refusal = first_err if first else second_err
        assert f"the hub copy of {REPO}" in refusal
        assert "is in use by process" in refusal
    assert_identical(hub, tmp_path, files)


def test_stalls_and_rate_limits_with_the_clock_running(
    hub: LoopbackHub, tmp_path: Path, files: Mapping[str, bytes]
) -> None:
    hub.bytes_per_s = None
    hub.faults.plan(f"{REPO}/{LARGE}", Fault(kind="stall", seconds=STALL_S))
    hub.faults.plan(f"{REPO}/README.md", Fault(kind="status", status=429, retry_after="2"))
    hub.faults.plan(f"{REPO}/data/train-00001.parquet", Fault(kind="status", status=503))
    started = time.monotonic()
    code, _, err = finish(start(hub, tmp_path, HF_HUB_DOWNLOAD_TIMEOUT="3"))
    assert code == 0, err
    assert err == "", "library code prints nothing, and huggingface_hub's warnings hold signed addresses"
    assert 2 < time.monotonic() - started < STALL_S, "Retry-After is waited for, a stall is not"
    directory = assert_identical(hub, tmp_path, files)
    assert directory.name == source_of(hub).revision
    ranges = [r.byte_range for r in hub.log if r.resource == f"{REPO}/{LARGE}" and r.method == "GET"]
    assert len(ranges) == 2


def test_offline_afterwards(hub: LoopbackHub, tmp_path: Path, files: Mapping[str, bytes]) -> None:
    hub.bytes_per_s = None
    assert finish(start(hub, tmp_path))[0] == 0
    asked = len(hub.log)
    code = """
import sys
import huggingface_hub, datasets
from pathlib import Path
repo, revision, cache, endpoint = sys.argv[1:]
directory = huggingface_hub.snapshot_download(repo, repo_type="dataset", revision=revision)
rows = datasets.load_dataset("parquet", data_files=f"{directory}/data/train-*.parquet", split="train")
print(len(rows), rows[0]["id"], len(rows[200]["image"]))
print(huggingface_hub.hf_hub_download(repo, "README.md", repo_type="dataset", revision=revision))
"""
    ended, out, err = finish(start(hub, tmp_path, code, HF_HUB_OFFLINE="1", HF_ENDPOINT=hub.url))
    assert ended == 0, err
    assert out.splitlines()[0] == "2400 0 1000"
    # A complete copy needs no hub, and what is missing is said with the variable that forbids asking for it.
    assert finish(start(hub, tmp_path, HF_HUB_OFFLINE="1"))[0] == 0
    next((tmp_path / "hub").rglob("README.md")).unlink()
    ended, _, err = finish(start(hub, tmp_path, HF_HUB_OFFLINE="1"))
    assert ended == 3
    assert "HF_HUB_OFFLINE is set" in err
    assert len(hub.log) == asked


def test_the_loopback_hub_as_a_process(tmp_path: Path, files: Mapping[str, bytes]) -> None:
    served = tmp_path / "served" / REPO
    for path, data in files.items():
        (served / path).parent.mkdir(parents=True, exist_ok=True)
        (served / path).write_bytes(data)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.loopback.hub", "--directory", str(tmp_path / "served")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        arguments = [REPO, "unpinned", str(tmp_path / "hub"), url]
        done = subprocess.run(
            [sys.executable, "-c", FETCH, *arguments],
            env=environment(tmp_path), capture_output=True, text=True, timeout=LIMIT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        fetched = read_record(HubSource(repo=REPO), tmp_path / "hub")
        assert {file.path: (fetched.directory / file.path).read_bytes() for file in fetched.contents} == files
    finally:
        server.terminate()
        server.communicate(timeout=LIMIT_S)
