"""What tests of training share."""

from __future__ import annotations

import os

import pytest

from tests.recipes.datacomp.tiny_study import PARAMETERS, silent, tiny_study
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.training import train


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Both runs at seed 42; tests that write take a copy."""
    study = tiny_study(tmp_path_factory.mktemp("trained"))
    # Set up before the fixtures of a module, which would take what training leaves for what was there before.
    before = dict(os.environ)
    for run in ("world", "soft_prompt"):
        train(study, Cell(name=run, seed=42), silent, PARAMETERS)
    os.environ.clear()
    os.environ.update(before)
    return study
