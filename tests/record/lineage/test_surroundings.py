"""Code is compared by content, images by their sha256; what is not at hand says why."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.record.lineage.small_world import git
from trackyard.record.code import COMMIT_VARIABLE, CodeIdentity, code_identity
from trackyard.record.image import IMAGE_FILE_VARIABLE
from trackyard.record.lineage.links import Link
from trackyard.record.lineage.surroundings import code_link, image_link
from trackyard.runner import SystemRunner

RUNNER = SystemRunner()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def holds(link: Link) -> bool:
    return link.absent is None and all(claim.expected == claim.found for claim in link.claims)


def test_the_same_code_holds_at_whatever_commit(root: Path) -> None:
    code = code_identity(root, RUNNER, {})
    assert holds(code_link(code, root, RUNNER, before=""))
    (root / "src" / "a.py").write_text("a = 2\n")
    git(root, "commit", "-qam", "second")
    assert not holds(code_link(code, root, RUNNER, before=""))
    (root / "src" / "a.py").write_text("a = 1\n")
    git(root, "commit", "-qam", "as it was")
    assert code_identity(root, RUNNER, {}).commit != code.commit
    assert holds(code_link(code, root, RUNNER, before=""))


def test_uncommitted_code_holds_while_it_is_there(root: Path) -> None:
    (root / "src" / "b.py").write_text("b = 1\n")
    code = code_identity(root, RUNNER, {})
    assert code.dirty_digest is not None
    link = code_link(code, root, RUNNER, before="")
    assert holds(link)
    assert link.fix.startswith("trackyard lineage verify PATH --trust code")
    (root / "src" / "b.py").write_text("b = 2\n")
    assert not holds(code_link(code, root, RUNNER, before=""))
    assert not holds(code_link(code, root, RUNNER, before="parent: "))


def test_a_parents_code_may_be_older_where_its_commit_is_there(root: Path) -> None:
    code = code_identity(root, RUNNER, {})
    (root / "src" / "a.py").write_text("a = 2\n")
    git(root, "commit", "-qam", "second")
    link = code_link(code, root, RUNNER, before="parent: ")
    assert link.name == "parent: code"
    assert holds(link)
    unknown = CodeIdentity(commit="0" * 40, dirty_digest=None)
    assert not holds(code_link(unknown, root, RUNNER, before="parent: "))


def test_a_commit_that_the_checkout_has_not_is_wrong(root: Path) -> None:
    link = code_link(CodeIdentity(commit="0" * 40, dirty_digest=None), root, RUNNER, before="")
    assert link.claims[0].what == "commit"
    assert not holds(link)
    assert link.facts["in this checkout"] == "no"
    assert link.fix.startswith("git fetch --all "), "nothing can be restored from a commit that is not here"


def test_without_a_checkout_the_environment_says_it_or_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = CodeIdentity(commit="1" * 40, dirty_digest=None)
    monkeypatch.delenv(COMMIT_VARIABLE, raising=False)
    link = code_link(code, tmp_path, RUNNER, before="")
    assert link.absent is not None
    assert COMMIT_VARIABLE in link.absent
    assert f"export {COMMIT_VARIABLE}=" in link.fix
    monkeypatch.setenv(COMMIT_VARIABLE, code.commit)
    assert holds(code_link(code, tmp_path, RUNNER, before=""))
    monkeypatch.setenv(COMMIT_VARIABLE, "2" * 40)
    assert not holds(code_link(code, tmp_path, RUNNER, before=""))


def test_an_image_is_found_by_its_digest_or_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(IMAGE_FILE_VARIABLE, raising=False)
    digest = hashlib.sha256(b"b").hexdigest()
    image = f"sha256:{digest}"
    absent = image_link(image, tmp_path, before="").absent
    assert absent is not None
    assert IMAGE_FILE_VARIABLE in absent
    (tmp_path / "containers").mkdir()
    for name in "abc":
        (tmp_path / "containers" / f"{name}.sif").write_bytes(name.encode())
    (file,) = image_link(image, tmp_path, before="").files
    assert (file.path.name, file.algorithm, file.digest) == ("b.sif", "sha256", digest)
    # What the environment names is the image, and if it is another one the proof says so.
    monkeypatch.setenv(IMAGE_FILE_VARIABLE, str(tmp_path / "containers" / "a.sif"))
    (file,) = image_link(image, tmp_path, before="").files
    assert (file.path.name, file.digest) == ("a.sif", digest)
    monkeypatch.setenv(IMAGE_FILE_VARIABLE, str(tmp_path / "none.sif"))
    assert image_link(image, tmp_path, before="").absent is not None
    assert "is no sha256" in str(image_link("md5:1", tmp_path, before="").absent)
