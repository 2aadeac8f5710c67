"""A repository with a small image, built and locked once for a whole test run by `trackyard image build` itself.

The image has a Debian with Python 3.11 and one package, `tiny`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.cluster import cpu_image
from trackyard.launch.image.building import build
from trackyard.launch.image.lock_file import Locked, locked_image
from trackyard.runner import SystemRunner

SOURCE = Path(__file__).resolve().parents[2]
NAME = "small"
DEFINITION = """\
Bootstrap: localimage
From: {{ BASE }}

%arguments
    SOURCE=nowhere

%labels
    org.opencontainers.image.title trackyard-small
    org.opencontainers.image.version {{ VERSION }}
    org.opencontainers.image.revision {{ REVISION }}
    org.opencontainers.image.source {{ SOURCE }}
    org.opencontainers.image.created {{ CREATED }}
    org.opencontainers.image.licenses none
    org.opencontainers.image.base.name {{ BASE_NAME }}
    org.opencontainers.image.base.digest {{ BASE_DIGEST }}
    org.trackyard.lock {{ LOCK_SHA256 }}
    org.trackyard.cuda none
    org.trackyard.driver none

%files
    {{ WHEELS }} /wheels

%environment
    export LC_ALL=C.UTF-8
    export PYTHONNOUSERSITE=1
    export PATH=/usr/local/venv/bin:$PATH

%post
    set -eu
    (cd /wheels && sha256sum --check --quiet --strict SHA256SUMS)
    python3 -m venv --without-pip /usr/local/venv
    python3 -m zipfile -e /wheels/tiny-1.0-py3-none-any.whl /usr/local/venv/lib/python3.11/site-packages
    ln -s python3 /usr/local/venv/bin/python-of-image
    rm -rf /wheels

%test
    /usr/local/venv/bin/python -c 'import tiny; assert tiny.ANSWER == 42'
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class SmallImage:
    """root: a checkout whose lock has the image; path: its file; base: that of the image it was made on."""

    root: Path
    path: Path
    base: Path
    locked: Locked


@pytest.fixture(scope="session")
def small_image(tmp_path_factory: pytest.TempPathFactory) -> SmallImage:
    """Shared by all tests, which leave it as it is."""
    missing = cpu_image.lacking()
    if missing:
        pytest.skip(missing)
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    root = shared / "small-image"
    with FileLock(shared / "small-image.lock"):
        base = cpu_image.debian_base()
        if not (root / "containers" / f"{NAME}.sif").is_file():
            _built(root, base)
    path = root / "containers" / f"{NAME}.sif"
    return SmallImage(root=root, path=path, base=base, locked=locked_image(root, NAME))


def make_repository(root: Path) -> None:
    """A checkout that has the definition and a lock of one package."""
    (root / "containers").mkdir(parents=True)
    (root / "src").mkdir()
    (root / "src" / "of_the_checkout.py").write_text("HERE = True\n")
    (root / "params.yaml").write_text("{}\n")
    (root / "requirements.lock").write_text("tiny==1.0\n")
    (root / "containers" / f"{NAME}.def").write_text(DEFINITION)
    (root / "containers" / "image.lock.json").write_text('{"schema": "trackyard-image-lock/1", "images": {}}\n')
    (root / ".gitignore").write_text("*.sif\n*.build.log\n/runs\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        git(root, *words)


def git(root: Path, *words: str) -> str:
    who = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@a", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@a"}
    done = subprocess.run(["git", *words], cwd=root, env=os.environ | who, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def tiny_wheel(folder: Path) -> Path:
    """A package of one module, as pip would install it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("tiny.py", "ANSWER = 42\n")
        wheel.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        wheel.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("tiny-1.0.dist-info/RECORD", "")
    return path


def _built(root: Path, base: Path) -> None:
    make_repository(root)
    wheel = tiny_wheel(root.with_name("small-wheels"))
    earlier = os.environ.get("PIP_FIND_LINKS")
    os.environ["PIP_FIND_LINKS"] = str(wheel.parent)
    try:
        build(root, NAME, SystemRunner(), site=None, given={"BASE": str(base)}, temporary=None, say=_say)
    finally:
        os.environ.pop("PIP_FIND_LINKS")
        if earlier is not None:
            os.environ["PIP_FIND_LINKS"] = earlier


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
