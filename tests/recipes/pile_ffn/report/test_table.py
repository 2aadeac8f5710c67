import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.recipes.pile_ffn.made_results import COMPONENTS, NLL, RISE, SHARE, made_study, write_study
from trackyard.errors import DataError
from trackyard.recipes.pile_ffn.report.gathering import Gathered, gather
from trackyard.recipes.pile_ffn.report.rows import ArmRow, OverSeeds
from trackyard.recipes.pile_ffn.report.table import tabulate, transfers
from trackyard.recipes.pile_ffn.results import Result
from trackyard.recipes.pile_ffn.study import Study

BOTH = "nonneg_mlp_both"
SEEDS = (42, 1337, 2024)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = made_study(tmp_path_factory.mktemp("study"), seeds=SEEDS)
    write_study(study)
    return study


@pytest.fixture(scope="module")
def gathered(study: Study) -> Gathered:
    return gather(study)


@pytest.fixture(scope="module")
def rows(study: Study, gathered: Gathered) -> dict[str, ArmRow]:
    return {row.arm: row for row in tabulate(gathered, study.parameters.cells, resamples=400)}


def changed(gathered: Gathered, stage: str, cell: str, body: Mapping) -> Gathered:
    """With another body of one result."""
    found = gathered.results[stage]
    result = Result(header=found[cell].header, body={**found[cell].body, **body})
    return replace(gathered, results={**gathered.results, stage: {**found, cell: result}})


def test_a_row_for_every_arm_in_their_order(rows: dict[str, ArmRow]) -> None:
    assert list(rows) == list(NLL)
    assert rows["untouched"].cells == ("untouched",)
    assert rows[BOTH].cells == tuple(f"{BOTH}-{seed}" for seed in SEEDS)
    assert rows[BOTH].variant == "mlp_both"
    assert all(row.to_json()["globally_monotonic"] is False for row in rows.values())


def test_perplexity(rows: dict[str, ArmRow]) -> None:
    row = rows[BOTH]
    by_seed = [2.60, 2.61, 2.62]
    assert list(row.nll.cells.values()) == pytest.approx(by_seed)
    assert row.nll.mean == pytest.approx(2.61)
    assert row.ppl.mean == pytest.approx(fmean(map(math.exp, by_seed)))
    assert row.bpb.mean == pytest.approx(2.61 / (4 * math.log(2)))
    assert row.nll_ci95[f"{BOTH}-42"] == pytest.approx({"low": 2.58, "high": 2.62})
    assert list(row.by_component) == sorted(COMPONENTS)
    assert row.by_component["code"].cells[f"{BOTH}-42"] == pytest.approx(math.exp(2.6005))
    assert row.val_nll is not None
    assert row.val_nll.mean == pytest.approx(2.61)


def test_how_an_arm_was_made(rows: dict[str, ArmRow]) -> None:
    degraded = rows["degraded_mlp_both"]
    assert [row.matched for row in rows.values()] == [None, 0, 4, 4, 4, 4, None]
    assert degraded.val_nll == OverSeeds.of(
        {f"degraded_mlp_both-{seed}": nll for seed, nll in zip(SEEDS, (2.6, 2.61, 2.62), strict=True)}
    )
    assert degraded.noise == dict.fromkeys(degraded.cells, 0.1)
    assert rows["untouched"].val_nll is rows["untouched"].noise is rows[BOTH].noise is None


def test_benchmarks_by_the_metric_of_their_definition(rows: dict[str, ArmRow]) -> None:
    lambada, hellaswag = (rows[BOTH].benchmarks[task] for task in ("lambada_openai", "hellaswag"))
    assert (lambada.metric, lambada.chance, lambada.items) == ("acc", None, 24)
    assert lambada.score.mean == pytest.approx(0.3 - 0.26)
    assert (hellaswag.metric, hellaswag.chance) == ("acc_norm", 0.25)
    assert hellaswag.score.mean == pytest.approx(0.4 - 0.13)
    assert hellaswag.stderr == dict.fromkeys(rows[BOTH].cells, 0.02)


