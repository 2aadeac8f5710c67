"""What a check examines: the files that the next commit would hold, found through git."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from trackyard.errors import EnvironmentLacking

ROOT = Path(__file__).resolve().parents[1]


def git(root: Path, *arguments: str) -> str:
    """Output of one git command; EnvironmentLacking if git refuses (no repository, no git)."""
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        told = error.stderr.decode(errors="replace").strip() if isinstance(error, subprocess.CalledProcessError) else ""
        raise EnvironmentLacking(
            what=f"`git {' '.join(arguments)}` failed in {root}: {told or error}",
            why="git says which files belong to the repository",
            fix="run the check in a git checkout, with git installed",
        ) from error
    return done.stdout.decode(errors="surrogateescape")


def files(root: Path, patterns: Sequence[str] = ()) -> list[str]:
    """Paths relative to `root`, sorted: tracked, and untracked ones that git does not ignore.

    patterns: git pathspecs; all files without one. Submodules and files deleted in the work tree are left out.
    """
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns)
    names = sorted({name for name in listed.split("\0") if name})
    return [name for name in names if (root / name).is_symlink() or (root / name).is_file()]
