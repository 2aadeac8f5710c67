"""The digest of a folder is DVC's, and a list that has another digest is not believed."""

from __future__ import annotations

import json
from pathlib import Path

from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.tree import Tree
from hypothesis import given, settings
from hypothesis import strategies as st

from trackyard.record.lineage.dvc_tree import below, directory_md5, hash_files, is_directory, read_listing

NAMES = st.text(st.characters(categories=["L", "N"], include_characters="-_. "), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..")
)
LISTINGS = st.dictionaries(
    st.lists(NAMES, min_size=1, max_size=3).map("/".join), st.from_regex(r"[0-9a-f]{32}", fullmatch=True), min_size=1
)


@settings(max_examples=25)
@given(LISTINGS)
def test_the_digest_of_a_folder_is_that_of_dvc(listing: dict[str, str]) -> None:
    tree = Tree()
    for path, md5 in listing.items():
        tree.add(tuple(path.split("/")), None, HashInfo("md5", md5))
    tree.digest()
    assert tree.hash_info is not None
    assert directory_md5(listing) == tree.hash_info.value
    assert is_directory(directory_md5(listing))


@settings(max_examples=25)
@given(LISTINGS, NAMES)
def test_the_part_below_a_folder_is_put_back_by_its_name(listing: dict[str, str], folder: str) -> None:
    inside = {f"{folder}/{path}": md5 for path, md5 in listing.items()}
    assert below(inside | {f"{folder}2/x": "0" * 32}, folder) == listing
    assert below(listing, "") == listing


def test_a_list_is_read_only_if_its_digest_is_the_one_asked_for(tmp_path: Path) -> None:
    listing = {"a.txt": "0" * 32, "b/c.txt": "1" * 32}
    digest = directory_md5(listing)
    assert read_listing(tmp_path, digest) is None
    kept = tmp_path / digest[:2] / digest[2:]
    kept.parent.mkdir()
    items = [{"md5": md5, "relpath": path} for path, md5 in listing.items()]
    kept.write_text(json.dumps(items))
    assert read_listing(tmp_path, digest) == listing
    for damaged in (json.dumps(items[:1]), "[{}]", "{", '["x"]', json.dumps([items[0] | {"md5": "2" * 32}, items[1]])):
        kept.write_text(damaged)
        assert read_listing(tmp_path, digest) is None


def test_files_are_hashed_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    paths = [tmp_path / "a", tmp_path / "b" / "c"]
    paths[0].write_bytes(b"")
    paths[1].write_bytes(b"abc")
    assert hash_files(paths, tmp_path) == {
        "a": "d41d8cd98f00b204e9800998ecf8427e",
        "b/c": "900150983cd24fb0d6963f7d28e17f72",
    }
