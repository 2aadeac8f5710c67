"""A small repository root in a folder of its own, and its commands as the processes that a user starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

from trackyard.acquire.mini.datasets import MINI
from trackyard.row import Row
from trackyard.snapshot.writer import write_dataset

SOURCE = Path(__file__).parents[2]
"""This checkout: its parameters and catalogue are the ones that are made smaller."""

COMMIT = "0123456789abcdef0123456789abcdef01234567"
COMMAND = str(Path(sys.executable).parent / "trackyard")
NOWHERE = "http://127.0.0.1:9"
"""A tracking server that refuses connections. Runs do not need one, and MLflow takes seconds to import."""

LIMIT_S = 240.0
"""Longest that a command may take before the test fails, on a machine with other work."""

ROWS = {
    "pixmo-cap": (24, 2),
    "pixmo-points": (24, 4),
    "pixmo-count": (16, 4),
    "cosyn-point": (12, 2),
    "tulu": (16, 2),
    "tallyqa": (24, 4),
    "a-okvqa": (24, 4),
    "molmo2-capqa": (12, 2),
}
"""Rows of the training and of the validation split, by dataset of the mini snapshot."""

STAGE1_STEPS = 6
STEPS = 12
SAVE_EVERY = 2
PACKS = 4


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that ended. code: exit code, -9 after SIGKILL."""

    code: int
    out: str
    err: str

    def error(self, code: int, kind: str) -> dict[str, str]:
        """The three parts on stderr, after proving that they are there, with this exit code and class."""
        assert self.code == code, self
        assert "Traceback" not in self.err, self.err
        label = "stopped" if code == 75 else "error"
        found = re.search(rf"^{label}: (\w+)\nwhat: (.+?)\nwhy:  (.+?)\nfix:  (.+?)\s*\Z", self.err, re.M | re.S)
        assert found is not None, self.err
        assert found[1] == kind, self.err
        return {"what": found[2], "why": found[3], "fix": found[4]}


@dataclass(frozen=True, kw_only=True)
class Repository:
    """A root directory and the environment of its commands. `copy` gives another one with the same files."""

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def tracked(self) -> Repository:
        """The same root with an MLflow database of its own."""
        return self.within(MLFLOW_TRACKING_URI=f"sqlite:///{self.path / 'mlflow.db'}")

    def _environment(self) -> dict[str, str]:
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("TRACKYARD_", "MLFLOW_"))}
        return {
            **plain,
            "TRACKYARD_COMMIT": COMMIT,
            "HF_HUB_OFFLINE": "1",
            "MLFLOW_TRACKING_URI": NOWHERE,
            # Nor a process that goes on asking it.
            "TRACKYARD_SYNC_SECONDS": "0",
            # Two threads would spin against each other, and against whatever else this machine does.
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "120",
            **self.environment,
        }

    def copy(self, target: Path, *, without: Sequence[str] = ("runs", "mlflow.db", "mlartifacts")) -> Repository:
        """The same files elsewhere, without the names in `without`."""
        shutil.copytree(self.path, target, symlinks=True, ignore=lambda folder, names: [
            name for name in names if Path(folder) == self.path and name in without
        ])  # fmt: skip
        return Repository(path=target, environment=self.environment)

    def within(self, **variables: str) -> Repository:
        """The same root under further environment variables."""
        return Repository(path=self.path, environment={**self.environment, **variables})

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Change the parameters in force."""
        path = self.path / "params.yaml"
        values = yaml.safe_load(path.read_text())
        change(values["molmo2"])
        path.write_text(yaml.safe_dump(values))

    def trackyard(self, *arguments: str) -> Ended:
        """Run a command to its end."""
        with self.started(*arguments) as running:
            return running.end()

    @contextmanager
    def started(self, *arguments: str) -> Iterator[Running]:
        """Start a command; it is killed when the block ends before it does."""
        running = Running(self, [COMMAND, *arguments])
        try:
            yield running
        finally:
            running.kill()

    def stage2(self) -> Ended:
        return self.trackyard("run", "molmo2", "stage2")

    def run_directory(self, stage: str = "stage2") -> Path:
        """The one run of a stage."""
        (found,) = (self.path / "runs" / "molmo2" / stage).iterdir()
        return found

    def checkpoints(self) -> list[int]:
        """Steps of the complete checkpoints of stage 2's run."""
        return sorted(int(path.parent.name[5:]) for path in self.run_directory().glob("checkpoints/step-*/COMPLETE"))


class Process(Protocol):
    """What is asked of a process, however it was started."""

    pid: int
    returncode: Any

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...


Start = Callable[[Sequence[str], Path, Mapping[str, str], Path, Path], Process]
"""Starts a program: its arguments, its folder, its environment, the files for its output and for its errors."""


