"""What tests of training share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.recipes.datacomp.tiny_study import PARAMETERS, silent, tiny_study
from trackyard.recipes.datacomp.cells import Cell
from trackyard.recipes.datacomp.study import Study
from trackyard.recipes.datacomp.training.training import train


@pytest.fixture(autouse=True, scope="package")
def variables_go_again() -> Iterator[None]:
    """A process that trains forms a process group, and says in its environment which rank of it it is."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="package")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Both runs at seed 42; tests that write take a copy."""
    study = tiny_study(tmp_path_factory.mktemp("trained"))
    for run in ("world", "soft_prompt"):
        train(study, Cell(name=run, seed=42), silent, PARAMETERS)
    return study
