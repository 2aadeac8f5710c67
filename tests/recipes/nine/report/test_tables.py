"""Tables hold what was measured; the report says in words what a reader must not miss."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from tests.recipes.nine.report.made_sweep import KEYS, SWEEP, TASKS, made_gathered, made_results, made_scores
from trackyard.evaluate.completeness import Tally
from trackyard.recipes.nine.report.findings import CutAnswers, findings, require_uncapped, warnings
from trackyard.recipes.nine.report.frontiers import frontiers
from trackyard.recipes.nine.report.gathering import Gathered, put_together
from trackyard.recipes.nine.report.metrics import configuration_metrics, sweep_metrics, write_numbers
from trackyard.recipes.nine.report.pairs import Pairs
from trackyard.recipes.nine.report.tables import write_tables
from trackyard.recipes.nine.report.writing import SPOKEN, report, spoken
from trackyard.record.metrics_file import read_metrics


def text_of(gathered: Gathered) -> tuple[str, list[str]]:
    found = frontiers(gathered)
    listed = findings(gathered, found, Pairs(gathered, resamples=200))
    warned = warnings(gathered)
    figures = {"figures/all-total.png": "all"}
    return report(gathered, found, listed, warned, figures, {}, {}), spoken(gathered, listed, warned, "results")


def test_a_row_per_configuration_by_latency(tmp_path: Path) -> None:
    gathered = made_gathered()
    write_tables(gathered, frontiers(gathered), tmp_path)
    for task in TASKS:
        rows = list(csv.DictReader((tmp_path / "tables" / f"{task.name}.csv").open()))
        assert {row["key"] for row in rows} == set(KEYS.values())
        times = [float(row["total_p50_ms"]) for row in rows]
        assert times == sorted(times)
        for row in rows:
            result = gathered.results[task.name][row["key"]]
            assert float(row["value"]) == result.metric[task.metric].value
            assert float(row["step_p99_ms"]) == result.times.parts["step"].p99
            assert [int(row["visual"]), int(row["experts"]), int(row["blocks"])] == list(result.knobs.values())
        lines = (tmp_path / "tables" / f"{task.name}.md").read_text().splitlines()
        assert sum(line.startswith("| ") for line in lines) == len(KEYS) + 2
    shared = list(csv.DictReader((tmp_path / "tables" / "overlap.csv").open()))
    assert len(shared) == 3 * 9 * 9


def test_metrics_are_numbers_by_name(tmp_path: Path) -> None:
    gathered = made_gathered()
    found = frontiers(gathered)
    listed = findings(gathered, found, Pairs(gathered, resamples=100))
    write_numbers(gathered, found, listed, tmp_path)
    metrics = read_metrics(tmp_path / "metrics.json")
    assert metrics == {"sweep": sweep_metrics(listed)}
    assert {name.split("/")[-2] for name in metrics["sweep"] if name.startswith("eval/")} == {
        task.name for task in TASKS
    }
    best = listed[0].best
    assert metrics["sweep"][f"eval/{best.dataset}/{listed[0].task.metric}"] == best.metric[listed[0].task.metric].value
    quick = listed[0].fastest.metric[listed[0].task.metric]
    assert metrics["sweep"][f"eval/fastest/{best.dataset}/{listed[0].task.metric}"] == quick.value
    assert metrics["sweep"][f"latency/{best.dataset}/best_ms"] == best.times.parts["total"].p50
    assert len(list(csv.DictReader((tmp_path / "points.csv").open()))) == len(KEYS) * len(TASKS)
    values = configuration_metrics(gathered, SWEEP.keys[0])
    result = gathered.results["mmmu"][SWEEP.keys[0]]
    assert values["eval/mmmu/mmmu"] == result.metric["mmmu"].value
    assert values["latency/mmmu/prefill_p95_ms"] == result.times.parts["prefill"].p95
    assert configuration_metrics(gathered, "f" * 64) == {}


def test_the_report_names_best_fastest_and_ties() -> None:
    text, lines = text_of(made_gathered())
    assert len(lines) <= SPOKEN
    for words in ("best is visual 6, experts 12, blocks 8", "tie with it", "steps of the frontier are ties",
                  "guessing scores 0.250", "says nothing of a GPU", "not comparable with anything above"):  # fmt: skip
        assert words in text, words
    assert "PARTIAL" not in text


def test_what_a_reader_must_be_wary_of() -> None:
    results = made_results()
    odd = replace(
        results[0], cap_rate=0.02, unparsed_rate=0.3, tally=Tally(expected=24, ok=23, failed=1),
        times=replace(results[0].times, invalid=2),
    )  # fmt: skip
    sweep = replace(SWEEP, busy=("load 7.0 on 2 cores",), different=3)
    gathered = put_together(sweep, TASKS, [odd, *results[1:]], made_scores)
    told = "\n".join(warnings(gathered))
    for words in ("2.0% of the answers of visual 1, experts 4, blocks 4 end at the cap without an end token, 1.0% may",
                  "no rule reads 30.0%", "1 questions failed", "2 timings do not sum", "3 answers differ",
                  "load 7.0 on 2 cores", "CPU"):  # fmt: skip
        assert words in told, words
    with pytest.raises(CutAnswers, match=r"2\.0% of the answers of visual 1, experts 4, blocks 4 end at the cap"):
        require_uncapped(gathered)
    require_uncapped(made_gathered())
    assert warnings(made_gathered()) == [line for line in warnings(made_gathered()) if "CPU" in line]


def test_a_partial_report_begins_with_saying_so_and_many_warnings_stay_short() -> None:
    found = [replace(each, cap_rate=0.5, unparsed_rate=0.5) for each in made_results()][:-1]
    text, lines = text_of(put_together(SWEEP, TASKS, found, made_scores, partial=True))
    assert text.splitlines()[2] == "**PARTIAL: 1 of 9 data sets incomplete**"
    assert len(lines) == SPOKEN
    assert "more in report.md" in lines[-2]
