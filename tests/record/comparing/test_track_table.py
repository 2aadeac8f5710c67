"""All runs of a track in one table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.record.made_runs import Life, make_run
from trackyard.errors import ConfigError
from trackyard.record.comparing.summary import RunSummary, read_summary
from trackyard.record.comparing.track_table import TrackTable, track_table


def made(root: Path, loss: float | None, *, life: dict[str, Any] | None = None, **changes: Any) -> RunSummary:
    metrics = [(5, {"validation/loss": loss, "validation/counting": 1 - loss})] if loss is not None else []
    return read_summary(make_run(root, Life(metrics=metrics, **(life or {})), **changes).path)


def rows_of(table: TrackTable) -> list[tuple[tuple[int, ...], dict[str, str | None]]]:
    return [(row.seeds, {name: row.values.get(name) for name in table.columns}) for row in table.rows]


def test_seeds_are_one_row_and_only_what_varies_is_a_column(tmp_path: Path) -> None:
    runs = [
        made(tmp_path, loss, seed=seed, parameters={"rate": rate, "same": 1, "seed": seed}, plan=str(seed) * 64)
        for rate, seed, loss in ((0.1, 1, 0.5), (0.1, 2, 0.7), (0.2, 1, 0.2), (0.2, 2, 0.4), (0.2, 3, 0.3))
    ]
    table = track_table(runs, "molmo2")
    assert [column.metric for column in table.metrics] == ["validation/loss"]
    assert rows_of(table) == [((1, 2, 3), {"rate": "0.2"}), ((1, 2), {"rate": "0.1"})]
    best, other = (row.metrics["validation/loss"] for row in table.rows)
    assert (best.mean, best.low, best.high, best.runs) == (pytest.approx(0.3), 0.2, 0.4, 3)
    assert best.sd == pytest.approx(0.1)
    assert other.sd == pytest.approx(0.2 / 2**0.5)
    # Each seed has a plan of its own, and that is said.
    assert [row.redrawn for row in table.rows] == [True, True]


def test_one_seed_twice_is_two_rows_told_apart_by_what_differs(tmp_path: Path) -> None:
    runs = [made(tmp_path, loss, seed=1, plan=plan * 64) for loss, plan in ((0.5, "1"), (0.6, "2"))]
    table = track_table(runs, "molmo2")
    assert [row.seeds for row in table.rows] == [(1,), (1,)]
    assert table.columns == ("data:",)
    assert len({row.values["data:"] for row in table.rows}) == 2
    assert all(row.metrics["validation/loss"].sd is None for row in table.rows)


def test_a_run_that_goes_on_is_not_averaged_with_one_that_has_ended(tmp_path: Path) -> None:
    runs = [made(tmp_path, 0.5, seed=1), made(tmp_path, 0.6, seed=2, life={"ends": None})]
    table = track_table(runs, "molmo2")
    assert rows_of(table) == [((1,), {"status:": '"finished"'}), ((2,), {"status:": '"running"'})]


def test_that_no_run_has_finished_is_told(tmp_path: Path) -> None:
    runs = [made(tmp_path, loss, parameters={"rate": loss}, life={"ends": "failed"}) for loss in (0.5, 0.6)]
    assert [row["status:"] for _, row in rows_of(track_table(runs, "molmo2"))] == ['"failed"'] * 2


def test_seeds_that_were_measured_on_other_data_are_two_rows(tmp_path: Path) -> None:
    runs = [
        replace(made(tmp_path, loss, seed=seed), evaluated={"test": str(seed)}) for seed, loss in ((1, 0.5), (2, 0.7))
    ]
    table = track_table(runs, "molmo2")
    assert (table.columns, len(table.rows)) == (("evaluation:",), 2)


def test_what_each_seed_has_of_its_own_has_no_one_value(tmp_path: Path) -> None:
    runs = [made(tmp_path, 0.5, seed=seed, plan=str(seed) * 64, parameters={"rate": 1}) for seed in (1, 2)]
    runs.append(made(tmp_path, 0.6, seed=1, parameters={"rate": 2}))
    table = track_table(runs, "molmo2")
    assert table.columns == ("rate", "data:")
    assert [(row.by_seed("data:"), row.by_seed("rate")) for row in table.rows] == [(True, False), (False, False)]


def test_a_parameter_may_be_called_as_a_kind_is(tmp_path: Path) -> None:
    model = {"id": "a", "model": "same"}
    runs = [
        made(tmp_path, 0.5, parameters={"stage": 1, "status": 2}, model=model),
        made(tmp_path, 0.6, parameters={"stage": 3, "status": 4}, model=model | {"id": "b"}),
    ]
    table = track_table(runs, "molmo2")
    assert table.columns == ("stage", "status", "model:")
    assert [row.values["stage:"] for row in table.rows] == ['"stage2"'] * 2
    assert len({row.values["model:"] for row in table.rows}) == 2


def test_a_seed_that_diverged_is_not_averaged(tmp_path: Path) -> None:
    lives = [[(1, {"validation/loss": 0.5})], [(1, {"validation/loss": 0.1}), (2, {"validation/loss": float("inf")})]]
    runs = [read_summary(make_run(tmp_path, Life(metrics=life), seed=seed).path) for seed, life in enumerate(lives)]
    (row,) = track_table(runs, "molmo2").rows
    found = row.metrics["validation/loss"]
    assert (row.seeds, found.mean, found.sd, found.runs) == ((0, 1), 0.5, None, 1)


def test_rank_is_by_the_first_metric_in_its_better_direction(tmp_path: Path) -> None:
    runs = [made(tmp_path, loss, parameters={"rate": rate}) for rate, loss in enumerate((0.5, 0.2, None, 0.9))]
    for metrics, order in (([], [1, 0, 3, 2]), (["validation/counting", "validation/loss"], [1, 0, 3, 2])):
        table = track_table(runs, "molmo2", metrics=metrics)
        assert [int(str(row.values["rate"])) for row in table.rows] == order
    upside_down = track_table([made(tmp_path / "b", x, parameters={"rate": x}) for x in (0.1, 0.9)], "molmo2")
    assert [row.values["rate"] for row in upside_down.rows] == ["0.1", "0.9"]


def test_stages_stand_apart_and_their_own_parameters_are_no_columns(tmp_path: Path) -> None:
    runs = [
        made(tmp_path, 0.1, stage="stage2", parameters={"steps": 9, "rate": 1}),
        made(tmp_path, 0.5, stage="stage1", parameters={"steps": 3, "rate": 1}),
        made(tmp_path, 0.4, stage="stage1", parameters={"steps": 3, "rate": 2}),
    ]
    table = track_table(runs, "molmo2")
    assert table.columns == ("stage:", "rate")
    assert [row.runs[0].stage for row in table.rows] == ["stage1", "stage1", "stage2"]
    assert track_table(runs, "molmo2", stage="stage2").columns == ()


def test_a_sum_over_seeds_with_one_unknown_is_unknown(tmp_path: Path) -> None:
    known = [made(tmp_path / "a", 0.5, seed=seed, life={"machine": 2}) for seed in (1, 2)]
    assert track_table(known, "molmo2").rows[0].device_hours == 4.0
    half = [known[0], made(tmp_path / "b", 0.5, seed=3)]
    assert track_table(half, "molmo2").rows[0].device_hours is None


def test_a_track_without_a_headline_is_ranked_by_a_score_that_most_runs_have(tmp_path: Path) -> None:
    values = {"eval/vqa/cap_rate": 0.0, "eval/vqa/vqa": 0.5, "latency/vqa/total_p50_ms": 3.0}
    runs = [
        read_summary(make_run(tmp_path, Life(metrics=[(0, values | extra)]), track="nine", seed=seed).path)
        for seed, extra in enumerate(({}, {"eval/a/vqa": 1.0}))
    ]
    assert [column.metric for column in track_table(runs, "nine").metrics] == ["eval/vqa/vqa"]


def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    runs = [made(tmp_path, 0.5)]
    with pytest.raises(ConfigError, match="no run of nine") as no_track:
        track_table(runs, "nine")
    assert no_track.value.why == "runs/ holds none of this track; tracks are molmo2, pile_ffn, datacomp, nine"
    with pytest.raises(ConfigError, match="no run of molmo2 stage9") as no_stage:
        track_table(runs, "molmo2", stage="stage9")
    assert "of the stages stage2" in no_stage.value.why
    assert no_stage.value.fix == "trackyard compare --track molmo2 --stage stage2"
    with pytest.raises(ConfigError, match="has the metric test/nll") as no_metric:
        track_table(runs, "molmo2", metrics=["test/nll"])
    assert no_metric.value.why == "what they came to is validation/counting, validation/loss"
