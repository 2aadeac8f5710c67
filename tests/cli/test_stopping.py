"""A stop signal or Ctrl-C ends fetch and snapshot with 75 and a clear sentence, and the same command goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from tests.cli.world import MAPPING, PICTURES, Done, World, table
from trackyard.cli.stopping import resumable
from trackyard.errors import StoppedEarly
from trackyard.launch.signals import STOP_SIGNALS


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """The test process keeps its own handlers."""
    earlier = {number: signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)}
    yield
    for number, handler in earlier.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [*STOP_SIGNALS, signal.SIGINT])
@pytest.mark.parametrize("ignored", [False, True])
def test_the_block_ends_with_one_error_that_names_the_signal(number: signal.Signals, ignored: bool) -> None:
    if ignored:  # as for a job in the background of a script
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if number == signal.SIGINT:
            return
    passed = []

    def block() -> None:
        with resumable():
            os.kill(os.getpid(), number)
            passed.append("the end of the block")

    with pytest.raises(StoppedEarly, match=f"stopped by {number.name}"):
        block()
    assert passed == []
    if number != signal.SIGINT:
        for other in STOP_SIGNALS:  # a process that was asked to stop is not killed while it ends
            os.kill(os.getpid(), other)


def test_without_a_signal_nothing_has_changed() -> None:
    before = [signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)]
    with resumable():
        pass
    assert [signal.getsignal(number) for number in (*STOP_SIGNALS, signal.SIGINT)] == before


def _stopped(world: World, when: Callable[[], bool], *line: str, number: signal.Signals, group: bool) -> Done:
    running = world.start(*line)
    try:
        deadline = time.monotonic() + 120
        while not when():
            assert running.poll() is None, running.communicate()
            assert time.monotonic() < deadline, "it never came so far"
            time.sleep(0.01)
        (os.killpg if group else os.kill)(running.pid, number)
        out, err = running.communicate(timeout=120)
    finally:
        running.kill()
    return Done(running.returncode, out, err)


@pytest.mark.parametrize(
    ("number", "group"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, False)],
    ids=["SIGTERM", "SIGTERM to all", "Ctrl-C"],
)
def test_fetch(world: World, number: signal.Signals, group: bool) -> None:
    for served in world.web.files.values():
        served.bytes_per_s = 400  # about eight seconds for each picture
    # All pictures are under way, so none of its processes is still being started.
    stopped = _stopped(
        world, lambda: len(world.web.seen) == PICTURES, "data", "fetch", "pictures", "packed", "--json",
        number=number, group=group,
    )  # fmt: skip
    assert stopped.code == 75
    body = stopped.json()
    assert [(one["entry"], one["kind"], one["exit_code"]) for one in body["stopped"]] == [("pictures", "images", 75)]
    assert [one["step"]["entry"] for one in body["brought"]] == ["pictures"], (
        "the tables; what comes after is not tried"
    )
    assert stopped.err.startswith("stopped: StoppedEarly\n")
    assert body["stopped"][0]["what"] == f"stopped by {number.name}"
    assert body["stopped"][0]["fix"].endswith("trackyard data fetch pictures packed --json")
    for served in world.web.files.values():
        served.bytes_per_s = None
    assert world("data", "fetch", "pictures", "packed").code == 0
    assert world("data", "verify", "pictures", "packed").code == 0


def test_snapshot(world: World) -> None:
    messages = [{"role": "user", "content": "Say it. " * 40}, {"role": "assistant", "content": "It."}]
    world.hub.add_repository("owner/moving", {"data.parquet": table([{"messages": messages}] * 30_000)})
    text = MAPPING.replace("dataset: rows", "dataset: moving")
    (world.root / "catalog" / "mappings" / "moving.yaml").write_text(text)
    world("data", "fetch", "moving")
    work = world.root / "data" / "molmo2" / ".partial-moving.build" / "job.json"
    line = ("data", "snapshot", "moving", "--workers", "1", "--json")
    stopped = _stopped(world, work.exists, *line, number=signal.SIGTERM, group=False)
    assert stopped.code == 75
    assert stopped.errors()[0]["fix"].endswith("trackyard data snapshot moving --workers 1 --json")
    assert stopped.json()["stopped"][0]["dataset"] == "moving"
    assert not (world.root / "data" / "molmo2" / "moving").exists()
    done = world("data", "snapshot", "moving", "--json")
    assert done.json()["datasets"][0]["splits"] == {"train": 30_000}
