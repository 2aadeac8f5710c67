import json
from pathlib import Path

import pytest

from trackyard.acquire.files.manifest import NAME, FileDigest, FileManifest
from trackyard.errors import DataError

DIGEST = "ab" * 32
FILES = (FileDigest("a.bin", 3, DIGEST), FileDigest("folder/b .bin", 0, DIGEST), FileDigest("..c/d..é\n", 1, DIGEST))


def test_what_was_written_is_read(tmp_path: Path) -> None:
    manifest = FileManifest(name="set", source={"url": "https://example.org/set.zip"}, files=FILES)
    manifest.write(tmp_path)
    assert FileManifest.read(tmp_path) == manifest
    assert json.loads((tmp_path / NAME).read_text())["schema"] == "trackyard-files/1"
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../a", "a/../b", "a/..", "..", ".", "./a", "a//b", "a/", "", "a\0b", NAME]
)
def test_a_path_that_is_not_plainly_inside_is_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match="not that of a file in the directory"):
        FileManifest(name="set", source={}, files=(FileDigest(path, 1, DIGEST),)).write(tmp_path)
    body = {"schema": "trackyard-files/1", "name": "set", "source": {}}
    (tmp_path / NAME).write_text(json.dumps({**body, "files": [{"path": path, "bytes": 1, "blake3": DIGEST}]}))
    with pytest.raises(DataError, match="not that of a file in the directory"):
        FileManifest.read(tmp_path)


def _change(body: dict, change: str) -> None:
    first = body["files"][0]
    if change == "twice":
        body["files"].append(first)
    elif change == "no list":
        body["files"] = 3
    elif change == "no mapping":
        body["files"][0] = "a.bin"
    elif change == "no name":
        del body["name"]
    elif change == "a list as source":
        body["source"] = []
    elif change == "negative":
        first["bytes"] = -1
    elif change == "true":
        first["bytes"] = True
    elif change == "text":
        first["bytes"] = "3"
    elif change == "short digest":
        first["blake3"] = "ab"
    elif change == "upper case":
        first["blake3"] = DIGEST.upper()
    elif change == "null digest":
        first["blake3"] = None
    elif change == "number as path":
        first["path"] = 3


@pytest.mark.parametrize(
    "change",
    [
        "twice", "no list", "no mapping", "no name", "a list as source", "negative", "true", "text", "short digest",
        "upper case", "null digest", "number as path",
    ],
)  # fmt: skip
def test_a_record_that_proves_nothing_is_refused(tmp_path: Path, change: str) -> None:
    FileManifest(name="set", source={}, files=FILES).write(tmp_path)
    body = json.loads((tmp_path / NAME).read_text())
    (tmp_path / NAME).write_text(json.dumps(body))
    FileManifest.read(tmp_path)
    _change(body, change)
    (tmp_path / NAME).write_text(json.dumps(body))
    with pytest.raises(DataError, match="proves nothing"):
        FileManifest.read(tmp_path)


def test_absent_and_other_documents_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        FileManifest.read(tmp_path)
    (tmp_path / NAME).write_text('{"schema": "trackyard-files/2", "files": []}')
    with pytest.raises(DataError, match="trackyard-files/2"):
        FileManifest.read(tmp_path)
    (tmp_path / NAME).write_text('{"schema": "trackyard-files/1", "files": [')
    with pytest.raises(DataError, match="not valid JSON"):
        FileManifest.read(tmp_path)
