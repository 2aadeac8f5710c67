"""A file system without flock, made by a preloaded library: dvc and trackyard stop, the doctor says what mends it, and
after just that both work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LIBRARY = "#include <errno.h>\nint flock(int file, int operation) { errno = ENOLCK; return -1; }\n"
STAGE = """\
stages:
  made:
    meta: {needs: cpu}
    cmd: echo well > made.txt
    deps: [given.txt]
    outs: [made.txt]
"""
LOCKS = """
from pathlib import Path
from trackyard.launch.lock import run_lock
with run_lock(Path("runs")):
    print("locked")
"""
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed: it compiles the library"),
]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    (tmp_path / "noflock.c").write_text(LIBRARY)
    made = tmp_path / "noflock.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(made), str(tmp_path / "noflock.c")], check=True)
    return made


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    (root / "dvc.yaml").write_text(STAGE)
    (root / "given.txt").write_text("x")
    for name in ("params.yaml", "sites", "catalog", "requirements.lock"):
        (root / name).symlink_to(ROOT / name)
    return root


def shell(command: str, root: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def rows(root: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    done = shell("trackyard doctor --json", root, environment)
    assert done.stdout, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["rows"]}


def test_the_doctor_finds_it_and_its_fix_mends_it(repository: Path, library: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TRACKYARD_")},
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HF_HUB_OFFLINE": "1",
        "LD_PRELOAD": str(library),
    }
    environment["TRACKYARD_COMMIT"] = "0123456789abcdef" * 2 + "01234567"
    lock = f"{sys.executable} -c '{LOCKS}'"
    submit = "trackyard submit made --dry-run --site anvil"

    # As it is found: nothing works, and what failed leaves a file behind.
    repro = shell("dvc repro made", repository, environment)
    assert (repro.returncode, "Unable to acquire lock" in repro.stderr) == (255, True)
    assert not (repository / "made.txt").exists()
    submitted = shell(submit, repository, environment)
    assert (submitted.returncode, "Unable to acquire lock" in submitted.stderr) == (1, True)
    assert "`trackyard doctor`" in submitted.stderr
    ours = shell(lock, repository, environment)
    assert (ours.returncode, "EnvironmentLacking" in ours.stderr) == (1, True)
    assert "export TRACKYARD_LOCKS=link" in ours.stderr

    # The doctor says so, with what mends it.
    before = rows(repository, environment)
    for name in ("locks of runs", "locks of DVC"):
        assert before[name]["state"] == "failed"
        assert before[name]["exit_code"] == 3
        assert "flock: No locks available" in before[name]["detail"]
    fix = before["locks of DVC"]["fix"]
    assert fix == "dvc config --local core.hardlink_lock true && trackyard unlock --remove"
    setting = before["locks of runs"]["fix"].removeprefix("export ").partition(" ")[0]
    assert setting == "TRACKYARD_LOCKS=link"

    # Done as it says, both work, and it finds nothing more.
    environment |= dict([setting.split("=")])
    mended = shell(fix, repository, environment)
    assert mended.returncode == 0, mended.stderr
    assert "removed .dvc/tmp/lock" in mended.stdout
    after = rows(repository, environment)
    assert {after[name]["state"] for name in ("locks of runs", "locks of DVC")} == {"passed"}
    submitted = shell(submit, repository, environment)
    assert (submitted.returncode, "never run" in submitted.stdout) == (0, True), submitted
    repro = shell("dvc repro made", repository, environment)
    assert repro.returncode == 0, repro.stderr
    assert (repository / "made.txt").read_text() == "well\n"
    ours = shell(lock, repository, environment)
    assert (ours.returncode, ours.stdout) == (0, "locked\n"), ours.stderr
