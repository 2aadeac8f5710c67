"""Numbers of a study in the spool of a run: once, and beside earlier ones when they changed."""

from __future__ import annotations

from pathlib import Path

from trackyard.recipes.reporting.outcomes import record_outcome
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import RunDirectory, open_or_create
from trackyard.record.spool import read_spool

SPEC = RunSpec(
    track="datacomp", stage="train", parameters={}, plan="p" * 12, model={"id": "tiny"}, snapshots={}, parent=None,
    code=CodeIdentity(commit="c" * 40, dirty_digest=None), image=None, seed=1,
)  # fmt: skip


def test_each_outcome_is_told_once(tmp_path: Path) -> None:
    directory = open_or_create(tmp_path, SPEC)
    for value in (0.5, 0.5, 0.75, 0.75):
        record_outcome(directory.path, {"eval/a": value})
    assert told(directory) == [(0, {"eval/a": 0.5}), (1, {"eval/a": 0.75})]


def test_no_metric_is_told_twice_at_one_step_whatever_else_is_measured(tmp_path: Path) -> None:
    """The record keeps the first word of a step: the second would be lost."""
    directory = open_or_create(tmp_path, SPEC)
    outcomes = [{"eval/b": 0.5}, {"eval/a": 0.1, "eval/b": 0.6}, {"eval/a": 0.2}, {"eval/c": 1.0}, {"eval/b": 0.7}]
    for values in outcomes:
        record_outcome(directory.path, values)
    assert [values for _, values in told(directory)] == outcomes
    for name in ("eval/a", "eval/b", "eval/c"):
        steps = [step for step, values in told(directory) if name in values]
        assert steps == sorted(set(steps)), name


def told(directory: RunDirectory) -> list[tuple[int, dict[str, float]]]:
    return [
        (event["step"], event["values"])
        for path in sorted(directory.spool.glob("attempt-*.jsonl"))
        for _, event in read_spool(path).events
        if event["event"] == "metrics"
    ]
