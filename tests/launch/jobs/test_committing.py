"""Commits of several jobs at once: one at a time, each proved, none lost, and nobody waits for a dead process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from dvc_data.hashfile import hash as reading

from tests.launch.jobs.toy_work import DvcHere, make_repository
from trackyard.errors import TrackyardError
from trackyard.launch.jobs import committing
from trackyard.launch.jobs.committing import changes, commit
from trackyard.launch.jobs.inputs import inputs_now
from trackyard.launch.jobs.turn import LOCK, turn
from trackyard.leased import leased, link_of
from trackyard.runner import Finished

STAGES = ("a", "b", "c", "d")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "repository", STAGES)


def _make(root: Path, stage: str) -> None:
    subprocess.run([sys.executable, "stage.py", "run", "toy", stage], cwd=root, check=True)


def test_four_processes_commit_four_stages_and_the_lock_file_holds_all(root: Path) -> None:
    """Real programs: each waits for its turn, and `dvc commit` is a process of its own."""
    for stage in STAGES:
        _make(root, stage)
    script = (
        "import sys; from pathlib import Path; from trackyard.launch.jobs.committing import commit; "
        "from trackyard.launch.jobs.inputs import inputs_now; "
        "root = Path.cwd(); commit(root, sys.argv[1], inputs_now(root, sys.argv[1]))"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, stage], cwd=root) for stage in STAGES]
    assert [process.wait(timeout=300) for process in running] == [0] * len(STAGES)
    recorded = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    assert sorted(recorded) == list(STAGES)
    assert [changes(root, stage) for stage in STAGES] == [[]] * len(STAGES)


def test_an_output_that_is_missing_is_a_failure_and_records_nothing(root: Path) -> None:
    class Refusing(DvcHere):
        def run(self, argv, **options):  # type: ignore[no-untyped-def]
            return Finished(argv=tuple(argv), exit_code=1, stdout="", stderr="output 'out/a' does not exist", seconds=0)

    with pytest.raises(TrackyardError, match="output 'out/a' does not exist"):
        commit(root, "a", inputs_now(root, "a"), runner=Refusing())
    assert not (root / "dvc.lock").exists()


def test_a_commit_that_records_nothing_is_noticed(root: Path) -> None:
    class Silent(DvcHere):
        def run(self, argv, **options):  # type: ignore[no-untyped-def]
            return Finished(argv=tuple(argv), exit_code=0, stdout="", stderr="", seconds=0)

    _make(root, "a")
    with pytest.raises(TrackyardError, match="a is not up to date after its commit"):
        commit(root, "a", inputs_now(root, "a"), runner=Silent())


def test_a_change_while_it_waits_for_its_turn_is_refused_and_records_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_from = inputs_now(root, "a")
    _make(root, "a")

    @contextmanager
    def late(_: Path) -> Iterator[None]:
        (root / "data").write_text("other")
        yield

    monkeypatch.setattr(committing, "turn", late)
    runner = DvcHere()
    with pytest.raises(TrackyardError, match="inputs of a changed since it began: data"):
        commit(root, "a", made_from, runner=runner)
    assert runner.commits == []


def test_a_change_at_the_moment_of_the_commit_is_seen_in_what_was_recorded(root: Path) -> None:
    class Meddled(DvcHere):
        def run(self, argv, **options):  # type: ignore[no-untyped-def]
            (root / "data").write_text("other")
            return super().run(argv, **options)

    made_from = inputs_now(root, "a")
    _make(root, "a")
    with pytest.raises(TrackyardError, match="a was recorded as made from what it was not: data changed") as raised:
        commit(root, "a", made_from, runner=Meddled())
    assert changes(root, "a") == [], "DVC takes it as up to date, so it must be forced"
    assert raised.value.fix == "`trackyard submit --force a`"


def test_no_file_is_read_while_others_wait_for_their_turn(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _make(root, "a")
    read: list[tuple[str, bool]] = []
    real = reading._hash_file

    def hash_file(path: str, *others: object, **options: object) -> object:
        read.append((Path(path).name, link_of(root / LOCK).exists()))
        return real(path, *others, **options)

    monkeypatch.setattr(reading, "_hash_file", hash_file)
    commit(root, "a", inputs_now(root, "a"), runner=DvcHere())
    assert sorted(read) == [("a", False), ("data", False)]


def test_files_that_another_dvc_holds_are_waited_for(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "_ASK_S", 0.0)

    class Busy(DvcHere):
        left = 2

        def run(self, argv, **options):  # type: ignore[no-untyped-def]
            if self.left:
                self.left -= 1
                said = "ERROR: 'out/a' is busy, it is being blocked by: (PID 1)"
                return Finished(argv=tuple(argv), exit_code=255, stdout="", stderr=said, seconds=0)
            return super().run(argv, **options)

    _make(root, "a")
    runner = Busy()
    commit(root, "a", inputs_now(root, "a"), runner=runner)
    assert runner.commits == ["a"]


def test_the_turn_names_who_has_it(tmp_path: Path) -> None:
    (tmp_path / LOCK).parent.mkdir(parents=True)
    holder = os.fork()
    if holder == 0:
        try:
            with leased(tmp_path / LOCK):
                (tmp_path / "held").touch()
                signal.pause()
        finally:
            os._exit(0)
    while not (tmp_path / "held").exists():
        assert os.waitpid(holder, os.WNOHANG) == (0, 0)
    try:
        with pytest.raises(TrackyardError, match=rf"held by process {holder} on "), turn(tmp_path, wait_s=0.0):
            pytest.fail("two have the turn")
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
    with turn(tmp_path, wait_s=0.0):
        """It died, and what it held is free."""
