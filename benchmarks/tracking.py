"""What tracking costs a training, and what is lost when the server goes away: our spool beside MLflow's own client.

    python -m benchmarks.tracking

Ten metrics per step against one `mlflow server` on SQLite, on this machine. First the time in the training thread per
logged step; then a server that is there, gone for ten seconds, and there again; then how fast points that waited are
delivered. Before anything is timed every contender's first steps are read back from the server and compared.
Source: performance spec B14.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Target, judge, write_record
from benchmarks.staying import serve
from benchmarks.tracking_peer import ANSWERED, METRICS, STEPS, answer, losing_loop, values_of
from benchmarks.turns import alternate
from trackyard.launch.processes import free_port

OURS = "trackyard"
MOST_MS = 0.05
"""Of the training thread, for a step."""
LEAST_POINTS = 10_000
"""Delivered per second."""
OWN_STEPS = 4000
"""Of one turn of ours."""
WAITING = 2000
"""Steps that wait for delivery in a turn, of ten points each."""
LOSING_STEPS = 20
"""With the server, without it, and with it again, each."""
UP_S = 60.0
"""Longest that the server may take to answer."""
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "3"}
"""Of MLflow's client while the server is away: with its defaults every call would wait for minutes."""


class Server:
    """`mlflow server` on a database of its own; the same place again after it was stopped."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}",
             "--artifacts-destination", str(self._folder / "artifacts"), "--host", "127.0.0.1",
             "--port", str(self._port), "--workers", "2"],
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        limit = time.monotonic() + UP_S
        while time.monotonic() < limit and self._process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=2).read()
                return
            except OSError:
                time.sleep(0.2)
        sys.exit(f"mlflow server ended, or did not answer within {UP_S:g} s; run it alone to see why")

    def stop(self) -> None:
        """End it, if it was started and has not ended."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(timeout=30)


@contextmanager
def serving() -> Iterator[Server]:
    with scratch() as folder:
        server = Server(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="tracking-") as folder:
        yield Path(folder)


def new_run(folder: Path, name: str) -> Any:
    """A run directory of ours."""
    from trackyard.record.code import CodeIdentity
    from trackyard.record.identity import RunSpec
    from trackyard.record.rundir import open_or_create

    spec = RunSpec(
        track="molmo2", stage="bench", parameters={"name": name}, plan="a" * 64, model={}, snapshots={}, parent=None,
        code=CodeIdentity(commit="0" * 40, dirty_digest=None), image=None, seed=0,
    )  # fmt: skip
    return open_or_create(folder / "runs", spec)


def delivered(directory: Any, address: str) -> str:
    """Sync, and the id of the run in MLflow."""
    from mlflow import MlflowClient

    from trackyard.record.tracking.sync import sync_run

    report = sync_run(directory.path, address)
    if report.warning is not None:
        sys.exit(f"not delivered: {report.warning}")
    client = MlflowClient(tracking_uri=address)
    (experiment,) = client.search_experiments(filter_string="name = 'molmo2'")
    (run,) = client.search_runs(
        [experiment.experiment_id], filter_string=f"tags.`trackyard.run_id` = '{directory.spec.run_id}'"
    )
    return str(run.info.run_id)


def spooled(directory: Any, first: int, count: int) -> None:
    from trackyard.record.spool import Spool

    with Spool(directory.spool, directory.new_attempt()) as spool:
        for step in range(first, first + count):
            spool.metrics(values_of(step), step)


def own_logging(address: str) -> None:
    """Child: what a step costs the training thread, and the first steps as the server has them after a sync."""
    from trackyard.record.spool import Spool

    with scratch() as folder:
        first = new_run(folder, "first")
        spooled(first, 0, ANSWERED)
        found = answer(address, delivered(first, address))
        directory = new_run(folder, "timed")
        with Spool(directory.spool, directory.new_attempt()) as spool:
            done = 0

            def turn() -> float:
                nonlocal done
                for _ in range(OWN_STEPS):
                    spool.metrics(values_of(done), done)
                    done += 1
                return float(OWN_STEPS)

            serve(turn, found)


def own_delivery(address: str) -> None:
    """Child: points that waited in a spool, delivered."""
    from trackyard.record.tracking.sync import sync_run

    with scratch() as folder:
        first = new_run(folder, "first delivery")
        spooled(first, 0, ANSWERED)
        found = answer(address, delivered(first, address))
        waiting = [new_run(folder, f"waiting {number}") for number in range(64)]
        for directory in waiting:
            spooled(directory, 0, WAITING)

        def turn() -> float:
            report = sync_run(waiting.pop().path, address)
            if report.warning is not None:
                sys.exit(f"not delivered: {report.warning}")
            return float(report.points)

        serve(turn, found)


