"""Commits between the code of two runs, from a real repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from trackyard.record.comparing.code_history import CodeHistory, code_history
from trackyard.runner import SystemRunner

RUNNER = SystemRunner()


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


def test_a_commit_from_elsewhere_is_said_to_be_absent(repository: tuple[Path, list[str]]) -> None:
    root, (first, *_) = repository
    found = code_history(root, first, "0" * 40, RUNNER)
    assert (found.commits, found.absent) == ((), f"{'0' * 40} is not in this checkout")
