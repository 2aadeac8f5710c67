"""Shards: every row in exactly one of them, whatever their size; and what is written is what was read."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.nine_fixture import NineTree
from trackyard.acquire.staging import shards
from trackyard.acquire.staging.closure import EntryClosure, close
from trackyard.acquire.staging.images import ImageDigest
from trackyard.acquire.staging.roots import Locator
from trackyard.errors import DataError


def _closed(tree: NineTree, name: str) -> EntryClosure:
    return close(tree.entry(name), tree.roots, Locator(tree.roots, {}), "needed")


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.integers(1, 8000), st.sampled_from(["coco_2014_vqa", "science_qa_img", "tally_qa", "st_qa"]))
def test_every_row_is_in_exactly_one_shard(tree: NineTree, shard_bytes: int, name: str) -> None:
    closed = _closed(tree, name)
    for survey in closed.surveys:
        found = shards.divide(closed, survey, shard_bytes=shard_bytes)
        rows = [row for shard in found for row in range(shard.start, shard.stop)]
        assert rows == list(range(survey.counts["rows"]))
        assert all(shard.bytes >= shard_bytes for shard in found[:-1])
        assert len({shard.path for shard in found}) == len(found)


def test_row_groups_are_small_and_images_are_not_compressed_again(
    tree: NineTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "GROUP_BYTES", 2500)
    closed = _closed(tree, "text_vqa")
    (shard,) = shards.divide(closed, closed.surveys[0])
    digest = shards.write_shard(tmp_path, shard, closed)
    path = tmp_path / digest.path
    assert (digest.bytes, digest.path) == (path.stat().st_size, "validation/part-00000.parquet")
    meta = pq.read_metadata(path)
    assert meta.num_rows == 5
    assert meta.num_row_groups >= 3
    group = meta.row_group(0)
    codecs = {group.column(n).path_in_schema: group.column(n).compression for n in range(group.num_columns)}
    assert codecs["image.bytes"] == "UNCOMPRESSED"
    assert codecs["question"] == "ZSTD"
    assert [path.name for path in path.parent.iterdir()] == ["part-00000.parquet"]
    kept = pq.read_table(path).column("image").to_pylist()
    assert [image["path"] for image in kept] == [
        str(path.relative_to(tree.roots.hf_home)) for path in tree.references["text_vqa"]
    ]


def test_a_shard_that_reads_back_otherwise_gets_no_name(
    tree: NineTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = _closed(tree, "text_vqa")
    (shard,) = shards.divide(closed, closed.surveys[0])
    digests = iter(("one", "another"))
    monkeypatch.setattr(ImageDigest, "hexdigest", lambda _: next(digests))
    with pytest.raises(DataError, match="reads back other images than were written"):
        shards.write_shard(tmp_path, shard, closed)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "part-" in path.name]
