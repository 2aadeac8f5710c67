"""What was measured of a trained cell, among the curves of its training run, so that MLflow compares arms.

A repeated aggregation adds nothing. Numbers that were measured anew stand beside the earlier ones, one step further:
a point that was delivered once is never changed (`trackyard.record.points`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trackyard.launch.lock import run_lock
from trackyard.recipes.pile_ffn.report.gathering import ATTACKS, Gathered
from trackyard.recipes.pile_ffn.report.table import measures
from trackyard.recipes.pile_ffn.study import TRACK, Study
from trackyard.record.rundir import RunDirectory, open_existing
from trackyard.record.spool import Spool, read_spool

MARK = "test/nll"
"""Only the outcome of a study has it: a spool with it holds one."""


def cell_metrics(gathered: Gathered, name: str) -> dict[str, float]:
    """Numbers of one cell, as MLflow shows them."""
    perplexity = gathered.results["eval_ppl"][name].body
    found = {f"test/{key}": float(perplexity[key]) for key in ("nll", "ppl", "bpb")}
    for task, measure in measures(gathered.results["eval_bench"][name]).items():
        found[f"bench/{task}"] = measure.value
    for stage in ATTACKS:
        for attack, block in gathered.results[stage][name].body["attacks"].items():
            found[f"attack/{attack}/delta_nats"] = float(block["mean_delta_nats"])
    return found


def record_metrics(study: Study, gathered: Gathered) -> tuple[int, list[str]]:
    """Spool the numbers of every trained cell into its training run.

    Returns how many runs have them, and the cells whose run directory is not on this machine.
    """
    recorded, absent = 0, []
    for name, result in gathered.results["train"].items():
        path = study.runs / TRACK / "train" / result.header.run_id
        if not path.is_dir():
            absent.append(name)
            continue
        _record(path, cell_metrics(gathered, name))
        recorded += 1
    return recorded, absent


def _record(path: Path, values: Mapping[str, float]) -> None:
    with run_lock(path):
        directory = open_existing(path)
        earlier = _earlier(directory)
        if earlier and earlier[-1] == values:
            return
        with Spool(directory.spool, directory.new_attempt()) as spool:
            spool.metrics(values, len(earlier))
            spool.status("finished")


def _earlier(directory: RunDirectory) -> list[Mapping[str, float]]:
    """Outcomes that this run has already, oldest first."""
    return [
        event["values"]
        for path in sorted(directory.spool.glob("attempt-*.jsonl"))
        for _, event in read_spool(path).events
        if event["event"] == "metrics" and MARK in event["values"]
    ]
