"""Numbers of a study in the spool of a run: once, and beside earlier ones when they changed."""

from __future__ import annotations

from pathlib import Path

from trackyard.recipes.reporting.outcomes import record_outcome
from trackyard.record.code import CodeIdentity
from trackyard.record.identity import RunSpec
from trackyard.record.rundir import open_or_create
from trackyard.record.spool import read_spool

SPEC = RunSpec(
    track="datacomp", stage="train", parameters={}, plan="p" * 12, model={"id": "tiny"}, snapshots={}, parent=None,
    code=CodeIdentity(commit="c" * 40, dirty_digest=None), image=None, seed=1,
)  # fmt: skip


def test_each_outcome_is_told_once(tmp_path: Path) -> None:
    directory = open_or_create(tmp_path, SPEC)
    for value in (0.5, 0.5, 0.75, 0.75):
        record_outcome(directory.path, {"eval/a": value}, mark="eval/a")
    told = [
        (event["step"], event["values"]["eval/a"])
        for path in sorted(directory.spool.glob("attempt-*.jsonl"))
        for _, event in read_spool(path).events
        if event["event"] == "metrics"
    ]
    assert told == [(0, 0.5), (1, 0.75)]
