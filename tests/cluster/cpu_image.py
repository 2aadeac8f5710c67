"""The image `cpu` and its base, built from their definitions once and kept for later runs, by the digest of what they
are made of.

They lie below the user's cache directory, so that tests of another checkout of the same definitions find them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.system.repository import SOURCE

BASE = "containers/debian-base.sh"
INPUTS = ("containers/cpu.def", BASE, "containers/prove.py", "requirements.lock")
_MODULES = ("building", "arguments", "wheels", "definition", "describing", "lock_file", "sbom")
BUILDERS = ("Makefile", *(f"src/trackyard/launch/image/{name}.py" for name in _MODULES))
"""What builds it: an image of an earlier builder proves nothing of this one."""
PROGRAMS = {
    "apptainer": "install Apptainer 1.4 or newer",
    "debootstrap": "apt-get install debootstrap",
    "mksquashfs": "apt-get install squashfs-tools",
}
LIMIT_S = 3000.0
AUTHOR = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
          for what, value in (("NAME", "test"), ("EMAIL", "test@example.org"))}  # fmt: skip
"""Whose commits the image and its lock are."""
KEPT = Path("~/.cache/trackyard-tests")


@dataclass(frozen=True, kw_only=True)
class CpuImage:
    """folder: containers/ of a repository, with cpu.sif and the lock that describes it."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "cpu.sif"

    @property
    def digest(self) -> str:
        with open(self.file, "rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"

    def bring(self, repository: Path) -> None:
        """Put the lock, and what it names beside the image, into a repository; the image stays where it is."""
        for path in self.folder.iterdir():
            if path.suffix not in (".sif", ".log"):
                shutil.copy(path, repository / "containers" / path.name)


def lacking() -> str | None:
    """What keeps the image from being built here, in words; None if nothing does."""
    for name, mend in PROGRAMS.items():
        if shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])) is None:
            return f"{name} not found: {mend}"
    return None if os.geteuid() == 0 else "only root makes the Debian base of the image"


def debian_base() -> Path:
    """The Debian that images are built on, from the cache or made; another process that makes it is waited for."""
    place = _place("base", BASE).with_suffix(".sif")
    with FileLock(f"{place}.lock"):
        if not place.is_file():
            _run([str(SOURCE / BASE), str(place)], SOURCE)
    return place


def cpu_image() -> CpuImage:
    """The image, from the cache or built, likewise."""
    place, base = _place("cpu", *INPUTS, *BUILDERS), debian_base()
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            partial = place.with_name(f"{place.name}.part")
            shutil.rmtree(partial, ignore_errors=True)
            _build(partial, base)
            partial.rename(place)
    return CpuImage(folder=place / "containers")


def image_of_run(root: Path, stage: str) -> str | None:
    """That the identity of the one run of a molmo2 stage names."""
    (spec,) = root.glob(f"runs/molmo2/{stage}/*/spec.json")
    found = json.loads(spec.read_text())["spec"]["image"]
    assert found is None or isinstance(found, str)
    return found


def _place(name: str, *inputs: str) -> Path:
    digest = hashlib.sha256(b"\0".join((SOURCE / path).read_bytes() for path in inputs)).hexdigest()
    folder = KEPT.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{digest[:16]}"


def _build(root: Path, base: Path) -> None:
    """A repository with nothing but the image, built on a base that is there as a user builds it."""
    (root / "containers").mkdir(parents=True)
    for name in (*INPUTS, "containers/image.lock.json", "params.yaml", "Makefile", "pyproject.toml"):
        shutil.copy(SOURCE / name, root / name)
    (root / "containers/image.lock.json").write_text('{"schema": "trackyard-image-lock/1", "images": {}}\n')
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=image"]):
        _run(["git", *words], root, AUTHOR)
    shutil.copy(base, root / "containers/debian-12.sif")
    _run(["make", "--old-file=setup", "image"], root)
    (root / "containers/debian-12.sif").unlink()


def _run(argv: list[str], folder: Path, variables: dict[str, str] | None = None) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        argv, cwd=folder, env={**os.environ, **(variables or {}), "PATH": path}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, check=False, timeout=LIMIT_S,
    )  # fmt: skip
    assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout[-4000:]}"
