from pathlib import Path

import pytest

from tests.recipes.pile_ffn.made_results import made_study, write_study
from trackyard.evaluate.comparison import Comparison
from trackyard.evaluate.statistics import Interval
from trackyard.recipes.pile_ffn.report.claims import Flag
from trackyard.recipes.pile_ffn.report.gathering import gather
from trackyard.recipes.pile_ffn.report.grids import (
    Grid,
    by_component,
    by_seed,
    comparisons,
    made,
    quality,
    robustness,
    transferred,
)
from trackyard.recipes.pile_ffn.report.rows import ArmRow
from trackyard.recipes.pile_ffn.report.table import tabulate, transfers

GRID = Grid(title="t", header=("arm", "ppl"), rows=(("baseline", "6.75"), ("a", "13.60")))


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def rows(directory: Path) -> list[ArmRow]:
    study = made_study(directory, seeds=(42, 1337))
    write_study(study)
    return tabulate(gather(study), study.parameters.cells, resamples=100)


def test_a_terminal_gets_columns() -> None:
    assert GRID.plain() == ["t", "arm         ppl", "--------  -----", "baseline   6.75", "a         13.60"]


def test_markdown_gets_numbers_at_the_right() -> None:
    assert GRID.markdown() == ["| arm | ppl |", "| --- | ---: |", "| baseline | 6.75 |", "| a | 13.60 |"]


def test_quality(rows: list[ArmRow]) -> None:
    grid = quality(rows)
    assert grid.header == ("arm", "cells", "ppl", "ppl per seed", "bpb", "hellaswag", "lambada_openai")
    # exp(1.9) and exp(1.91); 1.905 nats are 2.748 bits, over 4 bytes.
    assert grid.rows[1] == ("baseline", "2", "6.72", "6.69 6.75", "0.687", "0.305", "0.110")


def test_robustness_shows_intervals_of_attacks_and_plain_controls(rows: list[ArmRow]) -> None:
    flags = [Flag(flag="f", subject=subject, attack="uat", meaning="m") for subject in ("baseline", "baseline-42")]
    grid = robustness(rows, flags)
    arm, uat, trigger, *_, flagged = grid.rows[1]
    assert (arm, trigger, flagged) == ("baseline", "0.045", "2")
    assert uat.startswith("0.325 [0.32")
    assert grid.rows[0][-1] == "-"


def test_how_arms_were_made(rows: list[ArmRow]) -> None:
    assert made(rows).rows[3] == ("nonneg_mlp_both", "4", "2.6050", "2.6000 2.6100", "-")
    assert made(rows).rows[0] == ("untouched", "-", "-", "-", "-")
    assert made(rows).rows[-1][-1] == "0.1 0.1"


def test_attacks_by_seed(rows: list[ArmRow]) -> None:
    """Of the arm: 0.8 x 0.1 and 0.01 more under UAT, 0.1 and 0.01 more under greedy flips, clean loss 2.6 and 2.61."""
    assert by_seed(rows).rows[3] == (
        "nonneg_mlp_both", "0.080 0.090", "0.00", "3.3%", "0.100 0.110", "0.75", "4.0%",
    )  # fmt: skip


def test_components(rows: list[ArmRow]) -> None:
    assert by_component(rows).header == ("arm", "code", "prose")


def test_transfer(directory: Path, rows: list[ArmRow]) -> None:
    square = transfers(gather(made_study(directory, seeds=(42, 1337))))["hotflip_greedy"]
    grid = transferred("hotflip_greedy", square, ["baseline", "nonneg_mlp_both"])
    assert grid.rows == (("baseline", "0.400", "0.050"), ("nonneg_mlp_both", "0.200", "0.100"))


def test_pairs() -> None:
    pair = Comparison(
        a="x-42", b="baseline-42", attack="uat", documents=12, tau=0.1, diff=-0.02, ci95=Interval(-0.03, 0.01),
        detectable=0.05, mcnemar_p=0.001953125, holm_p=1.0,
    )  # fmt: skip
    assert comparisons([pair]).rows == (
        ("x-42", "baseline-42", "UAT", "12", "-0.020", "[-0.030, +0.010]", "0.050", "0.00195", "1"),
    )
