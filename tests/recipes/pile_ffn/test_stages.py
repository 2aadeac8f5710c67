from importlib import import_module
from pathlib import Path

import pytest

from tests.recipes.pile_ffn.mini_parameters import mini_parameters
from trackyard.errors import ConfigError
from trackyard.recipes.pile_ffn.stages import STAGES, run_stage
from trackyard.recipes.pile_ffn.study import Study


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_its_function(name: str):
    stage = STAGES[name]
    assert callable(getattr(import_module(f"trackyard.recipes.pile_ffn.{stage.module}"), stage.function))


@pytest.mark.parametrize(
    ("stage", "item", "told"),
    [
        ("stage1", None, "no stage 'stage1' of track pile_ffn"),
        ("train", None, "none is given"),
        ("train", "untouched", "'untouched' is not one of them"),
        ("degrade", "baseline", "mlp_both; 'baseline'"),
        ("attack", "baseline-42", "absinit_mlp_both, degraded_mlp_both; 'baseline-42' is not one of them"),
        ("transfer", "7", "the whole study; '7'"),
        ("fetch", "baseline-42", "the whole study; 'baseline-42'"),
    ],
)
def test_what_is_no_stage_or_no_cell_is_refused(tmp_path: Path, stage: str, item: str | None, told: str):
    study = Study(root=tmp_path, parameters=mini_parameters())
    with pytest.raises(ConfigError, match=told):
        run_stage(study, stage, item, parameter_file=tmp_path / "params.yaml", say=print)
