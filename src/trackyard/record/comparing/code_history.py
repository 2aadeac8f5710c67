"""The commits that lie between the code of two runs, where this checkout has both."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from trackyard.errors import EnvironmentLacking
from trackyard.record.code import DETERMINING
from trackyard.runner import Runner


@dataclass(frozen=True, kw_only=True, slots=True)
class CodeHistory:
    """commits: one line each, newest first, of those that touch what results depend on. absent: why there are none
    to show, None where there are, or where none lies between."""

    old: str
    new: str
    commits: tuple[str, ...] = ()
    absent: str | None = None


def code_history(repository: Path, old: str, new: str, runner: Runner) -> CodeHistory:
    """What was committed after `old` up to `new`, and before if `new` is the earlier of the two."""
    try:
        return _history(repository, old, new, runner)
    except EnvironmentLacking as error:
        # As in a container: everything else of a comparison is there without git.
        return CodeHistory(old=old, new=new, absent=error.what)


def _history(repository: Path, old: str, new: str, runner: Runner) -> CodeHistory:
    for commit in (old, new):
        if runner.run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=repository).exit_code != 0:
            return CodeHistory(old=old, new=new, absent=f"{commit} is not in this checkout")
    log = runner.run(["git", "log", "--oneline", "--left-right", f"{old}...{new}", "--", *DETERMINING], cwd=repository)
    if log.exit_code != 0:
        return CodeHistory(old=old, new=new, absent=log.stderr.strip())
    return CodeHistory(old=old, new=new, commits=tuple(log.stdout.splitlines()))
