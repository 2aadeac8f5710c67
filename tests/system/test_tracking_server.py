"""The server for a group: three machines deliver to one PostgreSQL at once, and nothing is lost or doubled."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from checks.readme import readme_commands
from tests.processes import words_of
from tests.record.conftest import make_spec
from tests.system.group_server import DOWN_S, ROOT, SCRIPT, GroupServer, group_server, lacking, run, told
from tests.system.repository import LIMIT_S
from trackyard.launch.processes import free_port
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import Spool

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(lacking() is not None, reason=lacking() or ""),
    pytest.mark.usefixtures("no_one_else"),
]

NAME = "mlflow.example.org"
STEPS = 1500
KEYS = ("train/loss", "train/learning_rate", "usage/seconds_per_step")

Point = tuple[str, str, int, int, float]
"""Run id, key, step, milliseconds since 1970, value."""


@pytest.fixture(scope="module")
def no_one_else() -> Iterator[None]:
    """What this module started has ended with it."""
    yield
    left = [words_of(child) for child in psutil.Process().children(recursive=True)]
    assert not [words for words in left if any(str(SCRIPT) in word or "postgres" in word for word in words)]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where PostgreSQL's own user may pass: pytest's folders are for one user only."""
    path = Path(tempfile.mkdtemp(prefix="trackyard-group-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def commands(folder: Path) -> list[str]:
    """The commands of servers/README.md, in this test's folder, on free ports, with no more processes than it takes."""
    (folder / "backup").mkdir()
    replaced = {
        "/srv/": f"{folder}/",
        "--port 5000": f"--workers 2 --port {free_port()}",
        "--port 5001": f"--workers 1 --port {free_port()}",
    }
    found = []
    for command in readme_commands(ROOT / "servers" / "README.md"):
        for old, new in replaced.items():
            command = command.replace(old, new)
        found.append(command)
    assert len(found) == 7, "a command of the page is run by no test"
    return found


@pytest.fixture(scope="module")
def group(commands: list[str]) -> Iterator[GroupServer]:
    with group_server(shlex.split(commands[0])) as server:
        yield server


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A checkout with runs/, and the process that delivers them."""

    root: Path

    def train(self, user: str, track: str, seed: int, steps: int = STEPS) -> RunDirectory:
        """A run that spooled so many steps in two attempts, the second of which repeats some."""
        run = open_or_create(self.root / "runs", make_spec(track=track, seed=seed, parent=None))
        for first, last in ((1, steps // 2), (steps // 2 - 20, steps)):
            with Spool(run.spool, run.new_attempt()) as spool:
                spool.tag("mlflow.user", user)
                for step in range(first, last + 1):
                    spool.metrics({key: (step + seed) / (7 + place) for place, key in enumerate(KEYS)}, step)
                spool.status("finished")
        return run

    def sync(self, uri: str) -> subprocess.Popen[bytes]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        number = len(list(self.root.glob("sync-*")))
        with open(self.root / f"sync-{number}.txt", "wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "trackyard", "record", "sync"],
                cwd=self.root, env=plain | {"MLFLOW_TRACKING_URI": uri}, stdout=out, stderr=out,
            )  # fmt: skip

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.root.glob("sync-*")))


@pytest.fixture(scope="module")
def machines(folder: Path) -> list[Machine]:
    made = []
    for name in ("login1", "login2", "laptop"):
        (folder / name).mkdir()
        (folder / name / "params.yaml").write_text("{}\n")
        made.append(Machine(root=folder / name))
    return made


def _spooled(machines: list[Machine]) -> set[Point]:
    """Of each run, key and step the point that was spooled first, on whatever machine."""
    found: dict[tuple[str, str, int], Point] = {}
    for machine in machines:
        for path in sorted(machine.root.glob("runs/*/*/*/spool/attempt-*.jsonl")):
            run_id = path.parents[1].name
            for event in map(json.loads, path.read_text().splitlines()):
                if event["event"] == "metrics":
                    for key, value in event["values"].items():
                        point = (run_id, key, event["step"], event["timestamp"], value)
                        found.setdefault(point[:3], point)
    return set(found.values())


def _stored(server: GroupServer) -> Counter[Point]:
    return Counter(
        server.query(
            "SELECT t.value, m.key, m.step, m.timestamp, m.value FROM metrics m "
            "JOIN runs r ON r.run_uuid = m.run_uuid AND r.lifecycle_stage = 'active' "
            "JOIN tags t ON t.run_uuid = m.run_uuid AND t.key = 'trackyard.run_id'"
        )
    )


def test_three_machines_at_once(group: GroupServer, machines: list[Machine]) -> None:
    """Two users, three processes, one run on two machines (one of them an older copy), and one process killed."""
    one, two, three = machines
    shared = one.train("anna", "molmo2", seed=1)
    one.train("anna", "datacomp", seed=2)
    two.train("ben", "molmo2", seed=3)
    two.train("ben", "pile_ffn", seed=4)
    three.train("ben", "pile_ffn", seed=5)
    three.train("anna", "datacomp", seed=6)
    copy = two.root / shared.path.relative_to(one.root)
    shutil.copytree(shared.path, copy)
    # The copy was made before the second attempt.
    (copy / "spool" / "attempt-0002.jsonl").unlink()

    began = time.monotonic()
    under_way = [machine.sync(group.uri) for machine in machines]
    ours = [path.name for path in three.root.glob("runs/*/*/*")]
    arriving = (
        "SELECT count(*) FROM metrics m JOIN tags t ON t.run_uuid = m.run_uuid "
        "WHERE t.key = 'trackyard.run_id' AND t.value = ANY(%s)"
    )
    while group.query(arriving, ours) == [(0,)]:
        assert under_way[2].poll() is None, three.said()
        time.sleep(0.02)
    under_way[2].kill()
    under_way[2].wait()
    assert 0 < group.query(arriving, ours)[0][0] < 2 * STEPS * len(KEYS), "the kill came before or after all points"
    codes = [process.wait(LIMIT_S) for process in under_way[:2]]
    assert codes == [0, 0], one.said() + two.said()
    seconds = time.monotonic() - began
    again = [machine.sync(group.uri) for machine in machines]
    assert [process.wait(LIMIT_S) for process in again] == [0, 0, 0], "\n".join(machine.said() for machine in machines)

    expected, stored = _spooled(machines), _stored(group)
    assert len(expected) == 6 * STEPS * len(KEYS)
    assert expected - set(stored) == set(), "lost"
    assert set(stored) - expected == set(), "never spooled"
    assert [point for point, times in stored.items() if times > 1] == [], "doubled"
    print(f"{len(stored)} points in {seconds:.1f} s, MLflow's import and the creation of runs with them")

    tracks = group.query("SELECT name, count(*) FROM experiments WHERE name <> 'Default' GROUP BY name ORDER BY name")
    assert tracks == [("datacomp", 1), ("molmo2", 1), ("pile_ffn", 1)]
    users = group.query(
        "SELECT t.value, u.value FROM tags t JOIN runs r ON r.run_uuid = t.run_uuid AND r.lifecycle_stage = 'active' "
        "JOIN tags u ON u.run_uuid = t.run_uuid AND u.key = 'mlflow.user' WHERE t.key = 'trackyard.run_id'"
    )
    assert len(users) == 6, "one MLflow run for each run"
    assert Counter(user for _, user in users) == {"anna": 3, "ben": 3}
    assert dict(users)[shared.spec.run_id] == "anna"


def test_a_second_start_prints_the_same_line(group: GroupServer, commands: list[str]) -> None:
    assert group.out.read_text() == f"export MLFLOW_TRACKING_URI=http://{NAME}:{group.port}\n"
    before = {program.pid for program in group.programs()}
    again = run(commands[0])
    assert (again.returncode, again.stdout, again.stderr) == (0, group.out.read_text(), "")
    assert {program.pid for program in group.programs()} >= {pid for pid in before if psutil.pid_exists(pid)}


def test_nobody_else_gets_in(group: GroupServer) -> None:
    """No TCP port but MLflow's, on this machine only; no other name; a folder for its user alone."""
    listening, users = set(), set()
    for program in [psutil.Process(group.process.pid), *group.programs()]:
        # A connection of PostgreSQL is a process of its own, and ends at any time.
        with suppress(psutil.NoSuchProcess):
            listening |= {
                (item.laddr.ip, item.laddr.port)
                for item in program.net_connections("tcp")
                if item.status == psutil.CONN_LISTEN
            }
            users |= {program.uids().effective} if program.name() == "postgres" else set()
    assert listening == {("127.0.0.1", group.port)}
    assert len(users) == 1
    assert 0 not in users
    assert [(group.data / name).stat().st_mode & 0o777 for name in ("postgres", "socket", "artifacts", "log")] == [
        0o700
    ] * 4
    assert (group.data / "postgres" / "pg_hba.conf").read_text() == "local all all peer map=server\n"
    for name, code in ((NAME, 200), (f"{NAME}:{group.port}", 200), ("evil.example.org", 403)):
        request = urllib.request.Request(f"{group.uri}/api/2.0/mlflow/experiments/search?max_results=1")
        request.add_header("Host", name)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                got = answer.status
        except urllib.error.HTTPError as error:
            got = error.code
        assert got == code, name


def test_backup_restore_kill_and_upgrade(group: GroupServer, commands: list[str], machines: list[Machine]) -> None:
    """The recipes of the page, in order; the restored server is killed, starts again, and is upgraded."""
    _, dump, archive, start, restore, extract, upgrade = commands
    for command in (dump, archive):
        done = run(command)
        assert done.returncode == 0, done
    with group_server(shlex.split(start)) as restored:
        for command in (restore, extract):
            done = run(command)
            assert done.returncode == 0, done
        assert _stored(restored) == _stored(group)
        assert len(_stored(restored)) > 0
        names = [path.name for path in (restored.data / "artifacts").rglob("spec.json")]
        assert len(names) == len(list((group.data / "artifacts").rglob("spec.json"))) > 0
        # It is a server like any other: what it has already does not arrive again.
        process = machines[0].sync(restored.uri)
        assert process.wait(LIMIT_S) == 0, machines[0].said()
        assert _stored(restored) == _stored(group)
        assert restored.stop(signal.SIGKILL) == -signal.SIGKILL
    done = run(upgrade.replace(str(group.data), str(restored.data)))
    assert done.returncode == 0, done
    assert done.stdout.startswith("the database has the schema of MLflow 3.")
    assert "database system is shut down" in (restored.data / "log" / "postgres.log").read_text()[-400:]
    # While a server runs, its tables are left alone.
    refused = run(upgrade)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"what: the server of {group.data} is running\n")


def test_tables_of_an_older_mlflow(folder: Path) -> None:
    """`--upgrade` takes a database from the schema before the last change to the present one."""
    uri = f"sqlite:///{folder / 'older.db'}"
    done = subprocess.run(
        [sys.executable, "-c", OLDER, uri], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    before, newest = done.stdout.split()
    assert _schema(folder / "older.db") == before != newest
    upgraded = subprocess.run(
        [str(SCRIPT), "--data", str(folder / "older"), "--store-from-environment", "--upgrade"],
        env=os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}, capture_output=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert upgraded.returncode == 0, upgraded
    assert _schema(folder / "older.db") == newest


OLDER = """
import sys, sqlalchemy
from alembic import command
from alembic.script import ScriptDirectory
from mlflow.store.db.utils import _get_alembic_config
from mlflow.store.tracking.dbmodels.initial_models import Base
configuration = _get_alembic_config(sys.argv[1])
newest = ScriptDirectory.from_config(configuration).get_revision("head")
Base.metadata.create_all(sqlalchemy.create_engine(sys.argv[1]))
command.upgrade(configuration, newest.down_revision)
print(newest.down_revision, newest.revision)
"""
"""Makes a database as an older MLflow would have left it, with MLflow's own migrations."""


def _schema(database: Path) -> str:
    with closing(sqlite3.connect(database)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_a_password_is_in_no_argument_and_no_log(folder: Path) -> None:
    data, password = folder / "secret", "canary" + "7" * 12
    uri = f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{free_port()}/mlflow"
    argv = [str(SCRIPT), "--data", str(data), "--port", str(free_port()), "--store-from-environment"]
    with open(folder / "secret.txt", "wb") as out:
        process = subprocess.Popen(argv, env=os.environ | {"MLFLOW_BACKEND_STORE_URI": uri}, stdout=out, stderr=out)
    server = GroupServer(data=data, port=0, process=process, out=folder / "secret.txt")
    try:
        limit = time.monotonic() + LIMIT_S
        words: list[str] = []
        while "refused" not in told(server) and process.poll() is None and time.monotonic() < limit:
            words += [word for program in server.programs() for word in words_of(program)]
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            server.stop()
    assert "refused" in told(server), "the server did not try the database"
    assert "mlflow" in words
    assert password not in " ".join(words) + told(server)


def test_stopping(group: GroupServer, commands: list[str]) -> None:
    """Last: both end in order, and all is there at the next start; without its database MLflow ends too."""
    before = _stored(group)
    assert group.stop() == 0
    assert "database system is shut down" in (group.data / "log" / "postgres.log").read_text()[-400:]
    assert not (group.data / "postgres" / "postmaster.pid").exists()
    with group_server(shlex.split(commands[0].replace("--workers 2", "--workers 1"))) as again:
        assert _stored(again) == before
        database = (again.data / "postgres" / "postmaster.pid").read_text().splitlines()[0]
        others = again.programs()
        os.kill(int(database), signal.SIGINT)
        assert again.process.wait(DOWN_S) == 1
        assert psutil.wait_procs(others, timeout=DOWN_S)[1] == []
        assert "what: postgres (exit code 0) failed:" in again.out.read_text()
