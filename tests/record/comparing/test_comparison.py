"""Runs beside each other, as one value."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.record.made_runs import Life, make_run
from trackyard.record.comparing.comparison import compare_runs
from trackyard.record.comparing.summary import read_summary
from trackyard.record.metrics_file import write_metrics
from trackyard.runner import SystemRunner


def test_runs_of_two_tracks_share_what_both_have(tmp_path: Path) -> None:
    one = make_run(tmp_path, Life(metrics=[(1, {"validation/loss": 2.0, "validation/counting": 0.5})]))
    other = make_run(tmp_path, Life(metrics=[(9, {"validation/loss": 3.0, "test/nll": 1.0})]), track="pile_ffn")
    found = compare_runs([read_summary(run.path) for run in (one, other)])
    assert found.tracks == ("molmo2", "pile_ffn")
    assert [outcome.metric for outcome in found.outcomes] == ["validation/loss"]
    assert found.lone == ("test/nll", "validation/counting")


@pytest.mark.system
def test_values_are_those_that_dvc_shows(tmp_path: Path) -> None:
    """Of two commits that hold what two runs came to, to the last bit."""
    numbers = [{"validation/loss": 1 / 3, "test/nll": 1e-17}, {"validation/loss": 2 / 3, "test/nll": 0.1 + 0.2}]
    runs = [
        make_run(tmp_path / "runs", Life(metrics=[(1, {"validation/loss": 9.0}), (2, values)]), seed=seed)
        for seed, values in enumerate(numbers)
    ]
    called(tmp_path, "git", "init", "-q")
    called(tmp_path, sys.executable, "-m", "dvc", "init", "-q")
    (tmp_path / "dvc.yaml").write_text("metrics: [metrics.json]\n")
    for values in numbers:
        write_metrics(tmp_path / "metrics.json", {"baseline": values})
        called(tmp_path, "git", "add", ".dvc", "dvc.yaml", "metrics.json")
        called(tmp_path, "git", "-c", "user.name=n", "-c", "user.email=e@x", "commit", "-qm", "measured")
    told = called(tmp_path, sys.executable, "-m", "dvc", "metrics", "diff", "--json", "HEAD~1", "HEAD")
    shown = json.loads(told)["metrics.json"]
    found = compare_runs([read_summary(run.path) for run in runs])
    assert {outcome.metric for outcome in found.outcomes} == set(numbers[0])
    for outcome in found.outcomes:
        of_dvc = shown.pop(f"baseline.{outcome.metric.replace('/', '.')}")
        assert outcome.values == (of_dvc["old"], of_dvc["new"])
    assert shown == {}


def called(folder: Path, *argv: str) -> str:
    done = SystemRunner().run(list(argv), cwd=folder)
    assert done.exit_code == 0, done
    return done.stdout
