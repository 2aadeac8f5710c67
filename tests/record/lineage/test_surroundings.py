"""Code is compared by content, images by their sha256; what is not at hand says why."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.record.lineage.small_world import git, lock_images
from trackyard.errors import DataError
from trackyard.record.code import COMMIT_VARIABLE, CodeIdentity, code_identity
from trackyard.record.image import IMAGE_FILE_VARIABLE
from trackyard.record.lineage.links import Link
from trackyard.record.lineage.proof import prove
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


def image_named(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with three images, of which two are locked."""
    monkeypatch.delenv(IMAGE_FILE_VARIABLE, raising=False)
    folder = tmp_path / "containers"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.sif").write_bytes(name.encode() * 9)
    lock_images(tmp_path, folder / "a.sif", folder / "b.sif")
    return tmp_path


def test_an_image_is_found_by_the_lock_and_no_image_is_read_for_it(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = image_link(image_named(b"b" * 9), images, before="")
    (file,) = link.files
    assert (file.path, file.algorithm, f"sha256:{file.digest}") == (
        images / "containers" / "b.sif", "sha256", image_named(b"b" * 9)
    )  # fmt: skip
    absent = image_link(image_named(b"c" * 9), images, before="").absent
    assert absent is not None, "a file that happens to lie there is nothing that the lock speaks of"
    assert IMAGE_FILE_VARIABLE in absent
    assert "containers/ under its name in containers/image.lock.json" in absent
    assert "into containers/ under the name in containers/image.lock.json" in link.fix
    assert "is no sha256" in str(image_link("md5:1", images, before="").absent)
    # Not a byte is read to find it: that is the proof's work.
    (images / "containers" / "b.sif").write_bytes(b"x" * 9)
    assert image_link(image_named(b"b" * 9), images, before="") == link
    with pytest.raises(DataError, match=r"link 'image' is wrong: sha256 of .*b\.sif"):
        prove(link)


def test_the_variable_names_what_the_lock_does_not_have(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not win over the lock: a chain may have several images, and the variable names one."""
    monkeypatch.setenv(IMAGE_FILE_VARIABLE, str(images / "containers" / "c.sif"))
    (file,) = image_link(image_named(b"c" * 9), images, before="").files
    assert file.path.name == "c.sif"
    prove(image_link(image_named(b"c" * 9), images, before=""))
    (images / "containers" / "c.sif").write_bytes(b"of another size")
    (file,) = image_link(image_named(b"b" * 9), images, before="").files
    assert file.path.name == "b.sif"
    # An image of the lock that lies elsewhere.
    (images / "containers" / "b.sif").rename(images / "elsewhere.sif")
    monkeypatch.setenv(IMAGE_FILE_VARIABLE, str(images / "elsewhere.sif"))
    (file,) = image_link(image_named(b"b" * 9), images, before="").files
    assert file.path.name == "elsewhere.sif"
    # Whatever digest it has, the proof says so.
    (images / "elsewhere.sif").write_bytes(b"z" * 9)
    with pytest.raises(DataError, match="is wrong"):
        prove(image_link(image_named(b"b" * 9), images, before=""))
    monkeypatch.setenv(IMAGE_FILE_VARIABLE, str(images / "none.sif"))
    assert image_link(image_named(b"b" * 9), images, before="").absent is not None


def test_without_a_lock_the_image_is_unproved(images: Path) -> None:
    (images / "containers" / "image.lock.json").unlink()
    link = image_link(image_named(b"b" * 9), images, before="")
    assert link.absent is not None
    assert "image.lock.json does not exist" in link.absent
    assert link.fix.startswith("git checkout -- containers/image.lock.json")