def cost_of_a_step(address: str, rounds: int) -> dict[str, Any]:
    mine = Contender(name=OURS, argv=["benchmarks/tracking.py", "--child", "logging", address])
    peers = [Contender(name=name, argv=["benchmarks/tracking_peer.py", name, address]) for name in STEPS]
    figures = alternate([mine, *peers], metric="wall_s", rounds=rounds)
    own = at_least(f"{MOST_MS} ms a step", MOST_MS * figures[OURS]["rate"] / 1000)
    return {
        "name": f"{len(METRICS)} metrics a step, in the training thread",
        "unit": "steps/s",
        "figures": figures,
        "ms_per_step": {name: 1000 / found["rate"] for name, found in figures.items()},
        "targets": [
            own,
            *judge(figures, [Target(peer="best", ratio=1.0)]),
        ],
    }


def catching_up(address: str, rounds: int) -> dict[str, Any]:
    mine = Contender(name=OURS, argv=["benchmarks/tracking.py", "--child", "delivery", address])
    peer = Contender(name="log_batch", argv=["benchmarks/tracking_peer.py", "log_batch", address])
    figures = alternate([mine, peer], metric="wall_s", rounds=rounds)
    return {
        "name": f"{WAITING * len(METRICS):,} points that waited, to a server on this machine",
        "unit": "points/s",
        "figures": figures,
        "targets": [at_least(f"{LEAST_POINTS:,} points/s", figures[OURS]["rate"] / LEAST_POINTS)],
    }


def at_least(name: str, ratio: float) -> dict[str, Any]:
    """A target that is a figure, not a peer."""
    return {"peer": name, "target": 1.0, "ratio": ratio, "verdict": "reached" if ratio >= 1 else "missed"}


def losing(server: Server, away_s: float) -> dict[str, Any]:
    """Points that are missing, or there twice, after a training during which the server was away."""
    expected = 3 * LOSING_STEPS * len(METRICS)
    found: dict[str, Mapping[str, int]] = {}
    os.environ.update(PATIENCE)

    def state(part: str) -> None:
        if part == "down":
            server.stop()
            time.sleep(away_s / 2)
        elif part == "again":
            time.sleep(away_s / 2)
            server.start()

    for kind in STEPS:
        run_id = losing_loop(kind, server.address, LOSING_STEPS, state)
        found[kind] = counted(server.address, run_id, expected)
    for name in PATIENCE:
        del os.environ[name]
    with scratch() as folder:
        directory = new_run(folder, "losing")
        for number, part in enumerate(("up", "down", "again")):
            state(part)
            spooled(directory, number * LOSING_STEPS, LOSING_STEPS)
            if part == "up":
                delivered(directory, server.address)
        delivered(directory, server.address)
        # Delivered a second time: nothing may be there twice.
        found = {OURS: counted(server.address, delivered(directory, server.address), expected)} | found
    ours = found[OURS]
    return {
        "name": f"the server is away for {away_s:g} s of three parts of {LOSING_STEPS} steps",
        "unit": "points",
        "figures": {},
        "points": expected,
        "found": found,
        "targets": [at_least("0 lost, 0 doubled", float(ours == {"lost": 0, "doubled": 0}))],
    }


def counted(address: str, run_id: str, expected: int) -> dict[str, int]:
    total, *steps = answer(address, run_id)
    right = {float(step): round(sum(values_of(step).values()), 9) for step in range(3 * LOSING_STEPS)}
    whole = sum(right.get(step) == value for step, value in steps)
    return {"lost": expected - whole * len(METRICS), "doubled": max(0, int(total[0]) - len(steps) * len(METRICS))}


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--away", type=float, default=10.0, help="seconds without a server")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        {"logging": own_logging, "delivery": own_delivery}[given.child[0]](given.child[1])
        return 0
    with serving() as server:
        workloads = [
            cost_of_a_step(server.address, given.rounds),
            catching_up(server.address, given.rounds),
            losing(server, given.away),
        ]
    for name, found in workloads[-1]["found"].items():
        print(f"  {name:32} of {workloads[-1]['points']:,} points {found['lost']:,} lost, {found['doubled']:,} doubled")
    return 0 if write_record("tracking", workloads, packages=("mlflow",)) else 1


if __name__ == "__main__":
    sys.exit(main())
