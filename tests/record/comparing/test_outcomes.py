"""What runs came to, and what that cost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record.made_runs import Life, make_run
from trackyard.errors import ConfigError
from trackyard.record.comparing.comparison import compare_runs
from trackyard.record.comparing.outcomes import TOLD, costs, outcome_family, outcomes
from trackyard.record.comparing.summary import RunSummary, read_summary
from trackyard.record.metric_names import FAMILIES


def runs_of(root: Path, *metrics: dict[str, float], stages: tuple[str, ...] = ()) -> list[RunSummary]:
    names = stages or ("stage1",) * len(metrics)
    made = [
        make_run(root, Life(metrics=[(seed, values)], machine=1), seed=seed, stage=stage)
        for seed, (values, stage) in enumerate(zip(metrics, names, strict=True))
    ]
    return [read_summary(run.path) for run in made]


def test_common_metrics_with_the_better_one(tmp_path: Path) -> None:
    runs = runs_of(
        tmp_path,
        {"validation/loss": 2.0, "bench/x": 0.5, "usage/mfu": 1.0, "test/ppl": 9.0, "train/loss": 1.0},
        {"validation/loss": 1.0, "bench/x": 0.5, "usage/mfu": 1.0, "train/loss": 1.5, "train/tokens": 3.0},
    )
    found = {one.metric: one for one in outcomes(runs)}
    assert list(found) == ["validation/loss", "bench/x", "train/loss"]
    assert (found["validation/loss"].best, found["validation/loss"].steps) == ((1,), (0, 1))
    assert found["validation/loss"].unit == "nats per token"
    assert found["bench/x"].best == ()
    comparison = compare_runs(runs)
    assert comparison.lone == ("test/ppl",)
    assert comparison.tracks == ("molmo2",)


def test_of_two_stages_none_is_best(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"validation/loss": 2.0}, {"validation/loss": 1.0}, stages=("stage1", "stage2"))
    assert outcomes(runs)[0].best == ()


def test_a_run_that_diverged_is_not_best_by_what_it_was_before(tmp_path: Path) -> None:
    lives = [[(1, {"train/loss": 3.0})], [(1, {"train/loss": 1.0}), (2, {"train/loss": float("nan")})]]
    runs = [read_summary(make_run(tmp_path, Life(metrics=life), seed=seed).path) for seed, life in enumerate(lives)]
    assert outcomes(runs) == ()
    assert compare_runs(runs).lone == ("train/loss",)


def test_a_cost_that_is_unknown_stays_so(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"usage/tokens_per_second": 50.0}, {})
    found = {cost.name: cost.values for cost in costs(runs)}
    assert found == {
        "training": (1.0, 1.0),
        "devices": (1.0, 1.0),
        "energy of GPUs": (None, None),
        "throughput": (50.0, None),
    }


def test_families_that_are_told_exist_and_the_others_do_not_say_what_a_run_came_to() -> None:
    assert set(TOLD) < set(FAMILIES)
    assert outcome_family("train/loss") == "train"
    assert outcome_family("train/loss/captions") is None
    assert outcome_family("usage/mfu") is None


def test_one_run_or_one_twice_is_no_comparison(tmp_path: Path) -> None:
    one, other = runs_of(tmp_path, {}, {})
    for wrong in ([], [one], [one, other, one]):
        with pytest.raises(ConfigError, match="two runs at least"):
            compare_runs(wrong)
