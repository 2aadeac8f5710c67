"""Worker processes: what they decode, what stops them, and what a run says of one that died or hangs (F25)."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.feed.in_worker import LOCK, lock_is_free
from tests.feed.small_plan import reader, same, small_plan, small_snapshot
from trackyard.errors import DataError, TrackyardError
from trackyard.feed.processes import WorkerPool
from trackyard.feed.steps import PlanFeed
from trackyard.launch.failures import named_failures
from trackyard.plan.plan import ROWS, Plan
from trackyard.snapshot.reader import SnapshotDataset

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SnapshotDataset]:
    return small_snapshot(tmp_path_factory.mktemp("snapshot"))


@pytest.fixture(scope="module")
def plan(snapshot: Mapping[str, SnapshotDataset], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return small_plan(snapshot, tmp_path_factory.mktemp("plan"), steps=4)


def workers() -> list[int]:
    return sorted(process.pid or 0 for process in multiprocessing.active_children())


def test_the_life_of_two_workers(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    """One story, because a worker takes seconds to start."""
    feed = reader(plan, snapshot, micro=2)
    ours = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert workers() == []
    pool = WorkerPool(feed.source, 2, 60.0)
    path = plan.directory / ROWS
    content = path.read_bytes()
    try:
        # An error keeps its type and its parts.
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        running = [pool.submit(0, 0), pool.submit(0, 1)]
        with pytest.raises(DataError) as caught:
            pool.result(running[0])
        assert str(path) in caught.value.what
        assert "the plan is rebuilt" in caught.value.fix
        with pytest.raises(DataError):
            pool.result(running[1])
        path.write_bytes(content)

        # Signals that a cluster sends to the whole group are this process's alone.
        pids = workers()
        assert len(pids) == 2
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == ours
        for pid in pids:
            for number in SIGNALS:
                os.kill(pid, number)
        found = [pool.result(pool.submit(step, index)) for step in range(4) for index in range(2)]
        wanted = [feed.micro_batch(step, index) for step in range(4) for index in range(2)]
        assert all(same(a.batch, b.batch) for a, b in zip(found, wanted, strict=True))
        assert [a.facts.rows + a.facts.broken for a in found] == [b.facts.rows + b.facts.broken for b in wanted]
        assert workers() == pids

        # A fork of this process, which has threads, might wait for a lock that no thread of its own will ever free.
        assert all("spawn_main" in Path(f"/proc/{pid}/cmdline").read_text() for pid in pids)

        # Memory: nothing that only models need.
        assert "torch" in sys.modules, "else the next line says nothing"
        assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)

        # One that hangs ends the run in time.
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        pool._timeout_s = 0.2
        hung = pool.submit(0, 0)
        with pytest.raises(TrackyardError, match=r"no feed worker has decoded the next micro-batch within 0\.2 s"):
            pool.result(hung)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        pool._timeout_s = 60.0
        pool.result(hung)  # its block has arrived before anyone is stopped again

        # One that dies is named, with its cause: by what was waited for, and by what is asked for afterwards.
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        waited_for = pool.submit(0, 0)
        os.kill(pids[0], signal.SIGKILL)
        for ask in (lambda: pool.result(waited_for), lambda: pool.submit(0, 0)):
            with pytest.raises(TrackyardError) as died:
                ask()
            what = died.value.what
            assert f"(process {pids[0]}, killed by SIGKILL) ended" in what
            assert what.startswith("feed worker ")
            assert str(pids[1]) not in what
            assert "engine.workers" in died.value.fix
    finally:
        path.write_bytes(content)
        pool.close()
    assert workers() == []


def test_closing_ends_workers_that_are_stopped_or_have_not_begun(
    plan: Plan, snapshot: Mapping[str, SnapshotDataset]
) -> None:
    pool = WorkerPool(reader(plan, snapshot).source, 1, 60.0)
    pool.close()
    pool = WorkerPool(reader(plan, snapshot).source, 1, 60.0)
    pool.submit(0, 0)
    [pid] = workers()
    os.kill(pid, signal.SIGSTOP)
    pool.close()
    assert workers() == []


def test_a_lock_that_a_thread_holds_is_free_in_a_worker(plan: Plan, snapshot: Mapping[str, SnapshotDataset]) -> None:
    """Fork after threads; and a worker without memory, in the same one."""
    feed = reader(plan, snapshot, micro=2)
    pool = WorkerPool(feed.source, 1, 60.0)
    with LOCK:
        # Negative control: in a fork it is held, by nobody.
        child = os.fork()
        if child == 0:
            os._exit(int(lock_is_free()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert pool._pool.submit(lock_is_free).result(60)
    try:
        _runs_out_of_memory(pool, feed)
    finally:
        pool.close()


def _runs_out_of_memory(pool: WorkerPool, feed: PlanFeed) -> None:
    """The run stops and names the cause; no row is taken for a broken one. With memory the same rows come."""
    broken = pool.result(pool.submit(0, 0)).facts.broken
    [pid] = workers()
    used = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * mmap.PAGESIZE
    before = resource.prlimit(pid, resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))

    def decode() -> None:
        with named_failures():
            while True:  # what it has free already may do for a few
                assert pool.result(pool.submit(0, 0)).facts.broken == broken

    with pytest.raises(TrackyardError, match="memory"):
        decode()
    resource.prlimit(pid, resource.RLIMIT_AS, before)
    assert workers() == [pid]
    found = pool.result(pool.submit(0, 0))
    assert same(found.batch, feed.micro_batch(0, 0).batch)


def test_a_dev_shm_of_16_megabytes_changes_nothing() -> None:
    """Containers limit /dev/shm; the feed does not use it."""
    small = 'mount -t tmpfs -o size=16m tmpfs /dev/shm && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", small, "sh", sys.executable, "-m", "tests.feed.in_worker"]
    if os.geteuid() != 0 or subprocess.run([*argv[:4], "mount -t tmpfs tmpfs /dev/shm"], check=False).returncode:
        pytest.skip("mounting a small /dev/shm needs root")
    ended = subprocess.run(
        argv, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
