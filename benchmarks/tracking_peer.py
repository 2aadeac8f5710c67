"""MLflow's own client in a training loop, synchronous and asynchronous, and its fastest way to store many points.

    python benchmarks/tracking_peer.py KIND ADDRESS

Child of `benchmarks.tracking`; needs MLflow alone. Every step logs the same ten metrics.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

METRICS = (*(f"train/loss/{name}" for name in "abcdefgh"), "train/loss", "train/gradient_norm")
"""Of one step."""
ANSWERED = 50
"""Steps that are logged before anything is timed, and asked for again: what contenders must agree on."""
STEPS = {"MLflow, synchronous": 25, "MLflow, asynchronous": 400}
"""Of one turn."""
BLOCKS = 20
"""Of 1,000 points each, in a turn of `log_batch`."""


def values_of(step: int) -> dict[str, float]:
    """Ten numbers, other ones at every step."""
    return {name: (step * 31 + place * 7) % 1009 / 1009 for place, name in enumerate(METRICS)}


def answer(address: str, run_id: str) -> list[list[float]]:
    """What the server has of the first steps: step and sum of its metrics, and how many points there are in all."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=address)
    sums: dict[int, float] = {}
    points = 0
    for name in METRICS:
        for found in client.get_metric_history(run_id, name):
            sums[found.step] = sums.get(found.step, 0.0) + found.value
            points += 1
    return [[float(points), 0.0], *([float(step), round(total, 9)] for step, total in sorted(sums.items()))]


def logging_loop(kind: str, address: str) -> None:
    """A loop that logs through the fluent interface, as most trainings do."""
    import mlflow

    from benchmarks.staying import serve

    mlflow.set_tracking_uri(address)
    mlflow.set_experiment("peer")
    run = mlflow.start_run()
    synchronous = kind == "MLflow, synchronous"
    done = 0

    def steps(count: int) -> float:
        nonlocal done
        for _ in range(count):
            mlflow.log_metrics(values_of(done), step=done, synchronous=synchronous)
            done += 1
        return float(count)

    steps(ANSWERED)
    if not synchronous:
        mlflow.flush_async_logging()
    serve(lambda: steps(STEPS[kind]), answer(address, run.info.run_id))


def block_loop(address: str) -> None:
    """Points that are all there already, in blocks of the most that MLflow takes."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from benchmarks.staying import serve

    client = MlflowClient(tracking_uri=address)
    run = client.create_run(client.create_experiment(f"blocks {time.time_ns()}"))
    done = 0

    def block(count: int) -> float:
        nonlocal done
        steps = range(done, done + count)
        points = [Metric(name, value, step, step) for step in steps for name, value in values_of(step).items()]
        for start in range(0, len(points), 1000):
            client.log_batch(run.info.run_id, metrics=points[start : start + 1000])
        done += count
        return float(len(points))

    block(ANSWERED)
    serve(lambda: block(BLOCKS * 1000 // len(METRICS)), answer(address, run.info.run_id))


def losing_loop(kind: str, address: str, steps: int, wait: Callable[[str], None]) -> str:
    """Three parts of a training: with the server, without it, with it again. Errors are caught, as users do."""
    import mlflow

    mlflow.set_tracking_uri(address)
    mlflow.set_experiment("losing")
    run = mlflow.start_run()
    done = 0
    for part in ("up", "down", "again"):
        wait(part)
        for _ in range(steps):
            try:
                mlflow.log_metrics(values_of(done), step=done, synchronous=kind == "MLflow, synchronous")
            except mlflow.exceptions.MlflowException as error:
                sys.stderr.write(f"step {done}: {type(error).__name__}\n")
            done += 1
    if kind != "MLflow, synchronous":
        mlflow.flush_async_logging()
    mlflow.end_run()
    return str(run.info.run_id)


if __name__ == "__main__":
    if sys.argv[1] == "log_batch":
        block_loop(sys.argv[2])
    else:
        logging_loop(sys.argv[1], sys.argv[2])
