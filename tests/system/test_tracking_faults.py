"""A tracking server that is down, slow, failing or full costs no step time, no late start and no point (F22)."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import sqlite3
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.system.mlflow_server import mlflow_server
from tests.system.noted_steps import HELD_STEP, STOCK_STEP
from tests.system.repository import COMMAND, NOWHERE, SOURCE, Repository, Running
from tests.system.slow_mlflow import SLOW_S, Mode, SlowMlflow, slow_mlflow
from trackyard.record.rundir import open_existing, open_or_create
from trackyard.record.tracking.sync import sync_all

pytestmark = pytest.mark.system

STEPS = 30
MORE_CPU = 1.05
"""Of a step, at most."""
LATER_S = 5.0
"""That a start may come later."""
END_S = 20.0
"""That delivery at the end of a stage may be waited for: its budget of 15 s, and what is under way after that."""
ROUNDS = 4
"""Of trainings, with and without a fault, before one counts as hurt. What others do with cores and disk can only make a
step dearer and a wait longer, so that of all rounds the least counts; what tracking costs is in every one."""

Point = tuple[str, int, int, float]
"""Key, step, milliseconds since 1970, value."""


@dataclass(frozen=True, kw_only=True)
class Noted:
    """What a training noted about itself, see `tests.system.noted_steps`."""

    began: dict[str, Any]
    steps: list[dict[str, Any]]
    ended: dict[str, Any]
    connections: list[dict[str, Any]]
    err: str

    @property
    def start_waited_s(self) -> float:
        """Seconds of waiting before the first step was done; what others make of the cores is none of it."""
        return float(self.steps[0]["waited_s"] - self.began["waited_s"])

    @property
    def end_waited_s(self) -> float:
        """Seconds of waiting after the last step."""
        return float(self.ended["waited_s"] - self.steps[-1]["waited_s"])

    def per_step(self, what: Literal["cpu_s", "at"]) -> list[float]:
        """Seconds, of CPU or of wall time, of each step but the first two, which compile and allocate."""
        return [after[what] - before[what] for before, after in itertools.pairwise(self.steps[1:])]

    def beside_model(self) -> list[float]:
        """CPU seconds of each of these steps that went elsewhere than into the model, in whatever thread.

        What a model takes is the same with and without a server, but cores that others use make it dearer by more than
        tracking may cost. The rest of a step is small, and so is what it varies by.
        """
        return [cpu - step["model_s"] for cpu, step in zip(self.per_step("cpu_s"), self.steps[2:], strict=True)]

    def while_training(self) -> list[dict[str, Any]]:
        """Connections of this process before its last step was done."""
        return [event for event in self.connections if event["at"] <= self.steps[-1]["at"]]


@dataclass(frozen=True, kw_only=True)
class Training:
    """A training under way, and its notes so far."""

    running: Running
    notes: Path

    def taken(self, steps: int) -> None:
        """Wait until so many steps are done."""
        self.running.wait_for(lambda: self._events("step")[steps - 1 :], f"step {steps}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """What the block does happens in mid-run, while no step is taken."""
        self.taken(HELD_STEP)
        yield
        hold_of(self.notes).unlink()

    def end(self) -> Noted:
        ended = self.running.end()
        assert ended.code == 0, ended
        (began,), (last,) = self._events("began"), self._events("ended")
        return Noted(
            began=began, steps=self._events("step"), ended=last, connections=self._events("connect"),
            err=ended.err,
        )  # fmt: skip

    def _events(self, kind: str) -> list[dict[str, Any]]:
        lines = self.notes.read_bytes().split(b"\n")[:-1] if self.notes.exists() else []
        return [event for event in map(json.loads, lines) if event["event"] == kind]


def hold_of(notes: Path) -> Path:
    """While it exists, no step follows `HELD_STEP`."""
    return notes.with_name(f"{notes.name}.hold")


def _train(
    repository: Repository,
    uri: str,
    *,
    during: Callable[[Training], None] | None = None,
    stock: str = "",
    every_s: int = 1,
) -> Noted:
    """Stage 1. during: what happens to the server meanwhile; it uses `Training.held`. every_s: how often points are
    delivered while it trains, 0 for not at all."""
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": path, "MLFLOW_TRACKING_URI": uri, "TRACKYARD_SYNC_SECONDS": str(every_s)}
    notes = repository.path / "notes.jsonl"
    if during is not None:
        hold_of(notes).touch()
    argv = [sys.executable, "-m", "tests.system.noted_steps", str(notes), stock, "run", "molmo2", "stage1"]
    running = Running(repository.within(**environment), argv)
    try:
        training = Training(running=running, notes=notes)
        if during is not None:
            during(training)
        return training.end()
    finally:
        running.kill()


def _spooled(repository: Repository) -> set[Point]:
    """What is to arrive: of each key and step of a run the point that was spooled first."""
    found: dict[tuple[str, int], Point] = {}
    for path in sorted(repository.run_directory("stage1").glob("spool/attempt-*.jsonl")):
        for event in map(json.loads, path.read_text().splitlines()):
            if event["event"] == "metrics":
                for key, value in event["values"].items():
                    found.setdefault((key, event["step"]), (key, event["step"], event["timestamp"], value))
    return set(found.values())


def _stored(database: Path, run_id: str) -> Counter[Point]:
    """Points of the run and of its children (attempts) that are not deleted, by how many of each there are."""
    query = """
        SELECT m.key, m.step, m.timestamp, m.value FROM metrics m JOIN runs r ON r.run_uuid = m.run_uuid
        WHERE r.lifecycle_stage = 'active' AND m.run_uuid IN (
            SELECT run_uuid FROM tags WHERE key = 'trackyard.run_id' AND value = :run
            UNION SELECT child.run_uuid FROM tags child JOIN tags parent ON child.value = parent.run_uuid
            WHERE child.key = 'mlflow.parentRunId' AND parent.key = 'trackyard.run_id' AND parent.value = :run)
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return Counter(connection.execute(query, {"run": run_id}).fetchall())


