"""Worker processes: what they decode, what stops them, and what a run says of one that died or hangs (F25)."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.feed.small_plan import reader, same, small_plan, small_snapshot
from trackyard.errors import DataError, TrackyardError
from trackyard.feed.processes import WorkerPool
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

        # Memory: nothing that only models need.
        assert "torch" in sys.modules, "else the next line says nothing"
        assert not any("libtorch" in Path(f"/proc/{pid}/maps").read_text() for pid in pids)

        # One that hangs ends the run in time.
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        pool._timeout_s = 0.2
        with pytest.raises(TrackyardError, match=r"no feed worker has decoded the next micro-batch within 0\.2 s"):
            pool.result(pool.submit(0, 0))
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        pool._timeout_s = 60.0

        # One that dies is named, with its cause.
        os.kill(pids[0], signal.SIGKILL)
        with pytest.raises(TrackyardError) as died:
            _ = [pool.result(pool.submit(0, 0)) for _ in range(10_000)]
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
