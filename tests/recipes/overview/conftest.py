"""All tracks, made once; nobody writes into it but `write_report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.recipes.overview.made_tracks import make_all
from trackyard.recipes.overview.writing import write_report


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the results of all tracks, and their report."""
    root = tmp_path_factory.mktemp("tracks")
    make_all(root)
    write_report(root)
    return root
