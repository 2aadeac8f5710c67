"""A data set is recorded by what proves all of it: every file of every kind is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record.lineage.small_world import World, make_world
from trackyard.digest import digest_file
from trackyard.errors import DataError
from trackyard.record.lineage import data
from trackyard.snapshot.manifest import Manifest


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(("name", "kind"), [("charts", "rows"), ("text", "tokens")])
def test_every_file_is_listed(world: World, name: str, kind: data.DataKind) -> None:
    directory, recorded = world.root / "data" / name, world.second.snapshots[name]
    found = data.contents(kind, directory)
    assert found.fingerprint == recorded.fingerprint
    assert (found.source, found.licence) == (recorded.source, recorded.licence)
    listed = {**found.files, **recorded.files}
    there = [path for path in directory.rglob("*") if path.is_file()]
    assert listed == {path.relative_to(directory).as_posix(): digest_file(path) for path in there}


def test_a_fingerprint_is_what_a_specification_names(world: World) -> None:
    charts, text = world.root / "data" / "charts", world.root / "data" / "text"
    assert data.rows(charts).fingerprint == Manifest.read(charts).fingerprint
    assert data.tokens(text, restore="").fingerprint == digest_file(text / "manifest.json")
    assert (data.rows(charts).licence, data.tokens(text, restore="").source) == ("CC-BY-4.0", {"kind": "mini"})


def test_what_has_no_manifest_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no manifest\.json"):
        data.rows(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        data.latents(tmp_path, licence=None, restore="")
    with pytest.raises(ValueError, match="samples have no manifest"):
        data.contents("samples", tmp_path)
