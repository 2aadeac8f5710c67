"""The image `cpu`, built from its definition once and kept for later runs, by the digest of what it is made of.

It lies below the user's cache directory, so that tests of another checkout of the same definition find it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tests.system.repository import SOURCE

INPUTS = ("containers/cpu.def", "containers/debian-base.sh", "containers/prove.py", "requirements.lock")
PROGRAMS = {
    "apptainer": "install Apptainer 1.4 or newer",
    "debootstrap": "apt-get install debootstrap",
    "mksquashfs": "apt-get install squashfs-tools",
}
LIMIT_S = 3000.0


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


def cpu_image() -> CpuImage:
    """The image, from the cache or built; another process that builds it is waited for."""
    digest = hashlib.sha256(b"\0".join((SOURCE / name).read_bytes() for name in INPUTS)).hexdigest()
    place = Path("~/.cache/trackyard-tests").expanduser() / f"cpu-{digest[:16]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            partial = place.with_name(f"{place.name}.part")
            shutil.rmtree(partial, ignore_errors=True)
            _build(partial)
            partial.rename(place)
    return CpuImage(folder=place / "containers")


def _build(root: Path) -> None:
    """A repository with nothing but the image, built as a user builds it."""
    (root / "containers").mkdir(parents=True)
    for name in (*INPUTS, "containers/image.lock.json", "params.yaml", "Makefile", "pyproject.toml"):
        shutil.copy(SOURCE / name, root / name)
    (root / "containers/image.lock.json").write_text('{"schema": "trackyard-image-lock/1", "images": {}}\n')
    author = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER")
              for what, value in (("NAME", "test"), ("EMAIL", "test@example.org"))}  # fmt: skip
    for argv in (
        ["git", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", "commit", "--quiet", "--message=image"],
        ["make", "--old-file=setup", "image"],
    ):
        done = subprocess.run(
            argv, cwd=root, env={**os.environ, **author, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=LIMIT_S,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv} ended with {done.returncode}\n{done.stdout[-4000:]}"
    (root / "containers/debian-12.sif").unlink()
