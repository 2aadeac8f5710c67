"""An image from elsewhere is taken over if it proves what it is; else nothing changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.small_image import git
from tests.launch.image.fake_apptainer import FakeApptainer
from trackyard.errors import ConfigError, DataError, TrackyardError
from trackyard.launch.image.adopting import adopt
from trackyard.launch.image.arguments import sha256_of
from trackyard.launch.image.lock_file import Locked, locking, read_lock
from trackyard.launch.image.verifying import checks
from trackyard.launch.preflight import run_checks


@pytest.fixture
def source(root: Path, apptainer: FakeApptainer, tmp_path: Path) -> Path:
    """As built in another checkout of the same commit."""
    apptainer.labels["org.opencontainers.image.revision"] = git(root, "rev-parse", "HEAD")
    apptainer.labels["org.trackyard.lock"] = sha256_of((root / "requirements.lock").read_bytes())
    (tmp_path / "brought.sif").write_bytes(b"brought")
    return tmp_path / "brought.sif"


def test_it_is_tested_copied_and_locked(root: Path, source: Path, apptainer: FakeApptainer) -> None:
    locked = adopt(root, "small", source, apptainer, site=None)
    assert (root / "containers" / "small.sif").read_bytes() == source.read_bytes() == b"brought"
    assert read_lock(root).images == {"small": locked}
    assert locked.def_sha256 == sha256_of((root / "containers" / "small.def").read_bytes())
    assert any("test" in argv for argv, _ in apptainer.calls)
    assert run_checks(checks(root, "small", apptainer, site=None)).ok
    assert adopt(root, "small", root / "containers" / "small.sif", apptainer, site=None) == locked, "where it lies"


def test_what_does_not_prove_itself_changes_nothing(
    root: Path, source: Path, locked: Locked, apptainer: FakeApptainer
) -> None:
    good = dict(apptainer.labels)
    cases = [
        ("org.trackyard.lock", "0" * 64, DataError, "was made from a requirements.lock of"),
        ("org.opencontainers.image.revision", "f" * 40, DataError, "which this checkout does not have"),
        ("org.opencontainers.image.revision", good["org.opencontainers.image.revision"] + "-dirty", DataError,
         "which this checkout does not have"),
        ("org.opencontainers.image.title", "", DataError, "lacks the labels"),
        ("org.opencontainers.image.base.digest", "bookworm", DataError, "digest='bookworm'"),
    ]  # fmt: skip
    written = [(root / path).read_bytes() for path in (locked.sbom, locked.packages)]
    for name, value, kind, what in cases:
        apptainer.labels = good | {name: value}
        with pytest.raises(kind, match=what):
            adopt(root, "small", source, apptainer, site=None)
    apptainer.labels, apptainer.test_code = good, 1
    with pytest.raises(TrackyardError, match=r"the test of .* ended with 1: an import failed"):
        adopt(root, "small", source, apptainer, site=None)
    with pytest.raises(ConfigError, match="there is no file"):
        adopt(root, "small", source.with_name("none.sif"), apptainer, site=None)
    assert read_lock(root).images == {"small": locked}
    assert (root / "containers" / "small.sif").read_bytes() == b"image"
    assert [(root / path).read_bytes() for path in (locked.sbom, locked.packages)] == written
    assert not list((root / "containers").glob(".partial-*"))


def test_an_image_is_not_taken_over_under_another_name(
    root: Path, source: Path, locked: Locked, apptainer: FakeApptainer
) -> None:
    (root / "containers" / "other.def").write_bytes((root / "containers" / "small.def").read_bytes())
    git(root, "add", "-A")
    git(root, "commit", "-qm", "a second definition")
    apptainer.labels["org.opencontainers.image.revision"] = git(root, "rev-parse", "HEAD")
    with pytest.raises(DataError, match="is titled 'trackyard-small', wanted 'trackyard-other'"):
        adopt(root, "other", source, apptainer, site=None)
    assert read_lock(root).images == {"small": locked}
    assert not (root / "containers" / "other.sif").exists()
    adopt(root, "small", source, apptainer, site=None)


def test_one_process_at_a_time(root: Path, source: Path, apptainer: FakeApptainer) -> None:
    with locking(root), pytest.raises(TrackyardError, match="is in use by"):
        adopt(root, "small", source, apptainer, site=None)
    assert read_lock(root).images == {}
