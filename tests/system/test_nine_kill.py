"""The accuracy stage, killed with -9 at random moments and run again, ends with the bytes of one that was not."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.recipes.nine.tiny_nine import files, silent, study_at, tiny_study
from tests.system.forked import Fork, Forks
from tests.system.repository import Repository, Running
from trackyard.recipes.nine.data import data
from trackyard.recipes.nine.study import Study
from trackyard.recipes.nine.sweeping.accuracy import store_root
from trackyard.recipes.nine.sweeping.planning import sweep

pytestmark = pytest.mark.system

COMMAND = ("run", "nine", "accuracy")
KILLS, EARLY = 10, 3
"""EARLY of them come at any moment of a start, the others after some answers that were not there before."""
LONGER = {
    "data.fixture": {"seed": 0, "evaluated": 24},
    "knobs.experts": [2, 3],
    "accuracy.batch": 2,
    "accuracy.chunk": 2,
}
"""Eight configurations of 48 questions, a pair of which is put on disk at a time."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    started = Forks()
    yield started
    started.close()


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    root = tmp_path_factory.mktemp("planned") / "root"
    study = tiny_study(root, LONGER)
    data(study, silent)
    sweep(study, silent)
    return Repository(path=root)


def starter(forks: Forks) -> Callable[[Sequence[str], Path, Mapping[str, str], Path, Path], Fork]:
    def start(argv: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> Fork:
        order = {"folder": str(folder), "out": str(out), "err": str(err)}
        arguments = {"argv": list(argv), "environment": dict(environment), "faults": []}
        return Fork(forks, forks.ask(order | arguments))

    return start


def answered(study: Study) -> int:
    """Bytes of answers on disk."""
    return sum(path.stat().st_size for path in store_root(study).rglob("part-*"))


def more_than(study: Study, least: float) -> Callable[[], bool]:
    return lambda: answered(study) > least


def finished(root: Path) -> dict[str, bytes]:
    study = study_at(root, LONGER)
    found = files(study.artifacts / "accuracy", ("samples.jsonl", "config.json"))
    assert len(found) == 2 * 2 * 8
    return found


def test_ten_kills(forks: Forks, planned: Repository, tmp_path: Path) -> None:
    whole, killed = (planned.copy(tmp_path / name) for name in ("whole", "killed"))
    started = time.monotonic()
    ended = Running(whole, COMMAND, starter(forks)).end()
    assert ended.code == 0, ended
    lasted = time.monotonic() - started

    every = answered(study_at(whole.path, LONGER))
    study, chance, reached = study_at(killed.path, LONGER), random.Random(8), [0]
    for number in range(KILLS):
        before = answered(study)
        running = Running(killed, COMMAND, starter(forks))
        try:
            if number < EARLY:
                time.sleep(chance.uniform(0.0, lasted / 5))
            else:
                running.wait_for(more_than(study, before + chance.uniform(0.0, every / (2 * KILLS))), "another answer")
        finally:
            running.kill()
        assert running.process.returncode == -signal.SIGKILL, running.end()
        assert not study.document("accuracy").exists()
        reached.append(answered(study))
    # The kills met a run that moved on, not one that began anew each time, and none that was over.
    assert reached == sorted(reached)
    assert len(set(reached)) > KILLS - EARLY

    ended = Running(killed, COMMAND, starter(forks)).end()
    assert ended.code == 0, ended
    assert finished(killed.path) == finished(whole.path)
    kept = sum(data.count(b"\n") for path, data in finished(killed.path).items() if path.endswith("samples.jsonl"))
    lines = sum(path.read_bytes().count(b"\n") for path in store_root(study).rglob("part-*"))
    assert lines == kept, "an answer that was on disk was made again"


def test_a_part_that_is_killed_leaves_the_others_alone(forks: Forks, planned: Repository, tmp_path: Path) -> None:
    """Two machines at once; one is killed, and the run that puts out makes up for it."""
    root = planned.copy(tmp_path / "root")
    study = study_at(root.path, LONGER)
    first, second = (Running(root, (*COMMAND, "--shard", part), starter(forks)) for part in ("0/2", "1/2"))
    try:
        first.wait_for(lambda: answered(study), "answer")
    finally:
        first.kill()
    assert second.end().code == 0
    ended = Running(root, COMMAND, starter(forks)).end()
    assert ended.code == 0, ended
    assert "complete" in ended.out


def test_a_stop_signal_ends_with_75_and_the_same_command_goes_on(
    forks: Forks, planned: Repository, tmp_path: Path
) -> None:
    root = planned.copy(tmp_path / "root")
    study = study_at(root.path, LONGER)
    running = Running(root, COMMAND, starter(forks))
    running.wait_for(lambda: answered(study), "answer")
    running.send(signal.SIGTERM)
    ended = running.end()
    assert ended.error(75, "StoppedEarly")["what"] == "stopped by SIGTERM"
    before = answered(study)
    assert before > 0
    again = Running(root, COMMAND, starter(forks)).end()
    assert again.code == 0, again
    assert answered(study) > before
