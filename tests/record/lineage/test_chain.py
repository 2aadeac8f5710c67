"""A path is asked about, whatever it is: export, file in it, run, checkpoint, table; and texts name no place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.record.lineage.small_world import WEIGHTS, World, make_world
from tests.record.lineage.stage_world import TABLE
from trackyard.errors import ConfigError, DataError
from trackyard.record.image import IMAGE_FILE_VARIABLE
from trackyard.record.lineage.chain import chain_of, relative
from trackyard.record.lineage.document import LINEAGE
from trackyard.record.lineage.links import Link
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


def test_what_no_digest_is_recorded_of_is_refused(world: World) -> None:
    """The chain of the run that it lies in would be proved, and it would not be looked at."""
    (world.run.path / "log.txt").write_text("words")
    lacking = [world.export / "nothing", world.checkpoint.with_name("step-00000009")]
    there = [world.run.path / "log.txt", world.run.checkpoints, world.checkpoint / "manifest.json"]
    for path, told in ((path, told) for paths, told in ((lacking, "does not exist"), (there, "is not recorded"))
                       for path in paths):  # fmt: skip
        with pytest.raises(ConfigError, match=told) as raised:
            chain_of(path, world.root)
        command, _, named = raised.value.fix.rpartition(" ")
        assert command == "trackyard lineage show"
        assert chain_of(Path(named), world.root).kind in ("made", "checkpoint")
    for path in (world.run.path / LINEAGE, world.run.result, world.export / "sub"):
        prove(chain_of(path, world.root))


def test_a_recorded_file_that_is_gone_is_for_the_proof_to_name(world: World, tmp_path: Path) -> None:
    export = tmp_path / "export"
    shutil.copytree(world.export, export)
    (export / WEIGHTS).unlink()
    with pytest.raises(DataError, match=rf"{WEIGHTS}: expected \w+, found none \(no such file\)"):
        prove(chain_of(export / WEIGHTS, world.root))


def test_links_in_the_repository_are_not_followed(stages: Path, tmp_path: Path) -> None:
    """data/ on another disk, and a file that DVC has linked to its cache."""
    (stages / "data").rename(tmp_path / "disk")
    (stages / "data").symlink_to(tmp_path / "disk")
    assert "snapshot data/charts" in [link.name for link in chain_of(stages / "data/charts", stages).walk()]
    table = stages / TABLE / "table.csv"
    table.rename(tmp_path / "cached")
    table.symlink_to(tmp_path / "cached")
    prove(chain_of(table, stages))
    (tmp_path / "checkout-link").symlink_to(stages)
    assert chain_of(tmp_path / "checkout-link" / TABLE / ".." / "results", stages).name == f"made {TABLE}"


def test_only_what_lies_in_the_repository_is_named_relative_to_it() -> None:
    root = Path("/srv/yard")
    texts = {
        "fetch /srv/yard/a/b": "fetch a/b",
        "in '/srv/yard'. Or /srv/yard.": "in '.'. Or ..",
        "/srv/yard-old/a, /srv/yard.old/a": "/srv/yard-old/a, /srv/yard.old/a",
        "/backup/srv/yard/a": "/backup/srv/yard/a",
    }
    for text, told in texts.items():
        link = Link(kind="made", name="made", fix=text, facts={"path": text}, absent=text)
        found = relative(link, root)
        assert (found.fix, found.facts["path"], found.absent) == (told, told, told)
