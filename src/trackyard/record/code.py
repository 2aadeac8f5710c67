"""Which code a run is made by: a commit, and a digest of what is not committed.

Only the paths that decide results count, so a commit to the README does not turn a run into another run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trackyard
from trackyard.digest import digest_bytes, digest_file, digest_json
from trackyard.errors import ConfigError, EnvironmentLacking, TrackyardError
from trackyard.runner import Finished, Runner

DETERMINING = ("src", "requirements.lock", "pyproject.toml")
"""What results depend on, relative to the repository root."""

COMMIT_VARIABLE = "TRACKYARD_COMMIT"
DIRTY_VARIABLE = "TRACKYARD_DIRTY"
"""How a container that carries no git checkout is told its code identity (the image build sets both)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeIdentity:
    """commit: 40 hex characters, the last commit that touched `DETERMINING`.

    dirty_digest: blake3 over the uncommitted state of the same paths, None where there is none.
    """

    commit: str
    dirty_digest: str | None


def code_identity(repository: Path, runner: Runner, environment: Mapping[str, str] | None = None) -> CodeIdentity:
    """The identity of the code in `repository`, from git, else from the environment variables above.

    Raises EnvironmentLacking where neither says it, ConfigError for a commit that is not 40 hex characters.
    """
    environment = os.environ if environment is None else environment
    problem = _no_checkout(repository, runner)
    if problem is not None:
        return _from_environment(repository, environment, problem)
    log = runner.run(["git", "log", "-1", "--format=%H", "--", *DETERMINING], cwd=repository)
    commit = log.stdout.strip()
    if log.exit_code != 0 or not commit:
        raise EnvironmentLacking(
            what=f"no commit of {repository} contains any of {', '.join(DETERMINING)}",
            why="a run is identified by the commit of its code, and there is none yet",
            fix="git add -A && git commit -m 'first commit'",
        )
    return CodeIdentity(commit=commit, dirty_digest=_dirty_digest(repository, runner, "HEAD"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What the code at hand is beside a commit. dirty_digest: as in `CodeIdentity`, None where both are equal."""

    dirty_digest: str | None


def difference(repository: Path, commit: str, runner: Runner) -> Difference | None:
    """The code in `repository` beside a commit, by content: a later commit of the same code makes no difference.

    None where there is no checkout, or none that has the commit.
    """
    if _no_checkout(repository, runner) is not None:
        return None
    if runner.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=repository).exit_code != 0:
        return None
    return Difference(dirty_digest=_dirty_digest(repository, runner, commit))


def _no_checkout(repository: Path, runner: Runner) -> str | None:
    """Why git says nothing about the code in `repository`; None where it does."""
    try:
        top = runner.run(["git", "rev-parse", "--show-toplevel"], cwd=repository)
    except EnvironmentLacking:
        return "git is not installed"
    # A checkout that merely surrounds `repository` says nothing about the code in it.
    if top.exit_code != 0 or Path(top.stdout.strip()).resolve() != repository.resolve():
        return top.stderr.strip() or "it lies inside another checkout"
    return None


def _from_environment(repository: Path, environment: Mapping[str, str], reason: str) -> CodeIdentity:
    commit = environment.get(COMMIT_VARIABLE, "")
    if not commit:
        raise EnvironmentLacking(
            what=f"{repository} is no git checkout ({reason}) and {COMMIT_VARIABLE} is not set",
            why="without the commit of its code a run cannot say what made it",
            fix=f"run from a git checkout, or export {COMMIT_VARIABLE}=<40 hex characters> "
            f"(and {DIRTY_VARIABLE}=<digest> for uncommitted code)",
        )
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ConfigError(
            what=f"{COMMIT_VARIABLE}={commit!r}",
            why="a shortened or symbolic name of a commit can come to mean another one",
            fix=f"export {COMMIT_VARIABLE}=$(git log -1 --format=%H -- {' '.join(DETERMINING)})",
        )
    return CodeIdentity(commit=commit, dirty_digest=environment.get(DIRTY_VARIABLE) or None)


def _dirty_digest(repository: Path, runner: Runner, commit: str) -> str | None:
    """Digest of the files that differ from a commit, by content: the text of `git diff` depends on the user's
    settings."""
    changed = _names(runner.run(["git", "diff", commit, "--name-only", "--no-renames", "-z", "--", *DETERMINING],
                                cwd=repository))  # fmt: skip
    untracked = _names(runner.run(["git", "ls-files", "--others", "--exclude-standard", "-z", "--", *DETERMINING],
                                  cwd=repository))  # fmt: skip
    names = sorted({*changed, *untracked})
    return digest_json([[name, *_state(repository / name)] for name in names]) if names else None


def _names(finished: Finished) -> list[str]:
    if finished.exit_code != 0:
        raise TrackyardError(
            what=f"`{' '.join(finished.argv)}` ended with {finished.exit_code}: {finished.stderr.strip()}",
            why="without it nobody knows whether the code equals its commit",
            fix="run it by hand in the repository root and repair what it reports",
        )
    return [name for name in finished.stdout.split("\0") if name]


def _state(path: Path) -> tuple[str, str]:
    """What git distinguishes: kind of the entry, and its content."""
    if path.is_symlink():
        return "link", digest_bytes(str(path.readlink()).encode())
    if path.is_file():
        return "executable" if path.stat().st_mode & 0o100 else "file", digest_file(path)
    return "absent", ""


def package_digest(package: Path = Path(trackyard.__file__).parent) -> str:
    """blake3 of every source file, by its path in the package: the same before and after a commit."""
    return digest_json({path.relative_to(package).as_posix(): digest_file(path) for path in package.rglob("*.py")})
