"""Code identity: what changes results changes it, and nothing else does."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from trackyard.errors import ConfigError, EnvironmentLacking
from trackyard.record.code import CodeIdentity, Difference, code_identity, difference
from trackyard.runner import Finished, SystemRunner


def git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    argv = ["git", *identity, *arguments]
    return subprocess.run(argv, cwd=repository, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("a = 1\n")
    (root / "pyproject.toml").write_text("[project]\n")
    (root / "README.md").write_text("one\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def identity(root: Path) -> CodeIdentity:
    return code_identity(root, SystemRunner(), {})


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    assert identity(repository) == CodeIdentity(commit=git(repository, "rev-parse", "HEAD"), dirty_digest=None)


def test_a_commit_elsewhere_and_an_edit_elsewhere_change_nothing(repository: Path) -> None:
    before = identity(repository)
    (repository / "README.md").write_text("two\n")
    assert identity(repository) == before
    git(repository, "commit", "-qam", "readme")
    assert identity(repository) == before


def _edit(root: Path) -> None:
    (root / "src" / "a.py").write_text("a = 2\n")


def _stage(root: Path) -> None:
    _edit(root)
    git(root, "add", "-A")


def _binary(root: Path) -> None:
    (root / "src" / "a.py").write_bytes(b"\xff\xfe latin \xe4")


def _delete(root: Path) -> None:
    (root / "src" / "a.py").unlink()


def _executable(root: Path) -> None:
    (root / "src" / "a.py").chmod(0o755)


def _untracked(root: Path) -> None:
    (root / "src" / "new file.py").write_text("")


def _link(root: Path) -> None:
    (root / "src" / "a.py").unlink()
    (root / "src" / "a.py").symlink_to("nowhere")


CHANGES = (_edit, _binary, _delete, _executable, _untracked, _link)


@pytest.mark.parametrize("change", [*CHANGES, _stage])
def test_every_uncommitted_change_of_the_code_is_seen(repository: Path, change: Callable[[Path], None]) -> None:
    clean = identity(repository)
    change(repository)
    dirty = identity(repository)
    assert dirty.commit == clean.commit
    assert dirty.dirty_digest is not None
    assert identity(repository) == dirty


def test_different_changes_have_different_digests(repository: Path) -> None:
    found = set()
    for change in CHANGES:
        change(repository)
        found.add(identity(repository).dirty_digest)
        git(repository, "stash", "-qu")
    assert len(found) == len(CHANGES)
    assert identity(repository).dirty_digest is None


def test_staging_an_edit_does_not_make_another_run(repository: Path) -> None:
    _edit(repository)
    unstaged = identity(repository)
    git(repository, "add", "-A")
    assert identity(repository) == unstaged


def test_ignored_files_do_not_count(repository: Path) -> None:
    (repository / "src" / "x.log").write_text("x")
    assert identity(repository).dirty_digest is None


def test_a_committed_change_is_a_new_commit(repository: Path) -> None:
    before = identity(repository)
    _edit(repository)
    git(repository, "commit", "-qam", "edit")
    after = identity(repository)
    assert after.commit not in (before.commit, None)
    assert after.dirty_digest is None


def test_the_users_diff_settings_do_not_matter(repository: Path) -> None:
    _edit(repository)
    before = identity(repository)
    git(repository, "config", "diff.noprefix", "true")
    git(repository, "config", "diff.external", "false")
    git(repository, "config", "color.ui", "always")
    assert identity(repository) == before


def test_without_a_commit_there_is_no_identity(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    with pytest.raises(EnvironmentLacking, match="no commit of"):
        identity(tmp_path)


def test_a_surrounding_checkout_is_not_the_code(repository: Path) -> None:
    inner = repository / "copy"
    inner.mkdir()
    with pytest.raises(EnvironmentLacking) as raised:
        identity(inner)
    assert raised.value.exit_code == 3
    assert "export TRACKYARD_COMMIT=" in raised.value.fix


def test_a_container_is_told_its_code(tmp_path: Path) -> None:
    told = {"TRACKYARD_COMMIT": "e" * 40}
    assert code_identity(tmp_path, SystemRunner(), told) == CodeIdentity(commit="e" * 40, dirty_digest=None)
    told["TRACKYARD_DIRTY"] = "f" * 64
    assert code_identity(tmp_path, SystemRunner(), told) == CodeIdentity(commit="e" * 40, dirty_digest="f" * 64)


@pytest.mark.parametrize("commit", ["main", "e" * 39, "E" * 40])
def test_a_container_is_told_a_whole_commit(tmp_path: Path, commit: str) -> None:
    with pytest.raises(ConfigError, match="TRACKYARD_COMMIT="):
        code_identity(tmp_path, SystemRunner(), {"TRACKYARD_COMMIT": commit})


def test_a_checkout_is_believed_before_the_environment(repository: Path) -> None:
    assert code_identity(repository, SystemRunner(), {"TRACKYARD_COMMIT": "e" * 40}) == identity(repository)


class NoGit:
    """A machine without git."""

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
    ) -> Finished:
        raise EnvironmentLacking(what="no git", why="", fix="")


def test_git_may_be_absent_where_the_environment_says_it(tmp_path: Path) -> None:
    assert code_identity(tmp_path, NoGit(), {"TRACKYARD_COMMIT": "e" * 40}).commit == "e" * 40
    with pytest.raises(EnvironmentLacking, match="git is not installed"):
        code_identity(tmp_path, NoGit(), {})


def test_a_difference_is_one_of_content(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    runner = SystemRunner()
    assert difference(repository, first, runner) == Difference(dirty_digest=None)
    _edit(repository)
    edited = identity(repository).dirty_digest
    assert difference(repository, first, runner) == Difference(dirty_digest=edited)
    git(repository, "commit", "-qam", "second")
    # The same content, committed: beside the first commit it is the same difference.
    assert difference(repository, first, runner) == Difference(dirty_digest=edited)
    git(repository, "revert", "--no-edit", "HEAD")
    assert difference(repository, first, runner) == Difference(dirty_digest=None)
    assert identity(repository).commit != first


def test_where_there_is_no_such_commit_nothing_is_said(repository: Path, tmp_path: Path) -> None:
    assert difference(repository, "0" * 40, SystemRunner()) is None
    assert difference(repository / "src", git(repository, "rev-parse", "HEAD"), SystemRunner()) is None
    assert difference(tmp_path, "0" * 40, SystemRunner()) is None