def _assert_all_once_through(server: SlowMlflow, repository: Repository, database: Path) -> None:
    """The same, with the server that was bad."""
    server.mode = "good"
    if not server.listening:
        server.back()
    _assert_all_once(repository, database, server.uri)


def _assert_all_once(repository: Repository, database: Path, uri: str) -> None:
    """After two syncs with a good server every point is there, and none a second time."""
    for _ in range(2):
        assert [report.warning for report in sync_all(repository.path / "runs", uri)] == [None]
    expected, stored = _spooled(repository), _stored(database, repository.run_directory("stage1").name)
    assert len(expected) > 10 * STEPS
    assert expected - set(stored) == set(), "lost"
    assert set(stored) - expected == set(), "never spooled"
    # What measures the machine belongs to an attempt, and may be shown in its run as well.
    twice = {point for point, times in stored.items() if times > 1 and not point[0].startswith("system/")}
    assert twice == set(), "doubled"


@dataclass(frozen=True, kw_only=True)
class Store:
    """A good server and the file that it keeps its runs in."""

    uri: str
    database: Path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    database = tmp_path_factory.mktemp("store") / "mlflow.db"
    with mlflow_server(database) as uri:
        yield Store(uri=uri, database=database)


@pytest.fixture(scope="module")
def one_server(store: Store) -> Iterator[SlowMlflow]:
    with slow_mlflow(store.uri) as server:
        yield server


@pytest.fixture
def faults(one_server: SlowMlflow) -> SlowMlflow:
    """A good server, which a test makes a bad one.

    One address for all: MLflow's client remembers for the life of a process where the artifacts of a run went.
    """
    one_server.mode = "good"
    one_server.asked.clear()
    if not one_server.listening:
        one_server.back()
    return one_server


class Roots:
    """Repositories whose stage 1 takes the same steps, each in a run of its own."""

    def __init__(self, bare: Repository, folder: Path) -> None:
        self._bare, self._folder, self._made = bare, folder, 0

    def another(self) -> Repository:
        self._made += 1
        repository = self._bare.copy(self._folder / f"root{self._made}")
        repository.edit(lambda values: values["stage1"].update(steps=STEPS, save_every=5))
        # The commit is part of a run's identity, and no part of what is computed.
        return repository.within(TRACKYARD_COMMIT=f"{self._made:040x}")


@pytest.fixture(scope="module")
def roots(bare: Repository, tmp_path_factory: pytest.TempPathFactory) -> Roots:
    return Roots(bare, tmp_path_factory.mktemp("roots"))


@dataclass(frozen=True, kw_only=True)
class Untracked:
    """A run that nobody followed and that had no server from its start to its end."""

    repository: Repository
    noted: Noted


@pytest.fixture(scope="module")
def untracked(roots: Roots) -> Untracked:
    return _untracked(roots)


def _untracked(roots: Roots) -> Untracked:
    repository = roots.another()
    return Untracked(repository=repository, noted=_train(repository, NOWHERE, every_s=0))


@dataclass(frozen=True, kw_only=True)
class Hurt:
    """What a training had beside one without a server. cpu, wall: of a step, the ratio; seconds are a difference.

    cpu: by what was spent beside the model, see `Noted.beside_model`.
    """

    cpu: float
    wall: float
    start_later_s: float
    end_longer_s: float


