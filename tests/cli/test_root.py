"""The root of a repository, and what the chosen site says for every command in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trackyard.cli.root import repository_root
from trackyard.errors import ConfigError
from trackyard.exclusive import LOCKS_VARIABLE, locks_in_force
from trackyard.launch.chosen import SITE_VARIABLE

SITE = "name: far\ndefault_partition: all\npartitions: {all: {device: any, cores_per_node: 1}}\nlocks: link\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text("")
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / "far.yaml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    for name in (SITE_VARIABLE, LOCKS_VARIABLE):
        # Set first, so that what the command sets is gone with the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def test_without_a_site_nothing_is_set(root: Path) -> None:
    assert repository_root() == root
    assert LOCKS_VARIABLE not in os.environ
    assert locks_in_force() == "flock"


def test_the_locks_of_the_site_are_in_force(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SITE_VARIABLE, "far")
    repository_root()
    assert locks_in_force() == "link"


@pytest.mark.usefixtures("root")
def test_the_environment_is_above_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SITE_VARIABLE, "far")
    monkeypatch.setenv(LOCKS_VARIABLE, "flock")
    repository_root()
    assert locks_in_force() == "flock"


@pytest.mark.usefixtures("root")
def test_a_site_that_is_not_there_stops_every_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SITE_VARIABLE, "near")
    with pytest.raises(ConfigError, match="no site 'near'"):
        repository_root()


def test_elsewhere_there_is_no_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root / "sites")
    with pytest.raises(ConfigError, match="not the root"):
        repository_root()