def _new_process(argv: Sequence[str], folder: Path, environment: Mapping[str, str], out: Path, err: Path) -> Process:
    with open(out, "wb") as out_file, open(err, "wb") as err_file:
        return subprocess.Popen(argv, cwd=folder, env=environment, stdout=out_file, stderr=err_file)


class Running:
    """A program under way in a repository. Its output goes to files: a full pipe would hold it up."""

    def __init__(self, repository: Repository, argv: Sequence[str], start: Start = _new_process) -> None:
        folder = repository.path / "output"
        folder.mkdir(exist_ok=True)
        number = len(list(folder.iterdir())) // 2
        self._out, self._err = folder / f"{number:03d}-out.txt", folder / f"{number:03d}-err.txt"
        self._arguments = argv
        self.process = start(argv, repository.path, repository._environment(), self._out, self._err)

    @property
    def out(self) -> str:
        return self._out.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """Poll until `condition` gives something true; fails when the command ends or takes too long."""
        limit = time.monotonic() + LIMIT_S
        while time.monotonic() < limit:
            found = condition()
            if found:
                return found
            assert self.process.poll() is None, f"{self._arguments} ended before {what}: {self.end()}"
            time.sleep(0.002)
        raise AssertionError(f"{self._arguments}: no {what} after {LIMIT_S:.0f} s: {self.out}")

    def wait_for_line(self, start: str) -> None:
        """Wait until a line of standard output starts with `start`."""
        self.wait_for(lambda: f"\n{start}" in f"\n{self.out}", f"line {start!r}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, unless it has ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self) -> Ended:
        """Wait for the end."""
        code = self.process.wait(timeout=LIMIT_S)
        return Ended(code=code, out=self.out, err=self._err.read_text(errors="replace"))


def make_repository(path: Path) -> Repository:
    """Write the root: parameters, profiles, catalogue and a small snapshot."""
    path.mkdir(parents=True)
    for folder in ("catalog", "profiles"):
        shutil.copytree(SOURCE / folder, path / folder)
    (path / "params.yaml").write_text(yaml.safe_dump({"molmo2": small_parameters()}))
    for name, (train, validation) in ROWS.items():
        write_rows(path / "data" / "mini" / name, name, train=mini_rows(name, "train", train),
                   validation=mini_rows(name, "validation", validation))  # fmt: skip
    return Repository(path=path)


def mini_rows(name: str, split: str, count: int) -> list[Row]:
    """The first rows of a dataset of the mini snapshot."""
    return [MINI[name].row(split, number) for number in range(count)]


def write_rows(directory: Path, name: str, **splits: list[Row]) -> None:
    """Write a dataset, in place of the one that is there."""
    if directory.exists():
        shutil.rmtree(directory)
    write_dataset(directory, splits, dataset=name, source={"generator": "trackyard mini"}, licence="Apache-2.0")


def small_parameters() -> dict[str, Any]:
    """The shipped parameters, for a few steps on a few rows."""
    values: dict[str, Any] = yaml.safe_load((SOURCE / "params.yaml").read_text())["molmo2"]
    values["engine"] |= {"micro_batch": 2, "threads": 1, "keep_checkpoints": 2}
    values["validation"] |= {"limit": 4, "batch": 4, "new_tokens": dict.fromkeys(values["validation"]["new_tokens"], 4)}
    for stage, steps in (("stage1", STAGE1_STEPS), ("stage2", STEPS)):
        values[stage] |= {"steps": steps, "packs_per_step": PACKS, "save_every": SAVE_EVERY}
        for rate in values[stage]["optimiser"]["rates"].values():
            rate["warmup_steps"] = 2
    return values


def spooled(run: Path, *, exact: bool = True) -> dict[int, dict[str, float]]:
    """Training metrics by step, the first of every attempt; if `exact`, a repeated step must repeat its values.

    What a step cost (usage/..., system/...) is another measurement each time, and not among them.
    """
    found: dict[int, dict[str, float]] = {}
    for path in sorted(run.glob("spool/attempt-*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            event = json.loads(line)
            if event["event"] == "metrics" and "train/loss" in event["values"]:
                values = {k: value for k, value in event["values"].items() if not k.startswith(("usage/", "system/"))}
                earlier = found.setdefault(event["step"], values)
                assert not exact or earlier == values, f"step {event['step']} differs between attempts"
    return found


def stored_points(database: Path, run_id: str) -> list[tuple[str, int, float]]:
    """(key, step, value) of every point that MLflow's own database holds of a run, in whatever number."""
    query = (
        "SELECT m.key, m.step, m.value FROM metrics m JOIN tags t ON t.run_uuid = m.run_uuid "
        "WHERE t.key = 'trackyard.run_id' AND t.value = ?"
    )
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        return connection.execute(query, (run_id,)).fetchall()
