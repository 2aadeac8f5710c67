"""5,000 runs of 200 metrics: their summaries and the table of the track, beside MLflow's search_runs over the same.

    python -m benchmarks.compare_runs [--runs N]

Ours reads the run directories as they lie, without a cache of its own; MLflow reads a sqlite store that holds the last
value of every metric already, as a sync would have left it (it was filled straight through its tables, which is not
timed). Both answer with the mean of one metric by learning rate. A store whose values differ must be noticed. Source:
issue of the record, 5,000 runs under 10 s and 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.harness import Contender, Target, Unequal, compare, equal_answers, judge, write_record
from trackyard.digest import digest_json, short

RUNS, METRICS, LINES, PER_LINE = 5_000, 200, 200, 8
"""PER_LINE: metrics of an ordinary line; every tenth has five times as many, and the last one all of them."""
TRACK, STAGE, MAIN = "pile_ffn", "train", "validation/loss"
RATES, SEEDS = 50, 5
NAMES = (MAIN, "train/loss", *(f"train/gradient_norm/part-{number:03d}" for number in range(METRICS - 2)))
COMMIT = "0" * 40


def make_runs(root: Path, count: int = RUNS) -> None:
    """Run directories below `root` as training leaves them: spec.json, attempts.jsonl and one spool, finished."""
    # Values are drawn once: what is timed reads digits, whichever they are.
    draw = random.Random(0)
    lines = []
    for step in range(1, LINES):
        width = 5 * PER_LINE if step % 10 == 0 else PER_LINE
        values = {name: draw.random() for name in NAMES[1 : width + 1]}
        lines.append(_line("metrics", step=step, timestamp=step * 1_000, values=values))
    body = "".join(lines)
    for number in range(count):
        spec = spec_of(number)
        run_id = short(digest_json({"schema": "trackyard-run/1", **spec}))
        folder = root / TRACK / STAGE / run_id
        (folder / "spool").mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps({"schema": "trackyard-run/1", "run_id": run_id, "spec": spec}))
        (folder / "attempts.jsonl").write_text(
            json.dumps({"number": 1, "host": "h", "pid": 1, "started": "2026-01-01T00:00:00+00:00"}) + "\n"
        )
        last = {name: value_of(number, place) for place, name in enumerate(NAMES)}
        (folder / "spool" / "attempt-0001.jsonl").write_text(
            _line("machine", world=4, device="made", host="h", timestamp=0)
            + body
            + _line("metrics", step=LINES, timestamp=LINES * 1_000, values=last)
            + _line("status", state="finished", timestamp=LINES * 1_000)
        )


def spec_of(number: int) -> dict[str, Any]:
    """Of run `number`: learning rates, each at five seeds, and what else makes runs many."""
    part, seed = divmod(number, SEEDS)
    group, rate = divmod(part, RATES)
    return {
        "track": TRACK,
        "stage": STAGE,
        "parameters": {
            "learning_rate": (rate + 1) * 1e-4,
            "group": group,
            "training": {f"option_{option:02d}": option for option in range(30)},
        },
        "plan": f"{seed:064d}",
        "model": {"id": "made"},
        "snapshots": {"text": "1" * 64},
        "parent": None,
        "code": {"commit": COMMIT, "dirty_digest": None},
        "image": None,
        "seed": seed,
    }


def value_of(number: int, place: int) -> float:
    return 1 + (number * 31 + place * 7) % 1009 / 1009


def _line(event: str, **body: Any) -> str:
    return json.dumps({"event": event, **body}, separators=(",", ":")) + "\n"


def ours(root: Path) -> dict[str, float]:
    """What `trackyard compare --track` does, to its lines."""
    from trackyard.recipes.comparison.grids import track_grid
    from trackyard.record.comparing.summary import read_summaries
    from trackyard.record.comparing.track_table import track_table

    runs = read_summaries(root, TRACK)
    assert track_grid(track_table(runs, TRACK, metrics=[MAIN])).plain()
    return means((float(run.spec["parameters"]["learning_rate"]), run.metrics[MAIN].value) for run in runs)


def mlflow(database: Path, count: int) -> dict[str, float]:
    """search_runs, page by page; each answer has all metrics, parameters and tags of its runs."""
    client = _client(database)
    experiment = client.get_experiment_by_name(TRACK)
    assert experiment is not None
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs([experiment.experiment_id], max_results=5_000, page_token=token)
        found += page
        token = page.token
        if not token:
            break
    assert len(found) == count
    assert all(len(run.data.metrics) == METRICS for run in found)
    return means((float(run.data.params["learning_rate"]), float(run.data.metrics[MAIN])) for run in found)


def means(values: Any) -> dict[str, float]:
    by_rate: dict[str, list[float]] = {}
    for rate, value in values:
        by_rate.setdefault(f"{rate:.4f}", []).append(value)
    return {rate: round(sum(of) / len(of), 9) for rate, of in sorted(by_rate.items())}


def make_store(database: Path, count: int) -> None:
    """A store of MLflow with the same runs: its own tables, filled at once."""
    client = _client(database)
    experiment = client.create_experiment(TRACK, artifact_location=str(database.parent / "artifacts"))
    first = client.create_run(experiment).info.run_id
    connection = sqlite3.connect(database)
    columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)")]
    sample = connection.execute("SELECT * FROM runs WHERE run_uuid = ?", (first,)).fetchone()
    for table in ("tags", "latest_metrics", "params", "metrics", "runs"):
        connection.execute(f"DELETE FROM {table} WHERE run_uuid = ?", (first,))
    for number in range(count):
        uuid = f"{number:032x}"
        row = dict(zip(columns, sample, strict=True)) | {"run_uuid": uuid, "name": uuid, "status": "FINISHED"}
        connection.execute(f"INSERT INTO runs VALUES ({','.join('?' * len(columns))})", [row[name] for name in columns])
        spec = spec_of(number)["parameters"]
        params = {"learning_rate": spec["learning_rate"], "group": spec["group"], **spec["training"]}
        connection.executemany(
            "INSERT INTO params (key, value, run_uuid) VALUES (?, ?, ?)",
            [(key, str(value), uuid) for key, value in params.items()],
        )
        connection.executemany(
            "INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid) VALUES (?, ?, ?, ?, 0, ?)",
            [(name, value_of(number, place), LINES * 1_000, LINES, uuid) for place, name in enumerate(NAMES)],
        )
    connection.commit()
    connection.close()


def _client(database: Path) -> Any:
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{database}")


def child(kind: str, folder: Path, count: int) -> None:
    """Measure one contender, imports included, and report."""
    started, cpu = time.monotonic(), time.process_time()
    answer = ours(folder / "runs") if kind == "ours" else mlflow(folder / f"{kind}.db", count)
    used = {"wall_s": time.monotonic() - started, "cpu_s": time.process_time() - cpu}
    # Not ru_maxrss: that of a child begins with its parent's.
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) * 1024
    print(json.dumps({"units": count, **used, "answer": answer, "extra": {"peak_rss_bytes": peak}}))


def measure(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    make_runs(folder / "runs", count)
    make_store(folder / "mlflow.db", count)
    argv = ["-m", "benchmarks.compare_runs", "--folder", str(folder), "--runs", str(count)]
    mine = Contender(name="trackyard", argv=[*argv, "--child", "ours"])
    peer = Contender(name="MLflow search_runs, sqlite", argv=[*argv, "--child", "mlflow"])
    _require_notice(mine.run()["answer"])
    figures = compare([mine, peer], metric="cpu_s", rounds=rounds)
    return {
        "name": f"{count:,} runs of {METRICS} metrics, {LINES + 2} lines each",
        "unit": "runs/cpu-s",
        "figures": figures,
        "targets": judge(figures, [Target(peer=peer.name, ratio=1.0)]),
    }


def _require_notice(answer: Mapping[str, float]) -> None:
    """The negative control: one value that is another one."""
    rate = next(iter(answer))
    if equal_answers({"ours": answer, "other": {**answer, rate: answer[rate] + 1e-6}}) is None:
        raise Unequal("another mean was not noticed: the comparison proves nothing")


def main() -> int:
    """0 if targets are reached and figures steady, 1 if not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--scratch", type=Path, help="where runs and store are made; the system's by default")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=("ours", "mlflow"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.folder, given.runs)
        return 0
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        workload = measure(Path(folder), given.runs, given.rounds)
    return 0 if write_record("compare_runs", [workload], packages=("mlflow", "pydantic_core")) else 1


if __name__ == "__main__":
    sys.exit(main())
