"""Runs beside each other, as one value."""

from __future__ import annotations

from pathlib import Path

from tests.record.made_runs import Life, make_run
from trackyard.record.comparing.comparison import compare_runs
from trackyard.record.comparing.summary import read_summary
from trackyard.record.metrics_file import read_metrics, write_metrics


def test_runs_of_two_tracks_share_what_both_have(tmp_path: Path) -> None:
    one = make_run(tmp_path, Life(metrics=[(1, {"validation/loss": 2.0, "validation/counting": 0.5})]))
    other = make_run(tmp_path, Life(metrics=[(9, {"validation/loss": 3.0, "test/nll": 1.0})]), track="pile_ffn")
    found = compare_runs([read_summary(run.path) for run in (one, other)])
    assert found.tracks == ("molmo2", "pile_ffn")
    assert [outcome.metric for outcome in found.outcomes] == ["validation/loss"]
    assert found.lone == ("test/nll", "validation/counting")


def test_values_are_those_that_dvc_shows(tmp_path: Path) -> None:
    """metrics.json holds the last points of the spool, and a comparison the same ones to the last bit."""
    numbers = [{"validation/loss": 1 / 3, "test/nll": 1e-17}, {"validation/loss": 2 / 3, "test/nll": 0.1 + 0.2}]
    runs = [
        make_run(tmp_path, Life(metrics=[(1, {"validation/loss": 9.0}), (2, values)]), seed=seed)
        for seed, values in enumerate(numbers)
    ]
    write_metrics(
        tmp_path / "metrics.json", {run.spec.run_id: values for run, values in zip(runs, numbers, strict=True)}
    )
    shown = read_metrics(tmp_path / "metrics.json")
    found = compare_runs([read_summary(run.path) for run in runs])
    for outcome in found.outcomes:
        assert outcome.values == tuple(shown[run.spec.run_id][outcome.metric] for run in runs)
    assert {outcome.metric for outcome in found.outcomes} == set(numbers[0])
