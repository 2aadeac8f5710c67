"""The rows of each kind of source: what is taken, what is refused, and that no secret is written down."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from blake3 import blake3

from tests.recipes.datacomp.ingest.small_study import small_study
from trackyard.acquire.hub.files import CachePlace, RemoteFile
from trackyard.acquire.hub.record import HubRecord
from trackyard.errors import ConfigError, DataError
from trackyard.recipes.datacomp.ingest.metadata import metadata
from trackyard.recipes.datacomp.ingest.mini_web import CAUSES, expected_outcome, mini_rows
from trackyard.recipes.datacomp.ingest.rows import ROWS
from trackyard.recipes.datacomp.results import read_result
from trackyard.recipes.datacomp.study import Study

REVISION = "a" * 40


def silent(_: str) -> None:
    """Nobody listens."""


def written(study: Study) -> list[dict[str, Any]]:
    metadata(study, silent)
    files = sorted(study.metadata.glob("rows-*.parquet"))
    assert all(pq.read_schema(path).equals(ROWS) for path in files)
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def test_the_mini_has_every_way_to_fail(tmp_path: Path) -> None:
    study = small_study(tmp_path)
    rows = written(study)
    assert rows == mini_rows(study.parameters.data.source)
    assert len({row["uid"] for row in rows}) == len(rows) == 96
    assert {expected_outcome(number) for number in range(96)} == {"ok", *CAUSES.values()}
    assert {row["text"] == "" for row in rows} == {True, False}
    body = read_result(study.document("metadata"), "metadata").body
    assert (body["rows"], body["without_url"]) == (96, 0)
    assert [file["rows"] for file in body["files"]] == [96]
    # The same rows again, and other ones for another seed.
    assert written(study) == rows
    assert written(small_study(tmp_path, source={"kind": "mini", "mini_rows": 96, "seed": 1})) != rows


def files_study(tmp_path: Path, table: dict[str, Any], columns: dict[str, str] | None = None) -> Study:
    root = tmp_path / "root"
    root.mkdir(exist_ok=True)
    pq.write_table(pa.table(table), tmp_path / "list.parquet")
    return small_study(root, source={"kind": "files", "files": ["../list.parquet"], "columns": columns or {}})


def test_a_list_of_ones_own_with_other_names_and_no_uids(tmp_path: Path) -> None:
    table = {
        "URL": pa.array(["http://a/1", None, "", "http://a/2"], pa.large_string()),
        "TEXT": pa.array(["one", "two", "three", None], pa.large_string()),
        "sum": pa.array([bytes(32), None, None, bytes(range(32))], pa.binary(32)),
        "other": [1, 2, 3, 4],
    }
    study = files_study(tmp_path, table, {"url": "URL", "text": "TEXT", "sha256": "sum"})
    uid = [blake3(url.encode()).digest(16).hex() for url in ("http://a/1", "http://a/2")]
    assert written(study) == [
        {"uid": uid[0], "url": "http://a/1", "text": "one", "face_bboxes": None, "sha256": "00" * 32},
        {"uid": uid[1], "url": "http://a/2", "text": "", "face_bboxes": None, "sha256": bytes(range(32)).hex()},
    ]
    result = read_result(study.document("metadata"), "metadata")
    assert result.body["without_url"] == 2
    assert list(result.header.inputs) == ["../list.parquet"]


def test_secrets_in_addresses_are_not_written_down(tmp_path: Path) -> None:
    secret = "hf_" + "Canary" * 6
    table = {"url": [f"http://me:{secret}@a/1", f"https://{secret}@a/2", "http://a/3@4"], "text": ["a", "b", "c"]}
    study = files_study(tmp_path, table)
    assert [row["url"] for row in written(study)] == [
        "http://[redacted]@a/1",
        "https://[redacted]@a/2",
        "http://a/3@4",
    ]
    assert read_result(study.document("metadata"), "metadata").body["secrets_removed"] == 2
    assert not [path for path in study.root.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_what_no_rows_can_be_read_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'text', but url, words"):
        written(files_study(tmp_path, {"url": ["http://a/"], "words": ["a"]}))
    with pytest.raises(DataError, match="no column 'sum'"):
        written(files_study(tmp_path, {"url": ["http://a/"], "text": ["a"]}, {"sha256": "sum"}))
    with pytest.raises(DataError, match="1 rows have no uid"):
        written(files_study(tmp_path, {"uid": ["a", None], "url": ["http://a/"] * 2, "text": ["a"] * 2}))
    with pytest.raises(DataError, match="no row with an address"):
        written(files_study(tmp_path, {"url": pa.array([None], pa.string()), "text": ["a"]}))
    study = files_study(tmp_path, {"url": ["http://a/"], "text": ["a"]})
    (tmp_path / "list.parquet").write_bytes(b"PAR1 and nothing")
    with pytest.raises(DataError, match="cannot be read"):
        written(study)
    (tmp_path / "list.parquet").unlink()
    for name in ("../list.parquet", str(tmp_path / "root")):
        with pytest.raises(ConfigError, match="names no file"):
            written(small_study(study.root, source={"kind": "files", "files": [name]}))
    assert not study.metadata.exists()


def fetched(root: Path, cache: Path, rows: dict[str, Any]) -> None:
    """A copy of the hub's repository, as `trackyard data fetch` leaves it."""
    place = CachePlace(cache=cache, repo="mlfoundations/datacomp_small", kind="dataset")
    folder = place.snapshot(REVISION) / "metadata"
    folder.mkdir(parents=True)
    pq.write_table(pa.table(rows), folder / "0a.parquet")
    data = (folder / "0a.parquet").read_bytes()
    file = RemoteFile(path="metadata/0a.parquet", bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    record = HubRecord(place=place, commit=REVISION, files=(file,))
    record.expecting([file]).proving([file.path]).write()
    (root / "catalog").mkdir(parents=True)
    (root / "catalog/datacomp.yaml").write_text(
        "datasets: [{name: datacomp-small, title: D, task: t, roles: [train], group: datacomp, access: url, "
        "media: image, licence: {name: CC BY 4.0, basis: card}, hub: [{repo: mlfoundations/datacomp_small}], "
        "recipe: {kind: urls, url_column: url}, sources: [x]}]\n"
    )


def test_the_hubs_rows_as_they_were_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = tmp_path / "root", tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(cache))
    boxes = [[[0.1, 0.2, 0.3, 0.4]], [], None]
    rows = {
        "uid": ["x", "y", "z"],
        "url": ["http://a/1", "http://a/2", "http://a/3"],
        "text": ["a", "b", "c"],
        "original_width": [1, 2, 3],
        "face_bboxes": boxes,
        "sha256": ["0" * 64] * 3,
    }
    fetched(root, cache, rows)
    study = small_study(root, source={"kind": "hub", "revision": REVISION})
    found = written(study)
    assert [row["face_bboxes"] for row in found] == boxes
    assert [row["uid"] for row in found] == ["x", "y", "z"]
    result = read_result(study.document("metadata"), "metadata")
    assert result.body["origin"]["revision"] == REVISION
    (name,) = result.header.inputs
    assert name == f"mlfoundations/datacomp_small@{REVISION}/metadata/0a.parquet"
    with pytest.raises(ConfigError, match="no pinned revision"):
        written(small_study(root, source={"kind": "hub"}))
    with pytest.raises(DataError):
        written(small_study(root, source={"kind": "hub", "revision": "b" * 40}))
