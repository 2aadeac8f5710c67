"""Names that are refused before anything heavy is imported."""

from pathlib import Path

import pytest

from tests.recipes.datacomp.mini_parameters import mini_parameters
from trackyard.errors import ConfigError
from trackyard.recipes.datacomp.stages import run_stage
from trackyard.recipes.datacomp.study import Study


@pytest.mark.parametrize(
    ("stage", "item", "told"),
    [
        ("trian", None, "no stage 'trian' of track datacomp"),
        ("train", None, "train is about world-42, .*; none is given"),
        ("train", "world", "'world' is not one of them"),
        ("evaluate", "world-42", "'world-42' is not one of them"),
        ("curate", "world", "curate is about the whole study; 'world' is not one of them"),
    ],
)
def test_wrong_names_are_refused(tmp_path: Path, stage: str, item: str | None, told: str) -> None:
    study = Study(root=tmp_path, parameters=mini_parameters())
    with pytest.raises(ConfigError, match=told) as caught:
        run_stage(study, stage, item, parameter_file=tmp_path / "params.yaml", say=print)
    assert caught.value.exit_code == 2
    assert "datacomp" in caught.value.fix
