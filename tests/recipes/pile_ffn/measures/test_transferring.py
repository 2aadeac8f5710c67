"""The stage `transfer`: the whole square, its diagonal, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.pile_ffn.tiny_study import VARIANTS, random_model, tiny_study
from trackyard.errors import DataError
from trackyard.models.nonneg_export import write_folded
from trackyard.recipes.pile_ffn.cells import ALL, UNTOUCHED, Cell
from trackyard.recipes.pile_ffn.measures.attacking import HOTFLIP, UAT, attack
from trackyard.recipes.pile_ffn.measures.transferring import STAGE, transfer
from trackyard.recipes.pile_ffn.results import admitted, read_result
from trackyard.recipes.pile_ffn.study import Study

SEED = 42
ARMS = [UNTOUCHED, "baseline", f"nonneg_{VARIANTS['gpt_neox'][0]}"]
CELLS = {arm: Cell(arm=arm, seed=None if arm == UNTOUCHED else SEED) for arm in ARMS}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Untouched weights and two arms, attacked."""
    arms = ARMS[1:]
    made = tiny_study(
        tmp_path,
        arms=arms,
        degraded=[],
        measured=["untouched", *arms],
        training={"learning_rates": dict.fromkeys(arms, 1e-3)},
    )
    for number, cell in enumerate(CELLS.values()):
        if cell.seed is not None:
            write_folded(made.export(cell), random_model("gpt_neox", number))
        attack(made, cell, str)
    return made


def test_the_square_is_full_and_its_diagonal_is_the_attack_itself(study: Study) -> None:
    said: list[str] = []
    transfer(study, SEED, said.append)
    (result,) = admitted(study.artifacts / STAGE, STAGE, {str(SEED): Cell(arm=ALL, seed=SEED)}).values()
    body = result.body
    assert {source: sorted(row) for source, row in body["cells"].items()} == {arm: sorted(ARMS) for arm in ARMS}
    assert body["diagonal"] == 2 * len(ARMS)
    assert body["diagonal_max_abs_diff"] <= 1e-6
    for arm, cell in CELLS.items():
        for name, stage in (("uat", UAT), ("hotflip_greedy", HOTFLIP)):
            direct = read_result(study.document(stage, cell), stage).body["attacks"][name]
            replayed = body["cells"][arm][arm][name]
            assert replayed.keys() < direct.keys()
            assert replayed["mean_delta_nats"] == pytest.approx(direct["mean_delta_nats"], abs=1e-6)
            assert replayed["ci95"] == pytest.approx(direct["ci95"], abs=1e-6)
            others = [body["cells"][arm][other][name]["mean_delta_nats"] for other in ARMS if other != arm]
            assert direct["mean_delta_nats"] not in others
    assert result.header.data.slice_digest is not None
    assert {path.split("/")[2] for path in result.header.inputs} == {"export", "tokens", UAT, HOTFLIP}
    assert said[0].startswith("seed 42: 3 x 3 arms, 6 replays equal the attack itself within ")


def test_exports_that_were_exchanged_are_noticed(study: Study) -> None:
    one, other = (study.export(CELLS[arm]) for arm in ARMS[1:])
    aside = study.root / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    with pytest.raises(DataError, match="4 of 6 attacks are others when replayed where they were crafted"):
        transfer(study, SEED, print)
    assert not (study.artifacts / STAGE).exists()


def test_a_missing_attack_is_refused_before_any_model_is_loaded(study: Study) -> None:
    study.document(HOTFLIP, CELLS["baseline"]).unlink()
    with pytest.raises(DataError, match=r"attack_hotflip/baseline/42/result\.json does not exist") as refused:
        transfer(study, SEED, print)
    assert refused.value.fix.endswith(":attack@baseline")
