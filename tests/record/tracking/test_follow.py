"""The follower delivers what appears, says once what is wrong, and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.record.tracking.test_sync import assert_once, train
from trackyard.exclusive import exclusive
from trackyard.launch.processes import free_port
from trackyard.record import spool as spool_module
from trackyard.record.rundir import RunDirectory
from trackyard.record.tracking import follow as module
from trackyard.record.tracking.follow import follow
from trackyard.record.tracking.sync import LOCK, sync_all


class Interrupted(BaseException):
    """Ctrl-C."""


def passes(*between: Callable[[], object]) -> Callable[[float], None]:
    """A sleep that does one thing after each pass, and in the end interrupts."""
    steps: Iterator[Callable[[], object]] = iter(between)

    def sleep(_seconds: float) -> None:
        step = next(steps, None)
        if step is None:
            raise Interrupted
        step()

    return sleep


def count(said: list[str]) -> Callable[[int], None]:
    """Notes the points of each pass."""
    return lambda points: said.append(f"{points} points")


def test_what_appears_between_passes_is_delivered_and_only_that_is_read(
    run: RunDirectory, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trackyard.record.tracking import reading

    read: list[int] = []
    real = spool_module.read_spool
    monkeypatch.setattr(reading, "read_spool", lambda path, start=0: read.append(start) or real(path, start))
    said: list[str] = []
    train(run, 1, 10)
    size = (run.spool / "attempt-0001.jsonl").stat().st_size
    sleep = passes(lambda: train(run, 11, 20), lambda: None, lambda: train(run, 18, 25, end="finished"))
    with pytest.raises(Interrupted):
        follow(run.root, database_uri, 1.0, whole_first=False, say=said.append, delivered=count(said), sleep=sleep)
    assert_once(database_uri, run, 25)
    assert said == ["20 points", "20 points", "10 points"]
    second = (run.spool / "attempt-0002.jsonl").stat().st_size
    # Its parent is not in the store, so the run is looked at in every pass; from where it was read before.
    assert read == [0, size, 0, size, second, size, second, 0]


def test_an_absent_store_is_named_once_and_comes_back(
    run: RunDirectory, database_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    places = iter([f"http://127.0.0.1:{free_port()}"] * 3 + [database_uri])

    def somewhere(root: object, _uri: str, **named: object) -> object:
        return sync_all(root, next(places), **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "sync_all", somewhere)
    train(run, 1, 5)
    with pytest.raises(Interrupted):
        follow(
            run.root,
            "",
            1.0,
            whole_first=True,
            say=said.append,
            delivered=count(said),
            sleep=passes(*[lambda: None] * 3),
        )
    assert said == [
        "warning: the tracking store does not answer; everything stays in the spool",
        "the tracking store takes everything again",
        "10 points",
    ]


def test_another_sync_is_waited_for(run: RunDirectory, database_uri: str) -> None:
    train(run, 1, 5)
    said: list[str] = []
    held = exclusive(run.root / LOCK, what="the sync", why="test")
    held.__enter__()
    with pytest.raises(Interrupted):
        follow(
            run.root,
            database_uri,
            1.0,
            whole_first=True,
            say=said.append,
            delivered=count(said),
            sleep=passes(lambda: held.__exit__(None, None, None)),
        )
    assert "in use by process" in said[0]
    assert said[1:] == ["the tracking store takes everything again", "10 points"]
