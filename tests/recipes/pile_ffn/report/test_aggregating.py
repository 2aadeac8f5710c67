import re
import shutil
from pathlib import Path

import pytest

from tests.recipes.pile_ffn.made_results import NLL, made_study, write_study
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.report.aggregating import REPORT, STAGE, SUMMARY, aggregate
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study
from trackyard.record.metrics_file import read_metrics

FIGURES = ("robustness", "components", "benchmarks", "order")
RESERVED = re.compile(r"(?<!globally_)\b(monoton\w*|certif\w*)", re.IGNORECASE)
"""Words that no arm has earned (pile-ffn spec section 1)."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, list[str]]:
    """A study that was aggregated, and what was said."""
    study = made_study(tmp_path_factory.mktemp("study"), seeds=(42, 1337))
    write_study(study)
    said: list[str] = []
    aggregate(study, said.append)
    return study, said


def test_what_lies_there_afterwards(done: tuple[Study, list[str]]) -> None:
    results = done[0].artifacts / "results"
    assert {path.name for path in results.iterdir()} == {
        SUMMARY, REPORT, "metrics.json", "curves", *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg")),
    }  # fmt: skip
    cells = {cell.name for cell in done[0].parameters.trained_cells}
    assert {path.stem for path in (results / "curves").iterdir()} == cells
    assert (results / "curves" / "baseline-42.csv").read_text().startswith("step,loss\n10,2.0\n")
    metrics = read_metrics(results / "metrics.json")
    assert set(metrics) == {"study", *done[0].parameters.cells}
    (run,) = (done[0].runs / "pile_ffn" / "study").iterdir()
    shown = {path.name for path in (run / "results").iterdir()}
    assert shown == {SUMMARY, REPORT, "metrics.json", *(f"{name}.png" for name in FIGURES)}


def test_the_summary(done: tuple[Study, list[str]]) -> None:
    study, _ = done
    found = read_result(study.artifacts / "results" / SUMMARY, STAGE)
    assert found.header.arm == "all"
    assert found.header.globally_monotonic is False
    assert len(found.header.inputs) == found.body["examined"]["results"] == 84
    assert [row["arm"] for row in found.body["table"]] == list(NLL)
    assert all(row["globally_monotonic"] is False for row in found.body["table"])
    pair = found.body["paired"][0]
    assert {"a", "b", "attack", "diff", "ci95", "mcnemar_p", "holm_p", "detectable"} <= pair.keys()
    assert len(pair["ci95"]) == 2
    assert [claim["claim"] for claim in found.body["claims"]][1] == "no claim: 2 seeds where 3 are needed"
    assert found.body["transfer"]["uat"]["baseline"]["nonneg_mlp_both"]["mean"] == pytest.approx(0.04)
    assert {flag["flag"] for flag in found.body["flags"]} == {"better_in_relative_terms_only"}


def test_what_a_person_reads(done: tuple[Study, list[str]]) -> None:
    study, said = done
    report = (study.artifacts / "results" / REPORT).read_text()
    for text in ("\n".join(said), report):
        for arm in NLL:
            assert arm in text
        assert "nonneg_mlp_both" in text
        assert "2 seeds where 3 are needed" in text
        assert "84 result files" in text
        assert not RESERVED.search(text)
    assert all(f"![{line}" in report for line in ("Perplexity against", "Perplexity by", "Benchmark", "By layer"))
    assert all(f"({name}.png)" in report for name in FIGURES)
    assert max(map(len, said[:20])) <= 150
    assert said[-2] == "11 training runs have these numbers beside their curves"
    assert RESERVED.search("a certified arm")


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_again_gives_the_same(done: tuple[Study, list[str]]) -> None:
    study, _ = done
    results = study.artifacts / "results"
    before = files_in(results)
    body = read_result(results / SUMMARY, STAGE).body
    shutil.rmtree(results)
    aggregate(study, lambda line: None)
    assert read_result(results / SUMMARY, STAGE).body == body
    after = files_in(results)
    assert {name for name in before if before[name] != after[name]} <= {SUMMARY}  # wall_s


def test_a_refused_study_puts_nothing_out(done: tuple[Study, list[str]], tmp_path: Path) -> None:
    whole, _ = done
    shutil.copytree(whole.artifacts, tmp_path / "artifacts" / "pile_ffn", ignore=shutil.ignore_patterns("results"))
    study = made_study(tmp_path, seeds=(42, 1337))
    shutil.rmtree(study.artifacts / "attack_uat" / "baseline" / "42")
    with pytest.raises(DataError, match="attack_uat lacks baseline/42"):
        aggregate(study, lambda line: None)
    assert not (study.artifacts / "results").exists()
