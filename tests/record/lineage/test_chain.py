"""A path is asked about, whatever it is: export, file in it, run, checkpoint, table; and texts name no place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record.lineage.small_world import World, make_world
from tests.record.lineage.stage_world import TABLE
from trackyard.errors import ConfigError
from trackyard.record.image import IMAGE_FILE_VARIABLE
from trackyard.record.lineage.chain import chain_of
from trackyard.record.lineage.proof import prove


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Only read it."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(autouse=True)
def _no_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IMAGE_FILE_VARIABLE, raising=False)


def test_each_kind_of_path_has_its_chain(world: World) -> None:
    assert chain_of(world.export, world.root).name == "files"
    inside = chain_of(world.export / "sub" / "config.json", world.root)
    assert (inside.kind, inside.facts["path"]) == ("made", "artifacts/stage2")
    assert chain_of(world.run.path, world.root).kind == "made"
    assert chain_of(world.checkpoint, world.root).kind == "checkpoint"
    assert chain_of(world.checkpoint / "rank-0.safetensors", world.root).kind == "checkpoint"
    for path in (world.export, world.run.path, world.checkpoint):
        prove(chain_of(path, world.root))


def test_what_has_no_lineage_of_its_own_is_asked_of_dvc(made_stages: Path) -> None:
    assert chain_of(made_stages / TABLE, made_stages).name == f"made {TABLE}"
    assert chain_of(made_stages / "artifacts/stage2/sub", made_stages).name == "files"


def test_texts_name_files_relative_to_the_repository(made_stages: Path) -> None:
    for path in (TABLE, "artifacts/stage2"):
        for link in chain_of(made_stages / path, made_stages).walk():
            texts = [link.name, link.fix, link.absent or "", *link.facts.values()]
            texts += [text for one in link.claims for text in (one.what, one.expected, one.found)]
            assert not [text for text in texts if str(made_stages) in text], link
            assert all(file.path.is_absolute() for file in link.files)


def test_a_file_that_an_export_lacks_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        chain_of(world.export / "nothing", world.root)