def _hurt(found: Sequence[Noted], bases: Sequence[Noted]) -> Hurt:
    """Of as many trainings as there are others without a server."""

    def least(steps: Iterable[Sequence[float]]) -> list[float]:
        return [min(step) for step in zip(*steps, strict=True)]

    # The same steps in the same order: each is compared with itself.
    whole = least(base.per_step("cpu_s") for base in bases)
    more = zip(least(one.beside_model() for one in found), least(base.beside_model() for base in bases), strict=True)
    wall = zip(least(one.per_step("at") for one in found), least(base.per_step("at") for base in bases), strict=True)
    return Hurt(
        cpu=1 + statistics.median((one - other) / step for (one, other), step in zip(more, whole, strict=True)),
        wall=statistics.median(one / other for one, other in wall),
        start_later_s=min(one.start_waited_s for one in found) - min(one.start_waited_s for one in bases),
        end_longer_s=min(one.end_waited_s for one in found) - min(one.end_waited_s for one in bases),
    )


def _unhurt(
    untracked: Untracked,
    roots: Roots,
    train: Callable[[Repository], Noted],
    say: Callable[[str, object], None],
    end_s: float = END_S,
) -> tuple[Repository, Noted]:
    """Train, and prove that nothing was connected to, no step cost more, and neither start nor end came late.

    end_s: by how much the end may come later.
    """
    bases, found = list[Noted](), list[Noted]()
    for number in range(ROUNDS):
        bases.append((_untracked(roots) if number else untracked).noted)
        repository = roots.another()
        found.append(train(repository))
        assert len(found[-1].steps) == STEPS
        assert found[-1].while_training() == []
        hurt = _hurt(found, bases)
        print(hurt)
        if hurt.cpu <= MORE_CPU and hurt.start_later_s <= LATER_S and hurt.end_longer_s <= end_s:
            break
    for name, value in dataclasses.asdict(hurt).items():
        say(name, round(value, 3))
    assert hurt.cpu <= MORE_CPU
    assert hurt.start_later_s <= LATER_S
    assert hurt.end_longer_s <= end_s
    return repository, found[-1]


def test_never_there(
    untracked: Untracked, roots: Roots, store: Store, faults: SlowMlflow, record_property: Any
) -> None:
    train = partial(_train, uri=NOWHERE)
    repository, noted = _unhurt(untracked, roots, train, record_property, end_s=LATER_S)
    assert "stay in the run's spool" in noted.err
    _assert_all_once_through(faults, repository, store.database)


def test_down_at_start_then_back(
    untracked: Untracked, roots: Roots, store: Store, faults: SlowMlflow, record_property: Any
) -> None:
    def back(training: Training) -> None:
        with training.held():
            faults.back()

    def train(repository: Repository) -> Noted:
        if faults.listening:
            faults.gone()
        return _train(repository, faults.uri, during=back)

    repository, _ = _unhurt(untracked, roots, train, record_property)
    # Delivered when the stage ended, without anyone's doing.
    assert _spooled(repository) == set(_stored(store.database, repository.run_directory("stage1").name))
    _assert_all_once_through(faults, repository, store.database)


def test_away_in_mid_run_and_never_back(
    untracked: Untracked, roots: Roots, store: Store, faults: SlowMlflow, record_property: Any
) -> None:
    def train(repository: Repository) -> Noted:
        def away(training: Training) -> None:
            with training.held():
                run_id = repository.run_directory("stage1").name
                training.running.wait_for(lambda: _stored(store.database, run_id), "delivery while it trains")
                faults.gone()

        if not faults.listening:
            faults.back()
        return _train(repository, faults.uri, during=away)

    repository, _ = _unhurt(untracked, roots, train, record_property)
    arrived = sum(_stored(store.database, repository.run_directory("stage1").name).values())
    assert 0 < arrived < len(_spooled(repository)) / 2, "the server did not go away in mid-run"
    _assert_all_once_through(faults, repository, store.database)


def test_every_answer_takes_ten_seconds(
    untracked: Untracked, roots: Roots, store: Store, faults: SlowMlflow, record_property: Any
) -> None:
    faults.mode = "slow"
    repository, _ = _unhurt(untracked, roots, partial(_train, uri=faults.uri), record_property)
    assert faults.asked["slow"] > 0
    _assert_all_once_through(faults, repository, store.database)