@pytest.mark.parametrize("attack", SHARE)
def test_attacks(rows: dict[str, ArmRow], attack: str) -> None:
    found = rows[BOTH].attacks[attack]
    by_seed = [SHARE[attack] * RISE[BOTH] + 0.01 * replicate for replicate in range(3)]
    assert list(found.delta_nats.cells.values()) == pytest.approx(by_seed)
    assert found.delta_nats.mean == pytest.approx(by_seed[1])
    assert found.documents == 8
    assert found.ci95 is not None
    assert found.ci95.low < found.delta_nats.mean < found.ci95.high
    # Documents rise by 0.002, whatever the seed: seeds are averaged before documents are drawn.
    half = 1.96 * 0.002 * math.sqrt((8**2 - 1) / 12) / math.sqrt(8)
    assert (found.ci95.high - found.ci95.low) / 2 == pytest.approx(half, rel=0.25)
    relative = [rise / (2.6 + 0.01 * replicate) for replicate, rise in enumerate(by_seed)]
    assert found.relative_not_primary.mean == pytest.approx(fmean(relative))


def test_success_is_the_mean_over_seeds(rows: dict[str, ArmRow]) -> None:
    # Greedy flips of the arm: 0.1, 0.11, 0.12 nats; 4 of 8 documents reach 0.1 at the first seed, all at the others.
    assert list(rows[BOTH].attacks["hotflip_greedy"].success["0.1"].cells.values()) == [0.5, 1.0, 1.0]
    assert rows["baseline"].attacks["hotflip_greedy"].success["0.5"].mean == 0.0


def test_order(rows: dict[str, ArmRow]) -> None:
    order = rows[BOTH].order
    assert order.layers == (1, 2)
    assert order.score == pytest.approx((0.73, 0.81))
    assert list(order.cells[f"{BOTH}-2024"]) == pytest.approx([0.73, 0.82])
    assert order.random == (0.5, 0.5)
    assert order.ffn_direct == pytest.approx((0.8, 0.9))


def test_transfer(gathered: Gathered) -> None:
    square = transfers(gathered)["uat"]
    assert len(square) == len(square["baseline"]) == len(NLL)
    assert square["baseline"][BOTH].mean == pytest.approx(0.8 * 0.1 * 0.5)
    assert square[BOTH][BOTH].cells == pytest.approx(dict.fromkeys(map(str, SEEDS), 0.08))


def test_an_interval_does_not_depend_on_the_other_arms(study: Study, gathered: Gathered) -> None:
    cells = study.parameters.cells
    alone = {name: cell for name, cell in cells.items() if cell.arm == BOTH}
    (row,) = tabulate(gathered, alone, resamples=200)
    among = next(found for found in tabulate(gathered, cells, resamples=200) if found.arm == BOTH)
    assert row == among


def test_other_items_are_refused(study: Study, gathered: Gathered) -> None:
    tasks = gathered.results["eval_bench"][f"{BOTH}-42"].body["tasks"]
    one_less = {"tasks": {**tasks, "hellaswag": {**tasks["hellaswag"], "n": 23}}}
    absent = {"tasks": {"hellaswag": tasks["hellaswag"]}}
    for body, task in ((one_less, "hellaswag"), (absent, "lambada_openai")):
        with pytest.raises(DataError, match=f"{task} is .* in {BOTH}-42"):
            tabulate(changed(gathered, "eval_bench", f"{BOTH}-42", body), study.parameters.cells, resamples=100)


def test_other_attacked_documents_are_refused(study: Study, gathered: Gathered) -> None:
    attacks = gathered.results["attack_uat"][f"{BOTH}-1337"].body["attacks"]
    fewer = {"attacks": {**attacks, "uat": {**attacks["uat"], "records": attacks["uat"]["records"][1:]}}}
    with pytest.raises(DataError, match=f"{BOTH}-1337 was attacked on other documents than {BOTH}-42"):
        tabulate(changed(gathered, "attack_uat", f"{BOTH}-1337", fewer), study.parameters.cells, resamples=100)


@given(st.dictionaries(st.text(min_size=1), st.floats(-1e6, 1e6), min_size=1))
def test_a_mean_lies_among_its_seeds(cells: dict[str, float]) -> None:
    found = OverSeeds.of(cells)
    slack = 1e-9 * max(map(abs, cells.values()))
    assert min(cells.values()) - slack <= found.mean <= max(cells.values()) + slack
