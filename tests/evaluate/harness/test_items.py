"""Items as folders: those that the project writes load like a data set, those of the hub come from its cache alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from datasets import load_dataset

from tests.evaluate.harness.small_exports import Answering, is_right, made_items, watch_network
from trackyard.acquire.hub.files import CachePlace, RemoteFile
from trackyard.acquire.hub.record import HubRecord
from trackyard.catalog.entries import Entry, HubSource, load_catalogue
from trackyard.digest import digest_file
from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.evaluate.harness.items import fetched_items, write_items
from trackyard.evaluate.harness.run import run_on_model

COMMIT = "ab" * 20
CATALOGUE = Path(__file__).parents[3] / "catalog"


def entry(**changes: object) -> Entry:
    """The catalogue's, with another source."""
    source = HubSource(repo="allenai/winogrande", config="winogrande_xl", **changes)
    return load_catalogue(CATALOGUE)["winogrande"].model_copy(update={"hub": (source,)})


def hub_copy(cache: Path, files: dict[str, bytes], *, proved: bool = True) -> None:
    """A repository in the layout of the hub's cache: a snapshot of links to blobs, and its record."""
    place = CachePlace(cache=cache, repo="allenai/winogrande", kind="dataset")
    remote = []
    for path, data in files.items():
        digest = hashlib.sha256(data).hexdigest()
        blob, link = place.storage / "blobs" / digest, place.snapshot(COMMIT) / path
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
        remote.append(RemoteFile(path=path, bytes=len(data), sha256=digest, git_sha1=None))
    record = HubRecord(place=place, commit=COMMIT, files=tuple(remote)).expecting(remote)
    (record.proving(files) if proved else record).write()
    place.main.parent.mkdir(parents=True, exist_ok=True)
    place.main.write_text(COMMIT)


def test_what_is_written_is_a_data_set(tmp_path: Path) -> None:
    rows = [{"text": f"item {number}: é", "labels": [number, 1]} for number in range(3)]
    write_items(tmp_path, config="xl", split="validation", rows=rows)
    found = load_dataset(str(tmp_path), "xl", cache_dir=str(tmp_path / "cache"))
    assert list(found) == ["validation"]
    assert found["validation"].to_list() == rows


def test_no_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no item for"):
        write_items(tmp_path, config="xl", split="validation", rows=[])


@pytest.mark.parametrize("revision", [COMMIT, "unpinned"])
def test_a_copy_of_the_hub_is_read_at_its_commit_and_scored(
    tmp_path: Path, revision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = made_items(tmp_path / "made", 6)["winogrande"].directory
    hub_copy(tmp_path / "hub", {path.name: path.read_bytes() for path in made.iterdir()})
    seen = watch_network(monkeypatch)
    items = fetched_items(entry(revision=revision), tmp_path / "hub")
    assert (items.dataset, items.revision) == ("allenai/winogrande", COMMIT)
    assert items.files == {f"hub/allenai/winogrande@{COMMIT}/{path.name}": digest_file(path) for path in made.iterdir()}
    outcome = run_on_model(Answering(lambda asked: 0.0 if is_right(asked) else -9.0), {"winogrande": items}, limit=None)
    assert outcome.tasks["winogrande"].metrics["acc"].value == 1.0
    assert outcome.tasks["winogrande"].dataset_revision == COMMIT
    assert seen == []


@pytest.mark.parametrize(("gated", "begins"), [(False, "trackyard data"), (True, "accept the terms on the page of")])
def test_what_was_never_fetched_names_the_command(tmp_path: Path, gated: bool, begins: str) -> None:
    with pytest.raises(EnvironmentLacking, match="the items of winogrande are not on this machine") as caught:
        fetched_items(entry(revision=COMMIT, gated=gated), tmp_path)
    assert caught.value.fix.startswith(begins)
    assert caught.value.fix.endswith("trackyard data fetch winogrande")
    assert caught.value.exit_code == 3


def test_half_a_copy_is_none(tmp_path: Path) -> None:
    hub_copy(tmp_path, {"README.md": b"x"}, proved=False)
    with pytest.raises(EnvironmentLacking, match="is not complete"):
        fetched_items(entry(revision=COMMIT), tmp_path)
