"""Heavy imports: no collection meanwhile, what was made exempt afterwards, the collector as it was found."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trackyard.imports import hidden, import_heavy

NAME = "a_heavy_library"
HEAVY = "import gc\ncollects = gc.isenabled()\nobjects = [[number] for number in range(1000)]\n"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that says whether the collector ran while it was imported."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / f"{NAME}.py"
    path.write_text(HEAVY)
    yield path
    sys.modules.pop(NAME, None)
    gc.unfreeze()


def test_no_garbage_is_looked_for_meanwhile(library: Path) -> None:
    assert gc.isenabled()
    import_heavy(NAME)
    assert sys.modules[NAME].collects is False
    assert gc.isenabled()
    assert gc.get_freeze_count() > 1000


def test_a_collector_that_is_off_stays_off(library: Path) -> None:
    gc.disable()
    try:
        import_heavy(NAME)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_there_freezes_nothing(library: Path) -> None:
    import_heavy(NAME)
    gc.unfreeze()
    import_heavy(NAME, "sys")
    assert gc.get_freeze_count() == 0


def test_the_collector_is_back_after_an_import_that_failed(library: Path) -> None:
    library.write_text("raise ImportError('half installed')\n")
    with pytest.raises(ImportError, match="half installed"):
        import_heavy(NAME)
    assert gc.isenabled()


def test_garbage_of_later_is_collected(library: Path) -> None:
    import_heavy(NAME)
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() > 0


def test_what_is_hidden_is_not_there_until_the_block_ends(library: Path) -> None:
    with pytest.raises(ModuleNotFoundError), hidden(NAME):
        __import__(NAME)
    assert NAME not in sys.modules
    __import__(NAME)
    with hidden(NAME):
        assert __import__(NAME) is sys.modules[NAME], "what is imported already stays in use"
