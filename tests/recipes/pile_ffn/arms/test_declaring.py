"""What each arm constrains, printed, counted and kept; nothing is written where one arm cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.pile_ffn.tiny_study import FAMILIES, VARIANTS, tiny_study
from trackyard.errors import ConfigError, DataError
from trackyard.models.nonneg import FLOOR
from trackyard.models.nonneg_names import VARIANTS as MATRICES
from trackyard.recipes.pile_ffn.arms.declaring import declaration_of, init
from trackyard.recipes.pile_ffn.arms.original import CELL
from trackyard.recipes.pile_ffn.cells import Arm, Cell
from trackyard.recipes.pile_ffn.cost.architectures import count
from trackyard.recipes.pile_ffn.measures.exports import load_exact
from trackyard.recipes.pile_ffn.parameters import Family
from trackyard.recipes.pile_ffn.results import read_result
from trackyard.recipes.pile_ffn.study import Study

LAYERS = 2


@pytest.mark.parametrize("family", FAMILIES)
def test_every_trained_arm_is_declared(tmp_path: Path, family: Family) -> None:
    study, lines = tiny_study(tmp_path, family), list[str]()
    init(study, lines.append)
    counts = count(load_exact(study, CELL))
    for name in study.parameters.arms:
        cell, arm = Cell(arm=name, seed=None), Arm.named(name)
        result = read_result(study.document("init", cell), "init")
        body = result.body
        assert (result.header.arm, result.header.seed) == (name, None)
        assert (body["params_total"], body["params_ffn"]) == (counts.total, counts.ffn)
        declared = declaration_of(study, arm)
        if arm.variant is None:
            assert (body["matched"], body["expected"], body["names"], declared) == (0, 0, [], None)
            continue
        wanted = LAYERS * len(MATRICES[arm.variant].suffixes)
        assert (body["matched"], body["expected"], len(body["names"])) == (wanted, wanted, wanted)
        assert declared is not None
        assert [matrix.name for matrix in declared.matrices] == body["names"]
        at = lines.index(declared.lines()[0])
        assert lines[at:][: len(declared.lines())] == declared.lines(), "the total first, then its matrices"
        assert body["roundtrip_rel_max"] <= 2e-6
        if arm.kind == "nonneg":
            assert body["min"] >= 0.99 * FLOOR
        assert body["sign_flip_fraction"] == (0.0 if arm.kind == "signfrozen" else pytest.approx(0.5, abs=0.05))


def test_one_arm_that_does_not_fit_leaves_no_table_of_the_others(tmp_path: Path) -> None:
    first, other = tiny_study(tmp_path / "a"), tiny_study(tmp_path / "b", "llama")
    mixed = Study(root=other.root, parameters=first.parameters)
    mixed.__dict__["code"] = other.code
    with pytest.raises(ConfigError, match=f"{VARIANTS['gpt_neox'][0]} of a model of type 'llama': 0 nn.Linear"):
        init(mixed, lambda _: None)
    assert not (other.artifacts / "init").exists()


def test_a_declaration_that_was_never_made_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        declaration_of(tiny_study(tmp_path), Arm("baseline"))


def test_a_start_that_is_not_the_proved_one_is_refused(tmp_path: Path) -> None:
    study = tiny_study(tmp_path)
    (study.export(CELL) / "bf16" / "model.safetensors").unlink()
    with pytest.raises(DataError, match=r"model.safetensors has blake3 none \(no such file\)"):
        init(study, lambda _: None)