def test_stock_calls_in_the_loop_are_noticed(
    untracked: Untracked, roots: Roots, faults: SlowMlflow, record_property: Any
) -> None:
    """The negative control: what these tests measure does grow where a trainer calls MLflow itself."""

    def slow(training: Training) -> None:
        with training.held():
            faults.mode = "slow"
        training.taken(STOCK_STEP)
        faults.mode = "good"

    def train(repository: Repository) -> Noted:
        noted.append(_train(repository, faults.uri, during=slow, stock=faults.uri))
        return noted[-1]

    noted: list[Noted] = []
    with pytest.raises(AssertionError, match="connect"):
        _unhurt(untracked, roots, train, record_property)
    before, stock = noted[0].steps[STOCK_STEP - 2 : STOCK_STEP]
    waited = stock["at"] - before["at"]
    record_property("stock_step_s", round(waited, 1))
    assert waited > SLOW_S


def _noted(model_s: float, beside_s: float) -> Noted:
    """A training whose steps took so many CPU seconds each."""
    ends = [number * (model_s + beside_s) for number in range(STEPS)]
    steps = [{"cpu_s": end, "at": end, "waited_s": 1.0, "model_s": model_s} for end in ends]
    return Noted(began={"waited_s": 0.0}, steps=steps, ended={"waited_s": 2.0}, connections=[], err="")


def test_what_tracking_costs_is_told_apart_from_a_busy_machine() -> None:
    """A control of the measure: 6 percent of a step in any thread are seen, cores shared with others are not."""
    base = _noted(0.1, 0.01)
    assert _hurt([_noted(0.1, 0.01 + 0.06 * 0.11)], [base]).cpu == pytest.approx(1.06)
    assert _hurt([_noted(0.13, 0.01)], [base]).cpu == pytest.approx(1.0)


def _same_points(untracked: Untracked, root: Path, seed: int) -> Repository:
    """A run that is another one by its seed and spooled the same."""
    run = open_existing(untracked.repository.run_directory("stage1"))
    other = open_or_create(root / "runs", dataclasses.replace(run.spec, seed=seed))
    shutil.copytree(run.spool, other.spool, dirs_exist_ok=True, ignore=shutil.ignore_patterns("synced.json"))
    (root / "params.yaml").write_text("{}\n")
    return Repository(path=root)


@pytest.mark.parametrize("mode", ["500", "429", "lost"])
def test_failing_answers(untracked: Untracked, store: Store, faults: SlowMlflow, mode: Mode, tmp_path: Path) -> None:
    """Of a server that does not do what it is asked, or does it and cannot say so."""
    repository = _same_points(untracked, tmp_path, seed=1000 + len(mode) + ord(mode[0]))
    faults.mode = mode
    for _ in range(2):
        (report,) = sync_all(repository.path / "runs", faults.uri)
        assert report.unreachable, report
    assert faults.asked[mode] > 1
    _assert_all_once_through(faults, repository, store.database)


def test_a_full_database(untracked: Untracked, tmp_path: Path) -> None:
    """Of one person, on a disk without room: what fits is kept, the rest follows when there is room."""
    from mlflow import MlflowClient

    repository = _same_points(untracked, tmp_path, seed=1)
    database = tmp_path / "mlflow.db"
    MlflowClient(f"sqlite:///{database}").search_experiments()  # makes the tables
    full = repository.within(MLFLOW_TRACKING_URI=f"sqlite:///{database}")
    size = database.stat().st_size
    running = Running(full, ["prlimit", f"--fsize={size + 4096}", COMMAND, "record", "sync"])
    ended = running.end()
    assert ended.code == 1, ended
    assert "stay in the run's spool" in ended.err
    _assert_all_once(repository, database, f"sqlite:///{database}")


def test_the_comparison_finds_lost_and_doubled_points(untracked: Untracked, tmp_path: Path) -> None:
    """A control of the control: one point less, or one a second time at another moment, is told."""
    repository = _same_points(untracked, tmp_path, seed=1)
    database = tmp_path / "mlflow.db"
    uri = f"sqlite:///{database}"
    sync_all(repository.path / "runs", uri)
    _assert_all_once(repository, database, uri)
    for change, told in (
        ("UPDATE metrics SET timestamp = timestamp + 1 WHERE key = 'train/loss' AND step = 3", "lost"),
        ("INSERT INTO metrics SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics "
         "WHERE key = 'train/loss' AND step = 4", "never spooled"),
    ):  # fmt: skip
        broken = tmp_path / f"{told}.db"
        shutil.copyfile(database, broken)
        with closing(sqlite3.connect(broken)) as connection:
            connection.execute(change)
            connection.commit()
        with pytest.raises(AssertionError, match=told):
            _assert_all_once(repository, broken, f"sqlite:///{broken}")
