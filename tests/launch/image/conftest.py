"""A checkout with a definition, and an apptainer that does nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cluster.small_image import make_repository
from tests.launch.image.fake_apptainer import FakeApptainer
from trackyard.launch.image.building import build
from trackyard.launch.image.lock_file import Locked


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`apptainer` is on PATH, whatever this machine has; nothing of the user is read or written."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "apptainer"
    program.write_text("#!/bin/sh\nexit 99\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TRACKYARD_SITE", "TRACKYARD_IMAGE", "TRACKYARD_IMAGE_DIGEST", "APPTAINER_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def root(tmp_path: Path, apart: None) -> Path:
    make_repository(tmp_path / "root")
    (tmp_path / "base.sif").write_bytes(b"base")
    return tmp_path / "root"


@pytest.fixture
def apptainer() -> FakeApptainer:
    return FakeApptainer()


@pytest.fixture
def locked(root: Path, apptainer: FakeApptainer) -> Locked:
    """The image `small`, as if it had been built."""
    base = root.parent / "base.sif"
    return build(root, "small", apptainer, site=None, given={"BASE": str(base)}, temporary=None, say=lambda _: None)
