"""Making records, and the property that ties them to their proof: a tree is its own, and any single edit is found."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.acquire.files.tree import FileDigest, FileManifest, digest_files, manifest_of, verify_files
from trackyard.durable import TEMPORARY
from trackyard.errors import DataError

NAMES = st.text("abZ0._- é\n\\'\"*%", min_size=1, max_size=8).filter(lambda name: name not in (".", ".."))
PATHS = st.tuples(st.sampled_from(["", "d/", "d/e/", "files.json.d/"]), NAMES).map(
    lambda parts: parts[0] + "f" + parts[1]
)
CONTENTS = st.one_of(
    st.binary(max_size=40), st.integers(0, 70_000).map(lambda size: bytes(range(251)) * (size // 251 + 1))
)
TREES = st.dictionaries(PATHS, CONTENTS, min_size=1, max_size=8)


@contextmanager
def planted(tree: dict[str, bytes]) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "tree"
        for path, content in tree.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        yield root


@given(tree=TREES)
@settings(max_examples=60, deadline=None)
def test_the_record_of_a_tree_is_its_own(tree: dict[str, bytes]) -> None:
    with planted(tree) as root:
        manifest = manifest_of(root, name="tree", source={"made": "here"})
        assert list(manifest.files) == [
            FileDigest(path, len(content), blake3(content).hexdigest()) for path, content in sorted(tree.items())
        ]
        manifest.write(root)
        assert FileManifest.read(root) == manifest
        assert manifest_of(root, name="tree", source={"made": "here"}) == manifest  # it does not record itself
        for mode in ("full", "fast"):
            report = verify_files(root, mode=mode, cache=root.parent / "cache.json")
            assert (report.ok, report.problems()) == (True, [])
            assert (report.examined, report.bytes) == (len(tree), sum(map(len, tree.values())))


EDITS = ("flip", "truncate", "append", "remove", "add", "rename", "folder instead", "dangling link")


@given(tree=TREES, edit=st.sampled_from(EDITS), mode=st.sampled_from(["full", "fast"]), data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_single_edit_is_found_and_named(tree: dict[str, bytes], edit: str, mode: str, data: st.DataObject) -> None:
    with planted(tree) as root:
        cache = root.parent / "cache.json"
        manifest_of(root, name="tree", source={}).write(root)
        assert verify_files(root, cache=cache).ok
        path = data.draw(st.sampled_from(sorted(tree)))
        content, file = tree[path], root / path
        if edit in ("flip", "truncate") and not content:
            edit = "append"
        status = file.stat()
        if edit == "flip":
            damaged = bytearray(content)
            damaged[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
            file.write_bytes(damaged)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
            assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
        elif edit == "truncate":
            os.truncate(file, data.draw(st.integers(0, len(content) - 1)))
        elif edit == "append":
            file.write_bytes(content + b"x")
        elif edit == "add":
            path = path + ".more"
            file.with_name(file.name + ".more").write_bytes(b"")
        elif edit == "rename":
            file.rename(file.with_name(file.name + ".more"))
        else:
            file.unlink()
            if edit == "folder instead":
                file.mkdir()
            elif edit == "dangling link":
                file.symlink_to("nowhere")
        report = verify_files(root, mode=mode, cache=cache)
        assert not report.ok
        found = {
            "missing": list(report.missing),
            "changed": [changed.path for changed in report.changed],
            "extra": list(report.extra),
        }
        kind = {"remove": "missing", "rename": "missing", "dangling link": "missing", "add": "extra"}.get(
            edit, "changed"
        )
        assert found[kind] == [path]
        assert any(line.startswith(f"{path}: ") for line in report.problems())
        assert len(report.problems()) == (2 if edit == "rename" else 1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "a").mkdir(parents=True)
    (root / "a" / "one").write_bytes(b"one")
    (root / "two").write_bytes(b"two")
    return root


def paths_of(manifest: FileManifest) -> list[str]:
    return [file.path for file in manifest.files]


def test_a_link_inside_counts_as_its_file(tree: Path) -> None:
    (tree / "link").symlink_to("a/one")
    manifest = manifest_of(tree, name="tree", source={})
    assert paths_of(manifest) == ["a/one", "link", "two"]
    assert manifest.files[0].blake3 == manifest.files[1].blake3


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "a", "nowhere", ".", "loop", "../tree-like/file"])
def test_other_links_are_refused(tree: Path, target: str) -> None:
    (tree.parent / "outside").write_bytes(b"outside")
    (tree.parent / "tree-like").mkdir()
    (tree.parent / "tree-like" / "file").write_bytes(b"outside")
    (tree / "loop").symlink_to(target)
    with pytest.raises(DataError, match=r"loop.*a link to"):
        manifest_of(tree, name="tree", source={})


def test_a_pipe_is_refused_and_not_opened(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with pytest.raises(DataError, match=r"pipe.*neither file nor folder"):
        manifest_of(tree, name="tree", source={})


def test_a_name_that_is_not_utf8_is_refused(tree: Path) -> None:
    (tree / os.fsdecode(b"\xff")).write_bytes(b"")
    with pytest.raises(DataError, match="not UTF-8"):
        manifest_of(tree, name="tree", source={})


def test_no_file_is_no_record(tmp_path: Path) -> None:
    (tmp_path / f"{TEMPORARY}x").write_bytes(b"unfinished")
    with pytest.raises(DataError, match="holds no file"):
        manifest_of(tmp_path, name="nothing", source={})


def test_what_is_ignored_is_neither_recorded_nor_extra(tree: Path) -> None:
    def ignore(path: str) -> bool:
        return path in ("a/", "two")

    (tree / "three").write_bytes(b"three")
    manifest = manifest_of(tree, name="tree", source={}, ignore=ignore)
    assert paths_of(manifest) == ["three"]
    assert verify_files(tree, manifest=manifest, ignore=ignore).ok
    assert verify_files(tree, manifest=manifest).extra == ("a/one", "two")


def test_digests_come_in_the_order_asked_for(tree: Path) -> None:
    assert digest_files(tree, ["two", "a/one"]) == [
        FileDigest("two", 3, blake3(b"two").hexdigest()),
        FileDigest("a/one", 3, blake3(b"one").hexdigest()),
    ]


@pytest.mark.parametrize("path", ["absent", "a"])
def test_what_cannot_be_read_is_no_digest(tree: Path, path: str) -> None:
    with pytest.raises(DataError, match=f"{tree}/{path}"):
        digest_files(tree, ["two", path])


def test_a_copy_has_the_same_record(tree: Path, tmp_path: Path) -> None:
    manifest = manifest_of(tree, name="tree", source={})
    shutil.copytree(tree, tmp_path / "copy")
    assert verify_files(tmp_path / "copy", manifest=manifest).ok
