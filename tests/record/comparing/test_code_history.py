"""Commits between the code of two runs, from a real repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from trackyard.record.comparing.code_history import CodeHistory, code_history
from trackyard.runner import Finished, SystemRunner

RUNNER = SystemRunner()


class NoGit:
    """A machine without it: an image, for example."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        return RUNNER.run(argv, cwd=cwd, env={"PATH": ""})


@pytest.fixture
def repository(tmp_path: Path) -> tuple[Path, list[str]]:
    """Three commits: code, a page, code."""

    def git(*arguments: str) -> str:
        done = RUNNER.run(["git", "-c", "user.name=n", "-c", "user.email=e@x", *arguments], cwd=tmp_path)
        assert done.exit_code == 0, done
        return done.stdout.strip()

    git("init", "-q")
    commits = []
    for name, message in (("src/a.py", "begin"), ("README.md", "a page"), ("src/a.py", "mend it")):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(message)
        git("add", "-A")
        git("commit", "-q", "-m", message)
        commits.append(git("rev-parse", "HEAD"))
    return tmp_path, commits


def test_commits_that_results_depend_on_are_told(repository: tuple[Path, list[str]]) -> None:
    root, (first, page, last) = repository
    found = code_history(root, first, last, RUNNER)
    assert found.absent is None
    assert [(line[0], line.partition(" ")[2].partition(" ")[2]) for line in found.commits] == [(">", "mend it")]
    assert code_history(root, last, first, RUNNER).commits[0].startswith("<")
    assert code_history(root, first, page, RUNNER) == CodeHistory(old=first, new=page)


def test_without_git_that_is_said(tmp_path: Path) -> None:
    found = code_history(tmp_path, "1" * 40, "2" * 40, NoGit())
    assert (found.commits, found.absent) == ((), "the program 'git' is not installed or not executable")


def test_a_commit_from_elsewhere_is_said_to_be_absent(repository: tuple[Path, list[str]]) -> None:
    root, (first, *_) = repository
    found = code_history(root, first, "0" * 40, RUNNER)
    assert (found.commits, found.absent) == ((), f"{'0' * 40} is not in this checkout")
